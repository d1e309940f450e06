"""Ask: once, and keep the answer for ever."""
