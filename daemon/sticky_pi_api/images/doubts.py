"""Tell apart the remarks on a picture that is sent all the same: doubts about its contents, and harmless notes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

NOTE: Final = "note: "
"""Begins each note, and so a summary in which there is no doubt"""


def is_note(doubt: str) -> bool:
    """Return whether nothing is wrong with the contents of a picture of which this is said."""
    return doubt.startswith(NOTE)


def summary(doubts: Iterable[str]) -> str | None:
    """Put doubts and notes into one text, the doubts first; None where there are none."""
    return "; ".join(sorted(doubts, key=is_note)) or None
