"""Open the folders of an embedded store without following any link within it.

A link may lead to the very pictures that are to be copied, which the copies would replace, or to other users' files.
The path of the store itself may have links. All functions raise OSError, which names the path.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from sticky_pi_api.filesystem.durable import make_folders, naming, open_or_make
from sticky_pi_api.filesystem.safe_open import BESIDE, file_system_id, opened_folder

IMAGES: Final = "raw_images"
INCOMING: Final = ".incoming"
"""In the images' folder"""
BUNDLES: Final = "ml"

_DATABASES: Final = ("database.db", "passwords.db")


def require_no_link(store: str, *names: str, is_whole: bool = True) -> None:
    """Raise OSError where one of these paths in a store is a link: EINVAL for the whole store, ELOOP for one device."""
    for name in names:
        if os.path.islink(path := os.path.join(store, name)):
            number = errno.EINVAL if is_whole else errno.ELOOP
            raise OSError(number, f"{name} in it is a link: move the whole store instead", path)


def require_plain_database(store: str, name: str) -> None:
    """Raise OSError where a database in a store, or one of SQLite's files beside it, is a link."""
    require_no_link(store, *(f"{name}{end}" for end in ("", *BESIDE)))


def require_no_links(store: str) -> None:
    """Raise OSError where a file or folder that a store writes to is a link."""
    for name in _DATABASES:
        require_plain_database(store, name)
    for name in (IMAGES, BUNDLES):
        require_no_link(store, name)
        with suppress(FileNotFoundError, NotADirectoryError):
            require_no_link(store, *(f"{name}/{below}" for below in sorted(os.listdir(os.path.join(store, name)))))


@contextmanager
def images_folder(store: str, *, make: bool = False) -> Iterator[int]:
    """Open the folder of a store's images; make it first if `make` says so."""
    if make:
        make_folders(store)
    with opened_folder(store) as own, folder_in(store, own, IMAGES, make=make) as images:
        yield images


@contextmanager
def folder_in(store: str, above: int, name: str, *, make: bool = False, is_whole: bool = True) -> Iterator[int]:
    """Open a folder by its path in a store; `above` is its open parent folder."""
    path = os.path.join(store, name)
    with naming(path):
        try:
            folder = open_or_make(os.path.basename(name), above, make=make)
        except OSError:
            require_no_link(store, name, is_whole=is_whole)
            raise
    try:
        yield folder
    finally:
        os.close(folder)


def file_systems(store: str) -> set[str]:
    """Return the ids of the file systems of a store and its pictures; each of its folders may be a mount point."""
    found = {file_system_id(store)}
    with suppress(FileNotFoundError), images_folder(store) as images:
        found.add(file_system_id(images))
        for name in sorted(os.listdir(images)):
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                folder_in(store, images, f"{IMAGES}/{name}", is_whole=False) as folder,
            ):
                found.add(file_system_id(folder))
    return found
