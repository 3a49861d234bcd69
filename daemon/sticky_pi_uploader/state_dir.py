"""Finds and makes the state folder so that root goes nowhere that another user chose.

The folder, or one above it, may belong to another user, who can put a link in its place at any moment. Root follows a
link only where nobody else could have placed it; from the first folder in which others can write, and from the image
folder, it goes on by descriptors, one folder at a time. Who isn't root has nothing to lose, and follows every link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from sticky_pi_api.durable import flush
from sticky_pi_api.filesystem import open_beneath, open_file, open_folder

MARK: Final = ".sticky-pi-uploader-state"
"""A file in every state folder, by which root knows it from one that was named by mistake"""

_TEXT: Final = b"By this file, `sticky-pi-uploader prepare` knows that it may give this folder to the service.\n"
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS: Final = 40
"""As many as the kernel follows"""


class _Way(NamedTuple):
    """The way to a folder."""

    base: str
    """a folder that is there, to which nobody else can change the way; without links"""
    rest: list[str]
    """names on the way from there on, of which none may be a link"""


@contextmanager
def opened(state_dir: str, image_dir: str) -> Iterator[int]:
    """Open the state folder. Raises OSError, where a link is in the way too; its text says so."""
    way = _way(state_dir, image_dir)
    base = _open_base(way)
    try:
        with _named(os.path.join(way.base, *way.rest)):
            folder = open_beneath(base, "/".join(way.rest))
    finally:
        os.close(base)
    try:
        yield folder
    finally:
        os.close(folder)


def make(state_dir: str, image_dir: str, *, with_parents: bool) -> None:
    """Make the state folder where it isn't there, readable for all; also those above it, `with_parents`.

    Raises OSError, as `opened` does.
    """
    if os.geteuid() != 0 and os.path.isdir(state_dir):
        return
    way = _way(state_dir, image_dir)
    folder = _open_base(way)
    try:
        for number, name in enumerate(way.rest, 1):
            above = folder
            with _named(os.path.join(way.base, *way.rest[:number])):
                folder = _enter(name, above, may_make=with_parents or number == len(way.rest))
            os.close(above)
    finally:
        os.close(folder)


def others_may_write(status: os.stat_result) -> bool:
    """Tell of a folder that is root's whether others can make, rename and remove something in it."""
    return status.st_uid != 0 or bool(status.st_mode & _OTHERS_WRITE)


def mark(state_dir: str) -> None:
    """Put the mark into a state folder; on a full disk, it stays out."""
    path = os.path.join(state_dir, MARK)
    if os.path.lexists(path):
        return
    with suppress(OSError):
        descriptor = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(descriptor, _TEXT)
        finally:
            os.close(descriptor)


def is_marked(folder: int) -> bool:
    """Tell whether the mark is in an open folder; nothing is opened for that."""
    try:
        return stat.S_ISREG(os.stat(MARK, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Have an OSError of the block name the whole path."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise


def _open_base(way: _Way) -> int:
    return os.open(way.base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _enter(name: str, above: int, *, may_make: bool) -> int:
    """Open a folder in another, made if it isn't there and that is allowed."""
    try:
        return open_folder(name, folder=above)
    except FileNotFoundError:
        if not may_make:
            raise
    # It gets its mode as it is made: a moment later, another folder may lie there.
    umask = os.umask(0o022)
    try:
        with suppress(FileExistsError):  # another process was faster
            os.mkdir(name, 0o755, dir_fd=above)
    finally:
        os.umask(umask)
    folder = open_folder(name, folder=above)
    flush(above)
    return folder


def _way(path: str, image_dir: str) -> _Way:
    if os.geteuid() != 0:
        return _existing(os.path.realpath(path))
    image = _follow(image_dir, None)
    return _follow(path, os.path.join(image.base, *image.rest))


def _existing(path: str) -> _Way:
    """Part a path without links where it isn't there any more."""
    base, rest = path, list[str]()
    while not os.path.lexists(base):
        base, name = os.path.split(base)
        rest.insert(0, name)
    return _Way(base, rest)


def _follow(path: str, end: str | None) -> _Way:
    """Follow a path, and root's links in it, as far as root alone decides where it leads; at most to the folder `end`.

    So far, each folder on the way is one in which nobody else can rename anything: its path stays true.
    """
    base, names, links = "/", path.split("/")[::-1], 0
    while names:
        name = names.pop()
        if name == "..":  # only of a link: a configured path has none
            base = os.path.dirname(base)
        elif name not in ("", "."):
            found = None if base == end else _root_put_there(base, name)
            if found is None:
                return _Way(base, [name, *filter(None, reversed(names))])
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                names += os.readlink(os.path.join(base, name)).split("/")[::-1]
                base = "/" if names[-1] == "" else base
            else:
                base = os.path.join(base, name)
    return _Way(base, [])


def _root_put_there(folder: str, name: str) -> os.stat_result | None:
    """Look at what lies in a folder; None where nothing does, or where others can replace it."""
    try:
        around, found = os.lstat(folder), os.lstat(os.path.join(folder, name))
    except OSError:
        return None
    if not others_may_write(around):
        return found
    # As in /tmp, what is root's can't be renamed by others; but a link may have come there by another way.
    is_kept = around.st_uid == 0 and around.st_mode & stat.S_ISVTX and found.st_uid == 0
    return found if is_kept and stat.S_ISDIR(found.st_mode) else None
