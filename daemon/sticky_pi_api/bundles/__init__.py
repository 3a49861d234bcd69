"""Bundles of machine-learning files: what belongs to one, and how it travels and is stored."""
