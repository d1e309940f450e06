"""Groups of commands, a module a group; ``llmhar.cli`` puts them together."""
