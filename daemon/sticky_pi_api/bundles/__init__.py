"""Bundles of machine-learning files: their keys, their checksums, their transfer and their storage."""
