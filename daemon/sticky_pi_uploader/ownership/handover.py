"""Hand a state folder over to a user, by descriptors, so that no link is followed (`state_dir.folder`).

The contents of a folder that isn't root's alone are neither opened nor changed: its owner clears obstacles in it
(`state_dir.obstacles`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from sticky_pi_api.filesystem.safe_open import open_beneath, open_file

from ..exceptions import StateError
from ..journal.events import Kind, log_event
from ..outbox import OutboxReader, outbox_path
from ..state_dir import folder as state_dirs
from ..state_dir.privileges import access_problem, become
from ..state_dir.trusted_path import others_may_write

_OPEN_TIMEOUT: Final = 20
"""Seconds in which another user's outbox has to be opened"""


class Owner(NamedTuple):
    """A user, by name and numbers."""

    name: str
    uid: int
    gid: int


def give(state_dir: str, image_dir: str, to: Owner) -> None:
    """Give a state folder to a user, with its contents if only root could write there so far. Raises StateError."""
    try:
        with state_dirs.opened(state_dir, image_dir) as folder:
            status = os.fstat(folder)
            if status.st_uid == to.uid:
                return
            if status.st_uid != 0 and to.uid == 0:
                raise StateError(f"the state folder {state_dir} is another user's: it was not given to {to.name}")
            if not _is_ours(folder, status):
                raise StateError(f"the state folder {state_dir} holds other things: it was not given to {to.name}")
            if status.st_uid == 0:
                _give_contents(state_dir, folder, to, status.st_dev)
            os.fchown(folder, to.uid, to.gid)
    except OSError as error:
        raise StateError(
            f"the state folder {state_dir} can't be given to {to.name}: {access_problem(error)}"
        ) from error


def _is_ours(folder: int, status: os.stat_result) -> bool:
    """Return whether a folder is a state folder, or new and empty: another one may be named by mistake."""
    if status.st_uid == 0 and others_may_write(status):
        return False  # no release ever made one with these rights, and anybody may have put anything there
    if state_dirs.is_marked(folder):
        return True
    # Earlier releases left no mark.
    return _has_outbox(folder, status) or (status.st_uid == 0 and not os.listdir(folder))


def _has_outbox(folder: int, status: os.stat_result) -> bool:
    """Return whether an open folder has an outbox, opened with the rights of its owner: it may be a link."""
    process = os.fork()
    if process == 0:
        code = os.EX_NOINPUT
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_OPEN_TIMEOUT)
            if status.st_uid != 0:
                become(status.st_uid, status.st_gid)
            os.fchdir(folder)
            with OutboxReader.open_readonly(outbox_path("")):
                code = os.EX_OK
        finally:
            os._exit(code)
    return os.waitpid(process, 0)[1] == os.EX_OK


def _give_contents(state_dir: str, root: int, to: Owner, device: int) -> None:
    """Give away the contents of a folder that only root can write in, but no links, other disks, or hard-linked files.

    The contents go before their folder: once a folder is given, its owner can change the contents. Each folder is
    opened from the topmost one, however deep it is.
    """
    folders = [""]
    for path in folders:
        with _opened(root, path) as folder:
            below = _subfolders(os.path.join(state_dir, path), folder, device)
            folders += [os.path.join(path, name) for name in below]
    for path in reversed(folders):
        with _opened(root, path) as folder:
            _give_files(folder, to)
            if path:
                os.fchown(folder, to.uid, to.gid)


def _subfolders(path: str, folder: int, device: int) -> Iterator[str]:
    """Yield the names of the subfolders that are root's alone and on the same disk; `path` is for messages."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                if status.st_dev == device and not others_may_write(status):
                    yield entry.name
                elif status.st_dev == device and status.st_uid == 0:
                    left = os.path.join(path, entry.name)
                    why = "as others may have put something there: look at it, and give it by chown -R"
                    log_event(Kind.NOT_GIVEN, f"{left} stays root's, {why}", folder=left)


def _give_files(folder: int, to: Owner) -> None:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in names:
        with suppress(FileNotFoundError):  # it was removed meanwhile
            descriptor = open_file(name, folder=folder)
            try:
                # The other name of a hard link may be anywhere.
                if os.fstat(descriptor).st_nlink == 1:
                    os.fchown(descriptor, to.uid, to.gid)
            finally:
                os.close(descriptor)


@contextmanager
def _opened(root: int, path: str) -> Iterator[int]:
    descriptor = open_beneath(root, path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
