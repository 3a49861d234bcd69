"""Makes the state folder for a service that has no right to: waits for the image folder, and gives it to a user.

It runs as root on folders that others may write to, so no link is followed, and nothing is touched by its path.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from ..exceptions import StateError
from ..folders import prepare_state_dir
from ..lock import LOCK_FILE
from ..notify import ServiceManager
from ..outbox import outbox_path
from ..readiness import Readiness
from ..signals import Signals

if TYPE_CHECKING:
    from ..config import Config

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Owner(NamedTuple):
    """A user, by the numbers that the kernel knows."""

    name: str
    uid: int
    gid: int


class UnknownUserError(Exception):
    """There is no user of that name."""


def owner(name: str) -> Owner:
    """Look a user up. Raises UnknownUserError."""
    import pwd

    try:
        user = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise UnknownUserError(f"there is no user {name!a}") from None
    return Owner(name, user.pw_uid, user.pw_gid)


def prepare(load: Callable[[], Config], to: Owner | None) -> int:
    """Wait until the image folder is there and the state can be written, then make its folder and give it away.

    Returns the exit status: 0, or 75 where it was told to stop before. Raises UploaderError.
    """
    with Signals() as signals:
        readiness = Readiness(load, signals, ServiceManager(), with_destination=False)
        config = readiness.wait(load())
    if config is None:
        return os.EX_TEMPFAIL
    prepare_state_dir(config.state_dir, config.image_dir)
    if to is not None:
        _give(os.path.realpath(config.state_dir), to)
    return os.EX_OK


def _give(folder: str, to: Owner) -> None:
    """Give a folder and what is in it to a user; links, other file systems and files with several names stay."""
    try:
        with _opened(folder, _FOLDER) as descriptor:
            status = os.fstat(descriptor)
            if status.st_uid != to.uid and not _is_ours(folder):
                raise StateError(f"the state folder {folder} holds other things: it was not given to {to.name}")
            _give_all(descriptor, to, status.st_dev)
    except OSError as error:
        raise StateError(f"the state folder {folder} can't be given to {to.name}: {error.strerror}") from error


def _is_ours(folder: str) -> bool:
    """Tell a state folder from one that somebody named by mistake."""
    names = {LOCK_FILE, os.path.basename(outbox_path(folder))}
    there = os.listdir(folder)
    return not there or not names.isdisjoint(there)


def _give_all(folder: int, to: Owner, device: int) -> None:
    with os.scandir(folder) as entries:
        for entry in list(entries):
            with suppress(FileNotFoundError):  # somebody has removed it
                _give_entry(entry, folder, to, device)
    _give_one(folder, to)


def _give_entry(entry: os.DirEntry[str], folder: int, to: Owner, device: int) -> None:
    if entry.is_dir(follow_symlinks=False):
        with _opened(entry.name, _FOLDER, folder) as descriptor:
            if os.fstat(descriptor).st_dev == device:
                _give_all(descriptor, to, device)
    elif entry.is_file(follow_symlinks=False) and not _belongs(entry.stat(follow_symlinks=False), to):
        with _opened(entry.name, _FILE, folder) as descriptor:
            _give_one(descriptor, to)


def _give_one(descriptor: int, to: Owner) -> None:
    status = os.fstat(descriptor)
    # A file's other name may be anywhere.
    if not _belongs(status, to) and (stat.S_ISDIR(status.st_mode) or status.st_nlink == 1):
        os.fchown(descriptor, to.uid, to.gid)


def _belongs(status: os.stat_result, to: Owner) -> bool:
    return (status.st_uid, status.st_gid) == (to.uid, to.gid)


@contextmanager
def _opened(path: str, flags: int, folder: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
