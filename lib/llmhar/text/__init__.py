"""Text: from windows to what a model reads, and from what it writes to labels."""
