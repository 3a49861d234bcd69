"""Decide whether anything may be sent just now: the hours of the day, and the battery."""
