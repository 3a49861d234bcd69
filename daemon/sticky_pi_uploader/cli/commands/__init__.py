"""The commands: their arguments, their work, and their output."""
