"""Lock the state folder and the image folder, so that two processes never work on one of them at the same time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final, Self

from sticky_pi_api.filesystem.safe_open import file_id, open_file, opened_folder

from ..exceptions import LockedError, NoSpaceError, StateError
from ..journal.events import Kind, log_event
from .disk import USED_UP
from .privileges import denied

LOCK_FILE: Final = "lock"
"""In the state folder; holds the pid of the process that works there, or that worked there last."""

_UNSUPPORTED: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL)
_KERNEL_LOCKS: Final = "/proc/locks"


class Locks:
    """The two locks of a process, as a context; the kernel releases them when the process dies."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._descriptors: dict[tuple[int, int], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self, image_dir: str, state_dir: str) -> None:
        """Take both locks, then release those held before; a lock that is held already stays locked in between.

        Raises LockedError when another process holds one, StateError where one can't be made: the locks that were held
        before stay held.
        """
        with ExitStack() as stack:
            file = self._take(_open_lock_file(state_dir, stack), f"the state folder {state_dir}", stack)
            if file is None:
                raise StateError(f"the state folder {state_dir} lies on a file system without locks: move state_dir")
            _write_pid(file)
            with _reported(image_dir):
                folder_descriptor = stack.enter_context(opened_folder(image_dir))
            folder = self._take(folder_descriptor, f"the image folder {image_dir}", stack)
            if folder is None:
                text = f"{image_dir} can't be locked there: see that nothing else sends its pictures"
                log_event(Kind.UNLOCKED, text, folder=image_dir)
            taken = {file_id(each): each for each in (file, folder) if each is not None}
            self.release()
            self._held, self._descriptors = stack.pop_all(), taken

    def release(self) -> None:
        """Release both locks."""
        self._descriptors = {}
        self._held.close()

    def _take(self, descriptor: int, name: str, stack: ExitStack) -> int | None:
        """Lock an open file until the stack closes it, or take over the lock that is held on it already.

        Returns the descriptor that holds the lock, None where the file system has none.
        """
        held = self._descriptors.get(file_id(descriptor))
        if held is not None:
            descriptor = os.dup(held)
            stack.callback(os.close, descriptor)
            return descriptor
        return descriptor if _lock(descriptor, name) else None


def is_held(state_dir: str) -> bool | None:
    """Return whether a process works on this state folder, without touching its lock; None where that is unknown."""
    try:
        descriptor = open_file(os.path.join(state_dir, LOCK_FILE))
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        found = _holders(descriptor)
    finally:
        os.close(descriptor)
    return None if found is None else bool(found)


def _open_lock_file(state_dir: str, stack: ExitStack) -> int:
    path = os.path.join(state_dir, LOCK_FILE)
    with _reported(path):
        try:
            descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
        except PermissionError:
            # Another user left it; it can be locked without the right to write it.
            descriptor = open_file(path)
    stack.callback(os.close, descriptor)
    return descriptor


@contextmanager
def _reported(path: str) -> Iterator[None]:
    """Turn an OSError of the block into a StateError that names the path."""
    try:
        yield
    except PermissionError as error:
        raise StateError(f"{path} can't be locked: {denied()}") from error
    except OSError as error:
        kind = NoSpaceError if error.errno in USED_UP else StateError
        raise kind(f"{path} can't be locked: {error.strerror}") from error


def _lock(descriptor: int, name: str) -> bool:
    """Lock an open file until it is closed; False where its file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        # 0 and less is a process of another container.
        holder = next((pid for pid in _holders(descriptor) or () if pid > 0), None)
        by = f" (process {holder})" if holder else ""
        raise LockedError(f"another sticky-pi-uploader{by} is at work on {name}") from error
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise StateError(f"{name} can't be locked: {error.strerror}") from error
    return True


def _write_pid(descriptor: int) -> None:
    """Write this process's pid; on a full disk it may be missing."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)


def _read_pid(descriptor: int) -> int | None:
    try:
        return int(os.pread(descriptor, 32, 0))
    except (OSError, ValueError):
        return None


def _holders(descriptor: int) -> list[int] | None:
    """Return the pids of the processes that hold the lock of an open file; None where the kernel doesn't tell.

    On file systems without a disk of their own, such as btrfs and overlayfs, the file may show another device than the
    kernel's list of locks, proc_locks(5). There the pid in the file decides.
    """
    status, named = os.fstat(descriptor), _read_pid(descriptor)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    try:
        with open(_KERNEL_LOCKS, encoding="ascii") as file:
            lines = [line.split() for line in file]
    except OSError:
        return None
    found = []
    for fields in lines:
        pid, (listed, _, inode) = fields[4], fields[5].rpartition(":")
        is_same = (listed, inode) == (device, str(status.st_ino))
        is_named = device.startswith("00:") and listed.startswith("00:") and pid == str(named)
        # In the line of a process that waits for a lock, the second field is an arrow.
        if fields[1] == "FLOCK" and (is_same or is_named):
            found.append(int(pid))
    return found
