"""The ledger: every request as a line of JSON, written before it is answered, so that tests can prove what was sent."""

import json
import os
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from .accounts import read_credentials
from .bundles import LINKS
from .examine import Kind
from .upload import Upload

_SHOWN_HEADERS = (
    *("host", "user-agent", "accept", "accept-encoding", "connection", "expect"),
    *("content-type", "content-length", "content-encoding", "transfer-encoding", "range"),
)


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of an upload, as far as it came."""

    name: str
    size: int
    md5: str
    held: bool
    """whether its key was held when it had come"""
    decodes: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One request."""

    time: float
    """Unix seconds, when its body had come or broken off"""
    connection: int
    peer: str
    method: str
    path: str
    auth: str
    """none, token (no password beside it), password or malformed"""
    user: str
    """whose password came; '' for a token"""
    headers: dict[str, str]
    received: int
    """bytes of the body"""
    whole: bool
    """whether all of the body came"""
    entries: int | None
    """how long the list was that was asked for"""
    files: tuple[SentFile, ...]
    status: int | None
    """None when nothing was answered"""


def entry_of(request, status, upload):
    """Return what the ledger says of a request; `upload` is its body taken apart, where it is one."""
    credentials = read_credentials(request.headers["Authorization"])
    return Entry(
        time=time.time(),
        connection=request.connection,
        peer=request.peer,
        method=request.method,
        path=request.path,
        auth=credentials.kind,
        user=credentials.user if credentials.kind == "password" else "",
        headers={name: request.headers[name] for name in _SHOWN_HEADERS if name in request.headers},
        received=len(request.body),
        whole=request.whole,
        entries=_entries(request),
        files=tuple(
            SentFile(file.name, len(file.blob), file.md5, file.held, file.picture.kind is Kind.PICTURE)
            for file in upload.files
        ),
        status=status,
    )


def _entries(request):
    if not request.path.startswith(("/get_", f"/{LINKS}")):
        return None
    try:
        asked = json.loads(request.body)
    except ValueError:
        return None
    return len(asked) if isinstance(asked, list) else None


class Ledger:
    """The file, for any number of threads to add to."""

    def __init__(self, path):
        """Go on with a file that is there."""
        self._lock = threading.Lock()
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  # open as long as the server

    def add(self, request, status, upload=Upload()):  # noqa: B008  # nothing can change it
        """Write down a request."""
        line = json.dumps(asdict(entry_of(request, status, upload)))
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def clear(self):
        """Forget all requests."""
        with self._lock:
            self._file.truncate(0)


def read_ledger(path):
    """Return the entries of a ledger that may be being written."""
    if not os.path.exists(path):
        return []
    *lines, _ = Path(path).read_text(encoding="utf-8").split("\n")
    entries = [json.loads(line) for line in lines]
    return [Entry(**{**entry, "files": tuple(SentFile(**file) for file in entry["files"])}) for entry in entries]
