"""Answerers: from guesses to an activity, by a language model or without."""
