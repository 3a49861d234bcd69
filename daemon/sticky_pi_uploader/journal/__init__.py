"""Events, their identifiers and fields, and how they reach the journal or a terminal."""
