"""Run the console command: parse the arguments, call the module, turn errors into messages and exit statuses."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from ..exceptions import UploaderError, in_words
from .arguments import AS_SERVICE, COMMANDS, parser
from .output.terminal import OutputError, complain

__all__ = ["COMMANDS", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; an error is one message on stderr."""
    # The system frees all memory of a process that ends. A last garbage collection takes a tenth of a short run.
    atexit.register(gc.freeze)
    # Python sets a closed stream to None. An open one keeps its descriptor's number from being a database's.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # text files, both
        status = _run_command(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output, such as `head`, needs no more of it.
        status = 0
    except OSError as error:
        complain(f"the output can't be written: {error.strerror}")
        status = os.EX_IOERR
    else:
        return status
    # Python would try once more at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _run_command(argv: Sequence[str] | None) -> int:
    """Parse and run; an OSError raised from here is one of the output."""
    try:
        typed = (sys.argv[1:] if argv is None else argv) or ["help"]
        arguments = parser(typed).parse_args(typed)
        status = _run_as_service(arguments, typed) if arguments.command in AS_SERVICE else None
        if status is None:
            status = arguments.run(arguments)
            if arguments.command in AS_SERVICE - {"check"}:
                _say_as_whom()
    except SystemExit as end:
        return int(end.code or 0)
    except UploaderError as error:
        _report(error)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except OutputError as error:
        raise error.error from None
    except OSError as error:
        # Errors of the card and the state folder are handled below. Here it is mostly a lack of file descriptors.
        _report(UploaderError(f"can't go on: {in_words(error)}"))
        return os.EX_TEMPFAIL if arguments.command == "drain" else os.EX_SOFTWARE
    except Exception as error:  # noqa: BLE001 - it is logged with its traceback
        # A bug. A traceback that Python itself prints would have no priority in the journal.
        from ..journal.events import Kind, log_event

        text = "stopped by an error of its own; please report it with these lines"
        log_event(Kind.DIED, text, error=error, part="program")
        return os.EX_SOFTWARE
    return status


def _run_as_service(arguments: Namespace, typed: Sequence[str]) -> int | None:
    """Run a command of root's as the service would, and return its status; None where it has to go on here."""
    from ..state_dir.privileges import BOOTED, in_service_unit

    if os.geteuid() != 0 or not os.path.isdir(BOOTED) or in_service_unit():
        return None
    from ..ownership.run_as_service import run_as_service

    outcome = run_as_service(arguments.command, vars(arguments), typed)
    if isinstance(outcome, int):
        return outcome
    arguments.viewpoint = outcome
    if outcome.note is not None:
        complain(outcome.note)
    return os.EX_CONFIG if outcome.is_outsider and arguments.command != "check" else None


def _say_as_whom() -> None:
    from ..state_dir.privileges import was_root

    if was_root():
        from ..state_dir.trusted_path import describe_user

        complain(f"this was done as {describe_user(os.geteuid())}, whose state folder it is")


def _report(error: UploaderError) -> None:
    """Report why a command ends; in the journal, each line gets its priority and fields."""
    from ..journal import setup as logs

    if not logs.stderr_is_journal():
        complain(str(error))
        return
    from ..journal.events import Kind, log_event

    logs.set_up()
    for line in str(error).splitlines():
        log_event(Kind.CANNOT_GO_ON, line, reason=line)
