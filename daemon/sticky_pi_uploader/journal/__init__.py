"""Events with their identifiers and fields, and their way to the journal or a terminal."""
