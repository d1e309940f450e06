"""Encoders: what a signal says, as guesses."""
