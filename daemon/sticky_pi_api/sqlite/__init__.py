"""Open SQLite databases, migrate them, and handle journals that others left."""
