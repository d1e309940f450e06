"""llmhar: language models for human activity recognition at home, from raw sensor files to scored reports."""

__version__ = "0.1.0"
