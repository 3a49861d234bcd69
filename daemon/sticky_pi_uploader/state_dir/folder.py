"""Finds and makes the state folder so that root goes nowhere that another user chose.

The folder, or one above it, may belong to another user, who can put a link in its place at any moment. Root follows a
link only where nobody else could have placed it; from the first folder in which others can write, and from the image
folder, it goes on by descriptors, one folder at a time. Who isn't root has nothing to lose, and follows every link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from sticky_pi_api.filesystem.durable import flush, naming
from sticky_pi_api.filesystem.safe_open import open_beneath, open_file, open_folder

from .trusted_path import Way, follow

MARK: Final = ".sticky-pi-uploader-state"
"""A file in every state folder, by which root knows it from one that was named by mistake"""

_TEXT: Final = b"By this file, `sticky-pi-uploader prepare` knows that it may give this folder to the service.\n"


@contextmanager
def opened(state_dir: str, image_dir: str) -> Iterator[int]:
    """Open the state folder. Raises OSError, where a link is in the way too; its text says so."""
    way = way_to(state_dir, image_dir)
    base = _open_base(way)
    try:
        with naming(os.path.join(way.base, *way.rest)):
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
    way = way_to(state_dir, image_dir)
    folder = _open_base(way)
    try:
        for number, name in enumerate(way.rest, 1):
            above = folder
            with naming(os.path.join(way.base, *way.rest[:number])):
                folder = _enter(name, above, may_make=with_parents or number == len(way.rest))
            os.close(above)
    finally:
        os.close(folder)


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


def _open_base(way: Way) -> int:
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
    flush(above)
    return open_folder(name, folder=above)


def way_to(path: str, image_dir: str) -> Way:
    """Follow the way to the state folder: for root, at most to the image folder, and no link of others."""
    if os.geteuid() != 0:
        return _existing(os.path.realpath(path))
    image = follow(image_dir)
    return follow(path, os.path.join(image.base, *image.rest))


def _existing(path: str) -> Way:
    """Part a path without links where it isn't there any more."""
    base, rest = path, list[str]()
    while not os.path.lexists(base):
        base, name = os.path.split(base)
        rest.insert(0, name)
    return Way(base, rest)
