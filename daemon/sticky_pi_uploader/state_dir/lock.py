"""Keeps two processes from working on one state folder, or on one image folder, at the same time."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from contextlib import ExitStack, suppress
from typing import Final, NoReturn, Self

from sticky_pi_api.filesystem.safe_open import file_id, open_file

from ..exceptions import LockedError, NoSpaceError, StateError
from ..journal.events import Kind, about
from .lock_holders import holders
from .privileges import denied

log = logging.getLogger(__name__)

LOCK_FILE: Final = "lock"
"""In the state folder; holds the number of the process that works there, or that did so last."""

_NOT_TO_BE_HAD: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL)


class Locks:
    """A context in which no other process works on the folders taken last; the kernel ends it when the process dies."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held = ExitStack()
        self._descriptors: dict[tuple[int, int], int] = {}

    def __enter__(self) -> Self:
        """Give itself; leaving the block gives back what is held then."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give both locks back."""
        self.release()

    def take(self, image_dir: str, state_dir: str) -> None:
        """Take both locks, then give back those held before; one that is held already isn't free in between.

        Raises LockedError when another process holds one, StateError where one can't be made: what was held before
        stays held.
        """
        with ExitStack() as stack:
            file = self._take(_open_file(state_dir, stack), f"the state folder {state_dir}", stack)
            if file is None:
                raise StateError(f"the state folder {state_dir} lies on a file system without locks: move state_dir")
            _write_number(file)
            folder = self._take(_open_folder(image_dir, stack), f"the image folder {image_dir}", stack)
            if folder is None:
                log.warning(
                    "%s can't be locked there: see that nothing else sends its pictures",
                    image_dir,
                    extra=about(Kind.UNLOCKED, folder=image_dir),
                )
            taken = {file_id(each): each for each in (file, folder) if each is not None}
            self.release()
            self._held, self._descriptors = stack.pop_all(), taken

    def release(self) -> None:
        """Give both locks back."""
        self._descriptors = {}
        self._held.close()

    def _take(self, descriptor: int, what: str, stack: ExitStack) -> int | None:
        """Lock an open file until the stack closes it, or take over the lock that is held on it already.

        Returns the descriptor that holds the lock, None where the file system has none.
        """
        held = self._descriptors.get(file_id(descriptor))
        if held is not None:
            descriptor = os.dup(held)
            stack.callback(os.close, descriptor)
            return descriptor
        return descriptor if _lock(descriptor, what) else None


def _open_file(state_dir: str, stack: ExitStack) -> int:
    path = os.path.join(state_dir, LOCK_FILE)
    try:
        try:
            descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
        except PermissionError:
            # Another user left it; to be locked, it needs not be written.
            descriptor = open_file(path)
    except OSError as error:
        _raise_in_words(path, error)
    stack.callback(os.close, descriptor)
    return descriptor


def _open_folder(path: str, stack: ExitStack) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        _raise_in_words(path, error)
    stack.callback(os.close, descriptor)
    return descriptor


def _raise_in_words(path: str, error: OSError) -> NoReturn:
    if isinstance(error, PermissionError):
        raise StateError(f"{path} can't be locked: {denied()}") from error
    kind = NoSpaceError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StateError
    raise kind(f"{path} can't be locked: {error.strerror}") from error


def _lock(descriptor: int, what: str) -> bool:
    """Lock an open file until it is closed; False where its file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        # 0 and less is a process of another container.
        holder = next((pid for pid in holders(descriptor, _number(descriptor)) or () if pid > 0), None)
        by = f" (process {holder})" if holder else ""
        raise LockedError(f"another sticky-pi-uploader{by} is at work on {what}") from error
    except OSError as error:
        if error.errno in _NOT_TO_BE_HAD:
            return False
        raise StateError(f"{what} can't be locked: {error.strerror}") from error
    return True


def _write_number(descriptor: int) -> None:
    """Say which process holds the lock; on a full disk it may stay out."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)


def is_held(state_dir: str) -> bool | None:
    """Tell whether a process works on this state folder, without disturbing it; None where that can't be told."""
    try:
        descriptor = open_file(os.path.join(state_dir, LOCK_FILE))
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        found = holders(descriptor, _number(descriptor))
    finally:
        os.close(descriptor)
    return None if found is None else bool(found)


def _number(descriptor: int) -> int | None:
    """Read which process holds the lock, or held it last."""
    try:
        return int(os.pread(descriptor, 32, 0))
    except (OSError, ValueError):
        return None
