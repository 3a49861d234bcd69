"""The console command: parses, loads the configuration, calls, prints, and gives the exit status."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ..config import CONFIG_FLAG, Config, from_arguments
from ..exceptions import StateError, UploaderError, in_words
from .arguments import COMMANDS, PROGRAM, parser

if TYPE_CHECKING:
    from ..service.service import Progress

__all__ = ["COMMANDS", "main"]

_CLEAR: Final = "\r\x1b[K"
"""Empties the line of a terminal"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status; what goes wrong is one message on stderr."""
    # What a process leaves behind goes with it; to search it for garbage first is a tenth of a short run's work.
    atexit.register(gc.freeze)
    # Python has None for one that was closed; opened again, it keeps its number from being a database's.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # text files, both
        status = _call(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough.
        status = 0
    except OSError as error:
        _complain(f"the output can't be written: {error.strerror}")
        status = os.EX_IOERR
    else:
        return status
    # Python would try once more at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _call(argv: Sequence[str] | None) -> int:
    """Do as `main`; an OSError is one of the output."""
    try:
        typed = sys.argv[1:] if argv is None else argv
        arguments = parser(typed).parse_args(typed)
        return _FUNCTIONS[arguments.command](arguments)
    except SystemExit as end:
        return int(end.code or 0)
    except UploaderError as error:
        _give_up(error)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except _OutputError as error:
        raise error.error from None
    except OSError as error:
        # Of the card and the state folder nothing comes up to here: the system has no more files or threads, mostly.
        _give_up(UploaderError(f"can't go on: {in_words(error)}"))
        return os.EX_TEMPFAIL if arguments.command == "drain" else os.EX_SOFTWARE
    except Exception:
        # A bug, of which nobody above knows better; a traceback of Python itself would have no priority in the journal.
        import logging

        from ..journal.events import Kind, about

        logging.getLogger(__name__).critical(
            "stopped by an error of its own; please report it with these lines",
            exc_info=True,
            extra=about(Kind.DIED, part="program"),
        )
        return os.EX_SOFTWARE


def _give_up(error: UploaderError) -> None:
    """Say why a command ends; what goes to the journal needs its priority."""
    from ..journal import setup as logs

    if not logs.stderr_is_journal():
        _complain(str(error))
        return
    import logging

    from ..journal.events import Kind, about

    logs.set_up()
    for line in str(error).splitlines():
        logging.getLogger(__name__).error("%s", line, extra=about(Kind.CANNOT_GO_ON, reason=line))


def _run(arguments: argparse.Namespace) -> int:
    from ..journal import setup as logs
    from ..service import service

    def load() -> Config:
        config = from_arguments(arguments, os.environ, check_secrets=True, check_url=False)
        # When it is loaded again, they may have changed.
        return config._replace(api=config.api.with_certificates())

    logs.set_up()
    return service.run(load)


def _drain(arguments: argparse.Namespace) -> int:
    return _drain_to_end(from_arguments(arguments, os.environ, check_secrets=True), arguments.deadline)


def _status(arguments: argparse.Namespace) -> int:
    from . import render as tables
    from . import reports

    config = _config_as_owner(arguments)
    warn = _Complaints()
    with reports.open_state(config.state_dir, warn) as reader:
        status = reports.status(
            reader,
            warn,
            image_dir=config.image_dir,
            state_dir=config.state_dir,
            url=config.api.url,
            store=config.api.store,
            own=_own_folders(config),
            config_file=config.file,
            least_free=None if config.retention.keep_days is None else config.retention.min_free.of,
        )
    _print([tables.to_json(status)] if arguments.json else tables.status_screen(status, time.time()))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from . import render as tables
    from . import reports

    config = _config_as_owner(arguments)
    warn = _Complaints()
    with reports.open_state(config.state_dir, warn) as reader:
        found = reports.pictures(reader, arguments.states, warn) if reader else iter(())
        if arguments.json:
            _print(tables.json_array(reports.picture_data(picture, config.image_dir) for picture in found))
        else:
            _print(map(tables.list_line, found))
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from . import render as tables
    from . import reports
    from .commands import explain

    config = _config_as_owner(arguments)
    warn = _Complaints()
    with reports.open_state(config.state_dir, warn) as reader:
        stories = explain.stories(reader, config.image_dir, arguments.file, warn, url=config.api.url) if reader else []
    if arguments.json:
        _print([tables.to_json(explain.last_changed(stories) if stories else None)])
    else:
        _print(tables.story_screens(stories))
    if stories or reader is None or warn.said:
        return 0
    warn(f"{arguments.file}: {explain.why_unknown(config.image_dir, arguments.file, _own_folders(config))}")
    return 1


def _retry(arguments: argparse.Namespace) -> int:
    from . import render as tables
    from . import reports
    from .commands import explain, retry

    if not arguments.files and not arguments.all:
        arguments.usage_error("say which pictures, or --all")
    config = _config_as_owner(arguments, gives=True)
    with reports.sudo_named():
        outcome = retry.retry(config.state_dir, config.image_dir, arguments.files, everything=arguments.all)
    if outcome is None:
        _print(["Nothing to retry: no picture has been taken in yet."])
        return 0
    retried, unknown = outcome
    _print([f"{tables.pictures(retried).capitalize()} to be looked at again."])
    for file in unknown:
        _complain(f"{file}: {explain.why_unknown(config.image_dir, file, _own_folders(config))}")
    return 1 if unknown else 0


def _audit(arguments: argparse.Namespace) -> int:
    from ..intake.scanner import Scanner
    from ..ownership.run_as_owner import work_as_owner
    from ..upload.client_factory import client_opener
    from . import render as tables
    from . import reports
    from .commands import audit

    config = _config(arguments)
    open_client = client_opener(config) if arguments.verify else None  # reads the password
    sends = arguments.verify or arguments.deep
    work_as_owner(config.state_dir, config.image_dir, sends=sends, gives=arguments.verify)
    warn = _Complaints()
    questions = audit.Questions(
        Scanner(config.image_dir, _own_folders(config)),
        open_client,
        deep=arguments.deep,
        interval=config.picture_interval,
    )
    with reports.open_state(config.state_dir, warn) as reader:
        if reader is None:
            _print([tables.to_json(None)] if arguments.json else [])
            return 0
        report, copies = audit.audit(reader, questions, warn)
    try:
        _print([tables.to_json(report)] if arguments.json else tables.audit_screen(report))
    finally:
        # Last: a full disk takes nothing of the report. And always: whoever reads it may have seen enough.
        try:
            with reports.sudo_named():
                audit.record(config.state_dir, copies)
        except StateError as error:
            raise StateError(f"the findings can't be recorded: {error}") from error
    return 0 if report["adds_up"] else 1


def _check(arguments: argparse.Namespace) -> int:
    from . import findings
    from . import render as tables
    from .commands import check

    flags = vars(arguments)
    found = check.look(flags, os.environ, flags.get(CONFIG_FLAG))
    _print([tables.to_json(findings.data(found))] if arguments.json else findings.lines(found))
    return check.exit_status(found)


def _show_config(arguments: argparse.Namespace) -> int:
    from ..config import as_toml

    _print([as_toml(_config(arguments)).rstrip("\n")])
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    from ..journal import setup as logs
    from .commands import prepare

    try:
        owner = None if arguments.user is None else prepare.owner(arguments.user)
    except prepare.UnknownUserError as error:
        arguments.usage_error(str(error))
    logs.set_up()
    return prepare.prepare(lambda: from_arguments(arguments, os.environ, check_url=False), owner)


def _demo(arguments: argparse.Namespace) -> int:
    import logging

    from . import render as tables
    from . import reports
    from .commands import demo

    try:
        config = demo.prepare(arguments.folder)
    except demo.NotADemoError as error:
        arguments.usage_error(str(error))
    _print(demo.what_is_made(config))
    # What is wrong with two of the files is said below.
    status = _drain_to_end(config, quiet=logging.ERROR)
    _print(["", "What became of them:"])
    with reports.open_state(config.state_dir, _complain) as reader:
        if reader is not None:
            _print(f"  {tables.list_line(picture)}" for picture in reports.pictures(reader, (), _complain))
    _print(demo.what_next(config, _typed()))
    return status


def _drain_to_end(config: Config, deadline: float | None = None, *, quiet: int | None = None) -> int:
    """Drain, with the progress on a terminal and the log elsewhere; on a terminal, `quiet` is the log's level."""
    import logging

    from ..journal import setup as logs
    from ..service import service

    if not sys.stderr.isatty():
        logs.set_up()
        return service.drain(config, deadline=deadline)
    # In one write with the record: another thread may write the progress at any time.
    logs.set_up(quiet or logging.WARNING, before=_CLEAR)
    line = _ProgressLine()
    try:
        return service.drain(config, deadline=deadline, progress=line)
    finally:
        line.finish()


class _ProgressLine:
    """How far a long work is, in one line of a terminal that is written again and again."""

    def __init__(self) -> None:
        self._last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        self._last = progress
        self._write(f"{progress.recorded} taken in, {progress.sent} sent, {progress.left} to go")

    def finish(self) -> None:
        """Put the sum in the place of the line."""
        self._write("")
        if self._last is not None:
            left = f"{self._last.left} left to send: `status` says why" if self._last.left else "nothing left to send"
            print(f"{self._last.sent} sent, {left}", file=sys.stderr)

    def _write(self, text: str) -> None:
        print(_CLEAR + text, end="", file=sys.stderr, flush=True)


class _Complaints:
    """Writes each line to stderr once."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def __call__(self, line: str) -> None:
        if line not in self.said:
            self.said.add(line)
            _complain(line)


def _complain(text: str) -> None:
    from .terminal import safe

    for line in text.splitlines():
        print(f"{PROGRAM}: {safe(line)}", file=sys.stderr)


class _OutputError(Exception):
    """Nothing can be written to stdout any more: `error` says why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        try:
            print(line)
        except OSError as error:
            raise _OutputError(error) from error


def _config(arguments: argparse.Namespace) -> Config:
    return from_arguments(arguments, os.environ)


def _config_as_owner(arguments: argparse.Namespace, *, gives: bool = False) -> Config:
    """Load the configuration; root goes on as the user whose state folder it is."""
    from ..ownership.run_as_owner import work_as_owner

    config = _config(arguments)
    work_as_owner(config.state_dir, config.image_dir, gives=gives)
    return config


def _own_folders(config: Config) -> list[str]:
    return [config.state_dir] + ([config.api.store] if config.api.store else [])


def _typed() -> str:
    """Give the words with which this command was started, for those that are to be typed next."""
    from shutil import which

    if os.path.basename(sys.argv[0]) == "__main__.py":
        python = os.path.basename(sys.executable)
        return f"{python if which(python) == sys.executable else sys.executable} -m {__package__}"
    return PROGRAM if which(PROGRAM) else sys.argv[0]


_FUNCTIONS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "run": _run,
    "drain": _drain,
    "status": _status,
    "list": _list,
    "explain": _explain,
    "retry": _retry,
    "audit": _audit,
    "check": _check,
    "config": _show_config,
    "prepare": _prepare,
    "demo": _demo,
}
