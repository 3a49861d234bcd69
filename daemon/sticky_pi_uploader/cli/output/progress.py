"""Show the progress of a `drain` on a terminal, in one line that is written again and again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ...clock import span
from .formatting import size
from .terminal import columns, suggest

if TYPE_CHECKING:
    from ...config import Config
    from ...service.progress import Progress

CLEAR_LINE: Final = "\r\x1b[K"
"""Moves to the start of the terminal's line, and empties it"""


class ProgressLine:
    """The line of a run's progress; a summary replaces it at the end."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Show the progress in place of the last one."""
        self._last = progress
        # A line that wraps can't be cleared.
        self._write(", ".join(_parts(progress))[: columns() - 1])

    def finish(self) -> None:
        """Replace the line by the summary."""
        self._write("")
        if (last := self._last) is not None:
            sent = f"{last.sent:,} sent" + (f" ({size(last.bytes_sent)})" if last.bytes_sent else "")
            why = f"`{suggest(self._config, 'status')}` says why"
            left = f"{last.left:,} left to send: {why}" if last.left else "nothing left to send"
            sys.stderr.write(f"{sent}, {left}\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(CLEAR_LINE + text)
        sys.stderr.flush()


def _parts(progress: Progress) -> Iterator[str]:
    sent, total = progress.bytes_sent, progress.bytes_sent + progress.bytes_left
    yield f"{progress.recorded:,} taken in"
    yield f"{progress.sent:,} of {progress.sent + progress.left:,} sent"
    if total:
        yield f"{size(sent)} of {size(total)}"
    if progress.rate is not None:
        yield f"{size(round(progress.rate))}/s"
        if progress.bytes_left:
            yield f"{span(progress.bytes_left / progress.rate)} left"
