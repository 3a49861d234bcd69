"""A Sticky Pi server: its connection, and its verbs by what they are about."""
