"""Distinguish doubts about a picture's contents from harmless notes; a picture with either is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

NOTE: Final = "note: "
"""The beginning of each note, and so of a summary without any doubt"""


def is_note(doubt: str) -> bool:
    """Return whether a doubt, or a summary of doubts, is only a note: the picture's contents are not in doubt."""
    return doubt.startswith(NOTE)


def summary(doubts: Iterable[str]) -> str | None:
    """Return doubts and notes as one text, the doubts first; None where there are none."""
    return "; ".join(sorted(doubts, key=is_note)) or None
