"""Data: raw files to sessions and windows."""
