"""Traces: look at single answers, ask again, take them along (notebooks 06 and 07)."""
