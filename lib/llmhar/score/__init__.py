"""Score: from answers to numbers."""
