"""Send the modules' log records to the journal, or to stderr in a form for systemd or for people."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any, Final

IDENTIFIER: Final = "sticky-pi-uploader"

_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY: Final = 7


def set_up(level: int = logging.INFO, *, before: str = "") -> None:
    """Log all records of `level` and above, in place of the handler of an earlier call.

    Fields given with `extra` become fields of the journal's entry, where systemd-python is installed. Where stderr
    isn't the journal, each line begins with `before`.
    """
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if handler.name == IDENTIFIER]:
        root.removeHandler(old)
        old.close()
    handler = _handler(before)
    handler.name = IDENTIFIER
    handler.handleError = _lose  # type: ignore[method-assign]
    root.addHandler(handler)
    root.setLevel(level)
    # The client itself reports the trouble behind urllib3's warnings, in words for the trap's owner.
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _handler(before: str) -> logging.Handler:
    if not stderr_is_journal():
        return _stderr_handler(_TimedFormatter(f"{before}%(asctime)s %(levelname)s %(message)s"))
    try:
        from systemd import journal
    except ImportError:
        return _stderr_handler(_PriorityFormatter("%(message)s"))

    def send(message: str, /, **fields: Any) -> None:
        # A file's name may hold bytes that aren't text: the journal would refuse the whole entry.
        journal.send(_plain(message), **{name: _plain(value) for name, value in fields.items() if name.isupper()})

    handler: logging.Handler = journal.JournalHandler(sender_function=send, SYSLOG_IDENTIFIER=IDENTIFIER)
    return handler


def _lose(record: logging.LogRecord) -> None:
    """Drop a record that can't be written: logging's own traceback couldn't be written either."""


def _plain(value: Any) -> Any:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _stderr_handler(formatter: logging.Formatter) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    return handler


def stderr_is_journal() -> bool:
    """Return whether stderr goes to the journal, by the device and inode that systemd.exec(5) promises."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or no file at all
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _TimedFormatter(logging.Formatter):
    """Begins each record with its time in UTC."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%SZ"
    default_msec_format = None


class _PriorityFormatter(logging.Formatter):
    """Begins each line with its priority, as sd-daemon(3) wants it; the journal adds the time."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record, tracebacks included."""
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), _DEBUG_PRIORITY)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines() or [""])
