"""The largest size of a picture that the destination takes, as its refusals showed; only smaller ones are sent."""

from typing import NamedTuple


class SizeLimit(NamedTuple):
    """The web server in front of the destination takes only smaller pictures than this."""

    size: int
    """bytes of the smallest picture that was too large"""
    why: str
    passes_smaller: bool = False
    """whether the destination has taken a smaller one since"""
