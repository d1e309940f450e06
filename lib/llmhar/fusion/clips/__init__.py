"""Clips: sound and motion of a user's own or of a data set."""
