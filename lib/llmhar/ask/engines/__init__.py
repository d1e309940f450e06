"""Engines: who answers."""
