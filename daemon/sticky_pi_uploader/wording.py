"""Words of messages for people: numbers of things, and holds."""

from __future__ import annotations

import time


def counted(count: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun: 1 picture, 2,048 pictures; `several` is for plurals that aren't `one` with an s.

    The words after the noun may follow it, where they depend on the number, too.
    """
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def held(reason: str, until: float | None) -> str:
    """Return the line about a hold; `until` is a Unix time, None where nobody knows it."""
    return f"held{'' if until is None else time.strftime(' until %H:%M UTC', time.gmtime(until))}: {reason}"
