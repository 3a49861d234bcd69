"""The console command, and `python -m sticky_pi_uploader`: quiet at Ctrl-C, also while the command is imported."""

from __future__ import annotations

import os
import sys

_INTERRUPTED = 130

try:
    import signal
    from types import FrameType
except KeyboardInterrupt:
    os._exit(_INTERRUPTED)


def start() -> int:
    """Run one command and give its exit status; the rest of the process's life is its end."""
    catches = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if catches:
        # An exception in the middle of an import isn't always one of its importer.
        signal.signal(signal.SIGINT, _leave)
    from .cli import main

    try:
        if catches:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main()
    except KeyboardInterrupt:
        status = _INTERRUPTED
    if catches:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return status


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    sys.exit(start())
