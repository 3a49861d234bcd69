"""`drain`: take in everything on disk, send what is due, and stop."""

from __future__ import annotations

import logging
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, Final

from ...config import Config, from_arguments
from ...journal import setup as logs
from ...service import drain as service

if TYPE_CHECKING:
    from ...service.drain import Progress

_CLEAR_LINE: Final = "\r\x1b[K"


def add_arguments(parser: ArgumentParser) -> None:
    """Add `--deadline`."""
    parser.add_argument("--deadline", type=_seconds, metavar="SECONDS", help="stop after this time, at the latest")


def run(arguments: Namespace) -> int:
    """Drain with the configuration that the arguments give."""
    return drain(from_arguments(arguments, os.environ, check_secrets=True), arguments.deadline)


def drain(config: Config, deadline: float | None = None, *, level_on_terminal: int = logging.WARNING) -> int:
    """Drain and return the exit status; a terminal shows the progress, any other stderr gets the whole log."""
    if not sys.stderr.isatty():
        logs.set_up()
        return service.drain(config, deadline=deadline)
    # The line is cleared in the same write as the record: another thread may write the progress at any time.
    logs.set_up(level_on_terminal, before=_CLEAR_LINE)
    line = _ProgressLine()
    try:
        return service.drain(config, deadline=deadline, progress=line)
    finally:
        line.finish()


class _ProgressLine:
    """One line of a terminal that shows the progress and is written again and again."""

    def __init__(self) -> None:
        self._last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        self._last = progress
        self._write(f"{progress.recorded} taken in, {progress.sent} sent, {progress.left} to go")

    def finish(self) -> None:
        """Replace the line by the sum."""
        self._write("")
        if self._last is not None:
            left = f"{self._last.left} left to send: `status` says why" if self._last.left else "nothing left to send"
            sys.stderr.write(f"{self._last.sent} sent, {left}\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(_CLEAR_LINE + text)
        sys.stderr.flush()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ArgumentTypeError(f"expected a number of seconds, not {text!a}")
    return seconds
