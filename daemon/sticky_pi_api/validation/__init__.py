"""Check callers' requests before a server or a store gets them."""
