"""Scaling: what size buys (notebook 03)."""
