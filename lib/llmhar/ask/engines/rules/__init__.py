"""The scripted floor and teacher: rules, no language model."""
