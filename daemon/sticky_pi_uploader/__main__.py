"""The console command, and `python -m sticky_pi_uploader`: quiet at Ctrl-C, also while the command is imported."""

# Nothing is imported outside of `try`, not even what only an annotation would take.
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

    _catches = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if _catches:
        # From here on, as an exception in the middle of an import isn't always one of its importer.
        signal.signal(signal.SIGINT, _leave)
except KeyboardInterrupt:
    import os

    os._exit(130)


def start() -> int:
    """Run one command and give its exit status; the rest of the process's life is its end."""
    from .cli.main import main

    try:
        if _catches:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main()
        _be_deaf()
    except KeyboardInterrupt:
        _be_deaf()
        status = _INTERRUPTED
    return status


def _be_deaf() -> None:
    if _catches:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(start())
