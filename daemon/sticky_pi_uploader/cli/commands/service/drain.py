"""`drain`: take in everything on disk, send what is due, and stop."""

from __future__ import annotations

import logging
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from ....config import Config, from_arguments
from ....config.model import HoldConfig
from ....journal import setup as logs
from ....service import drain as service


def add_arguments(parser: ArgumentParser) -> None:
    """Add `--deadline` and `--now`."""
    parser.add_argument("--deadline", type=_seconds, metavar="SECONDS", help="stop after this time, at the latest")
    parser.add_argument("--now", action="store_true", help="send in spite of [hold] in the configuration")


def run(arguments: Namespace) -> int:
    """Drain with the configuration that the arguments give."""
    config = from_arguments(arguments, os.environ, check_secrets=True)
    return drain(config._replace(hold=HoldConfig()) if arguments.now else config, arguments.deadline)


def drain(config: Config, deadline: float | None = None, *, level_on_terminal: int = logging.WARNING) -> int:
    """Drain and return the exit status; a terminal shows the progress, any other stderr gets the whole log."""
    if not (sys.stderr.isatty() and sys.stdout.isatty()):
        logs.set_up()
        return service.drain(config, deadline=deadline)
    from ...output.progress import CLEAR_LINE, ProgressLine

    # The line is cleared in the same write as the record: another thread may write the progress at any time.
    logs.set_up(level_on_terminal, before=CLEAR_LINE)
    line = ProgressLine(config)
    try:
        return service.drain(config, deadline=deadline, progress=line)
    finally:
        line.finish()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ArgumentTypeError(f"expected a number of seconds, not {text!a}")
    return seconds
