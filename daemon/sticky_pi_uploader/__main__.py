"""The console command, and `python -m sticky_pi_uploader`: quiet at Ctrl-C, also while the command is imported."""

# Nothing is imported outside of `try`, not even imports for annotations.
try:
    import gc
    import os
    import signal
    import sys

    _INTERRUPTED = 130

    def _leave(_number: int, _frame: object) -> None:
        os._exit(_INTERRUPTED)

    # Python looks for garbage after every 700 new objects. A short run makes many objects, and no garbage.
    gc.set_threshold(100_000)

    _handles_interrupt = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if _handles_interrupt:
        # From here on: inside an import, KeyboardInterrupt may be raised in code that swallows it.
        signal.signal(signal.SIGINT, _leave)
except KeyboardInterrupt:
    import os

    os._exit(130)


def start() -> int:
    """Run one command and return its exit status; ignore Ctrl-C afterwards."""
    from .cli.main import main

    try:
        if _handles_interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main()
        _ignore_interrupt()
    except KeyboardInterrupt:
        _ignore_interrupt()
        status = _INTERRUPTED
    return status


def _ignore_interrupt() -> None:
    if _handles_interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(start())
