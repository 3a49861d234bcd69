"""Open the files and folders of the image dir without following links, and take the fingerprints of files."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, Final

from sticky_pi_api.filesystem.safe_open import name_of, open_beneath, open_file, open_folder

from ..models import Fingerprint

_SQLITE_MAX: Final = 2**63 - 1


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """Return the fields of a file's status that show whether the file changed."""
    # A damaged inode may have a time that is too large for the database.
    times = min(status.st_mtime_ns, _SQLITE_MAX), min(status.st_ctime_ns, _SQLITE_MAX)
    return Fingerprint(status.st_size, times[0], status.st_ino & _SQLITE_MAX, times[1])


def open_picture(image_dir: str, path: str) -> IO[bytes]:
    """Open a file of the image dir by its relative path for reading; the file object's name is the whole path.

    Raises FileNotFoundError also where a link or anything else is there that isn't a file, which isn't opened, and
    where a folder above it is missing.
    """
    above, name = os.path.split(path)
    full = os.path.join(image_dir, path)
    try:
        folder = open_at(image_dir, above)
    except NotADirectoryError as error:
        raise FileNotFoundError(errno.ENOENT, error.strerror, full) from error
    try:
        return open(full, "rb", opener=lambda *_: _open_regular(name, folder))
    finally:
        os.close(folder)


def _open_regular(name: str, folder: int) -> int:
    _require_regular(name, folder)
    try:
        return open_file(name, folder=folder)
    except OSError:
        # Of anything but a file, only its type is of interest.
        _require_regular(name, folder)
        raise


def _require_regular(name: str, folder: int) -> None:
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if not stat.S_ISREG(mode):
        raise FileNotFoundError(errno.ENOENT, f"it is {name_of(mode)}, not a file", name)


def open_at(image_dir: str, folder: str) -> int:
    """Open a folder of the image dir by its relative path, without following links below the image dir.

    Raises NotADirectoryError where a link or anything else is there that isn't a folder, and other OSErrors.
    """
    root = open_folder(image_dir)
    try:
        return open_beneath(root, folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, error.strerror, error.filename) from error
        raise
    finally:
        os.close(root)
