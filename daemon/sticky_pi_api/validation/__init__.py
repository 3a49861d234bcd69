"""Check what callers ask for and hand in, before a server or a store gets it."""
