"""Open files and folders where other users can write: no link is followed, and no pipe blocks.

Functions that open return a descriptor, which the caller closes. All raise OSError, whose text says what is at the path
where it is of another kind, such as a link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final, NoReturn

from sticky_pi_api.exceptions import ImageError
from sticky_pi_api.types import FilePath

_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

BESIDE: Final = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps beside a database"""

_RENAME_NOREPLACE: Final = 1  # rename(2)

_KINDS: Final = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFREG: "a file",
}


def open_file(path: str, flags: int = os.O_RDONLY, mode: int = 0o644, *, folder: int | None = None) -> int:
    """Open a regular file, made with `mode` by O_CREAT; a relative path starts at the open `folder`."""
    try:
        descriptor = os.open(path, flags | _FILE, mode, dir_fd=folder)
    except OSError as error:
        _raise_with_kind(error, path, folder, stat.S_IFREG)
    found = os.fstat(descriptor).st_mode
    if stat.S_ISREG(found):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, f"it is {name_of(found)}, not a file", path)


def open_regular(path: FilePath) -> IO[bytes]:
    """Open a regular file for reading, also through links; one of another kind isn't touched.

    Raises ImageError where it is of another kind, else OSError.
    """
    if "\0" in os.fspath(path):
        raise ImageError(os.fspath(path), "no file can have this path: it contains a zero byte")
    # Without O_NONBLOCK the caller would wait until another process writes to a FIFO.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise ImageError(os.fspath(path), f"it is {name_of(mode)}, not a picture")


def open_folder(path: str, *, folder: int | None = None) -> int:
    """Open a folder, which must not be a link; links on the way to it are followed."""
    try:
        return os.open(path, _FOLDER, dir_fd=folder)
    except OSError as error:
        _raise_with_kind(error, path, folder, stat.S_IFDIR)


@contextmanager
def opened_folder(path: str) -> Iterator[int]:
    """Open a folder for the block, also through links, and close it afterwards."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_beneath(root: int, path: str) -> int:
    """Open a folder at a relative path beneath the open folder `root`, name by name: none of them may be a link.

    With an empty path, `root` is opened once more.
    """
    names = path.split("/") if path else ["."]
    if path and not {"", ".", ".."}.isdisjoint(names):
        raise OSError(errno.EINVAL, "it is no path beneath a folder", path)
    folder = root
    for name in names:
        above = folder
        try:
            folder = open_folder(name, folder=above)
        except OSError as error:
            error.filename = path
            raise
        finally:
            if above != root:
                os.close(above)
    return folder


def rename_new(folder: int, old: str, new: str) -> None:
    """Rename a file in an open folder. Raises FileExistsError where another one has the new name."""
    number = _rename_noreplace(folder, old, new)
    if number in {errno.ENOSYS, errno.EINVAL}:
        _link_and_unlink(folder, old, new)
    elif number:
        raise OSError(number, os.strerror(number), old)


def file_id(path: str | int) -> tuple[int, int]:
    """Return the device and inode of a file or folder, by its path or descriptor."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def file_system_id(path: str | int) -> str:
    """Return an identifier of the file system of a path or descriptor, which reboots don't change if possible."""
    identity = os.statvfs(path).f_fsid
    # Some file systems have none; their device's number may change at a boot.
    return f"{identity:x}" if identity else f"device {os.stat(path).st_dev:x}"


def name_of(mode: int) -> str:
    """Return the kind of a file by its mode, such as `a pipe`."""
    return _KINDS.get(stat.S_IFMT(mode), "something unknown")


def _rename_noreplace(folder: int, old: str, new: str) -> int:
    """Rename by one system call; return the number of its error, or 0."""
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # an old C library
        return errno.ENOSYS
    done = call(folder, os.fsencode(old), folder, os.fsencode(new), _RENAME_NOREPLACE)
    return ctypes.get_errno() if done else 0


def _link_and_unlink(folder: int, old: str, new: str) -> None:
    """Rename in two steps where the file system has no such call; between them the file has both names."""
    try:
        os.link(old, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:
        text = "its file system can't rename a file without overwriting another"
        raise OSError(errno.EOPNOTSUPP, text, old) from error
    os.unlink(old, dir_fd=folder)


def _raise_with_kind(error: OSError, path: str, folder: int | None, wanted: int) -> NoReturn:
    try:
        found = os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError:
        raise error from None
    if stat.S_IFMT(found) == wanted or error.errno == errno.EEXIST:
        raise error
    raise OSError(error.errno or errno.EINVAL, f"it is {name_of(found)}, not {_KINDS[wanted]}", path) from error


class FileFailedError(Exception):
    """A file can't be read or written; no OSError, which callers would take for an error of the network."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the OSError of a FileFailedError, where no error of the network is possible any more."""
    try:
        yield
    except FileFailedError as failure:
        raise failure.error from None
