"""The commands about recorded pictures."""
