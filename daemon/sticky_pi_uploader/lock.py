"""Keeps two processes from working on one state folder, or on one image folder, at the same time."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from contextlib import ExitStack, suppress
from typing import Final, Self

from .events import Kind, about
from .exceptions import LockedError, StateError

log = logging.getLogger(__name__)

LOCK_FILE: Final = "lock"
"""In the state folder; holds the number of the process that works there, or that did so last."""

_NOT_TO_BE_HAD: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL)


class Lock:
    """A context in which no other process works on either folder; the kernel ends it when the process dies."""

    def __init__(self, image_dir: str, state_dir: str) -> None:
        """Name the folders; nothing is locked yet."""
        self._image_dir = image_dir
        self._state_dir = state_dir
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Take both locks. Raises LockedError when another process holds one, StateError where one can't be made."""
        with ExitStack() as stack:
            file = self._open(os.path.join(self._state_dir, LOCK_FILE), os.O_RDWR | os.O_CREAT, stack)
            if not _take(file, f"the state folder {self._state_dir}"):
                raise StateError(
                    f"the state folder {self._state_dir} lies on a file system without locks: move state_dir"
                )
            # For people only: on a full disk it may stay out.
            with suppress(OSError):
                os.ftruncate(file, 0)
                os.write(file, b"%d\n" % os.getpid())
            folder = self._open(self._image_dir, os.O_RDONLY | os.O_DIRECTORY, stack)
            if not _take(folder, f"the image folder {self._image_dir}"):
                log.warning(
                    "%s can't be locked there: see that nothing else sends its pictures",
                    self._image_dir,
                    extra=about(Kind.UNLOCKED, folder=self._image_dir),
                )
            self._held = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Give both locks back."""
        self._held.close()

    @staticmethod
    def _open(path: str, flags: int, stack: ExitStack) -> int:
        try:
            descriptor = os.open(path, flags, 0o644)
        except PermissionError as error:
            raise StateError(f"{path} can't be locked: permission denied; try it with sudo") from error
        except OSError as error:
            raise StateError(f"{path} can't be locked: {error.strerror}") from error
        stack.callback(os.close, descriptor)
        return descriptor


def _take(descriptor: int, what: str) -> bool:
    """Lock an open file until it is closed; False where its file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _holder(descriptor)
        by = f" (process {holder})" if holder else ""
        raise LockedError(f"another sticky-pi-uploader{by} is at work on {what}") from error
    except OSError as error:
        if error.errno in _NOT_TO_BE_HAD:
            return False
        raise StateError(f"{what} can't be locked: {error.strerror}") from error
    return True


def is_held(state_dir: str) -> bool | None:
    """Tell whether a process works on this state folder, without disturbing it; None where that can't be told."""
    try:
        descriptor = os.open(os.path.join(state_dir, LOCK_FILE), os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        holders = _holders(descriptor)
    finally:
        os.close(descriptor)
    return None if holders is None else bool(holders)


def _holder(descriptor: int) -> int | None:
    """Find the process that holds the lock of an open file; None where the kernel doesn't tell."""
    # 0 and less is a process of another container.
    return next((pid for pid in _holders(descriptor) or () if pid > 0), None)


def _holders(descriptor: int) -> list[int] | None:
    """Find the processes that hold the lock of an open file (proc_locks(5))."""
    status = os.fstat(descriptor)
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as file:
            locks = [line.split() for line in file]
    except OSError:
        return None
    # A line with an arrow waits for the lock.
    return [int(lock[4]) for lock in locks if lock[1] == "FLOCK" and lock[5] == wanted]
