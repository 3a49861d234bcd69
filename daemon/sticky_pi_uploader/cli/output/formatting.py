"""Format reports: JSON for programs, aligned lines and numbers for people."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ...clock import unix_time, when
from ...wording import counted
from .terminal import safe


def add_json_flag(parser: ArgumentParser) -> None:
    """Add `--json` to a command that prints a report."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def to_json(value: Any, *, indent: int | None = 2) -> str:
    r"""Write JSON in printable ASCII; bytes that aren't UTF-8 come as Python holds them, as \udc80 to \udcff."""
    return json.dumps(value, indent=indent, allow_nan=False)


def json_array(values: Iterable[Any]) -> Iterator[str]:
    """Yield the lines of a JSON array, one for each element, so that the array is never held as a whole."""
    yield "["
    line = None
    for value in values:
        if line is not None:
            yield line + ","
        line = "  " + to_json(value, indent=None)
    if line is not None:
        yield line
    yield "]"


def rows(pairs: Sequence[tuple[str, str | None]], indent: int = 2) -> Iterator[str]:
    """Yield a line for each label that has a value, the values in one column."""
    shown = [(label, value) for label, value in pairs if value is not None]
    width = max((len(label) for label, _ in shown), default=0)
    for label, value in shown:
        yield safe(f"{'':{indent}}{label:<{width}}  {value}")


def size(count: int) -> str:
    """Format a number of bytes: 0 kB, 2.4 MB, 50 MB, 12.1 GB."""
    for unit, length in (("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:.{int(unit == 'GB' or count < 10 * length)}f} {unit}"
    return f"{count / 1e3:.0f} kB"


def inodes(free: int, total: int) -> str:
    """Format a number of free inodes, with what an inode is for."""
    return f"{free:,} of {total:,} inodes ({free * 100 // total} %): each file takes one"


def pictures(count: int) -> str:
    """Format a number of pictures."""
    return counted(count, "picture") if count else "no picture"


def day_and_time(stamp: str | None) -> str | None:
    """Format a report's UTC text: 2020-06-20 21:33:24 UTC."""
    return None if stamp is None else stamp.replace("T", " ").replace("Z", " UTC")


def relative(stamp: str | None, now: float) -> str | None:
    """Format a report's UTC text as its distance from the Unix time `now`, followed by itself."""
    return None if stamp is None else f"{when(unix_time(stamp), now)} ({day_and_time(stamp)})"
