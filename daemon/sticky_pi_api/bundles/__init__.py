"""Bundles of machine-learning files: keys, checksums, transfer and storage."""
