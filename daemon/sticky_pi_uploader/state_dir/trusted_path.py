"""Resolve a path as far as root alone decides where it leads, and find the folders that other users can change.

Root works with root's rights only where nobody else can interfere. A user who can rename or write in a folder on the
path can put a link there at any moment, or a database whose journal makes SQLite remove any file. No file system is
exempt: that journal needs no links.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from sticky_pi_api.filesystem.durable import naming, open_or_make
from sticky_pi_api.filesystem.safe_open import open_folder

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS: Final = 40
"""Links in one path that the kernel follows"""


class SplitPath(NamedTuple):
    """A path, split where root alone no longer decides where it leads."""

    trusted: str
    """an existing folder to which nobody else can change the way; without links"""
    rest: list[str]
    """the names from there on, none of which may be a link"""


class ForeignFolder(NamedTuple):
    """A file or folder that users other than root can change."""

    path: str
    uid: int
    """its owner; 0 where that is root, and others have the right to write there"""
    gid: int

    def __str__(self) -> str:
        """Name the owner, and advise how only one user can change it."""
        if self.uid:
            advice = f"run this as that user, or make it root's: chown -R root: {self.path}"
            return f"{self.path} belongs to {describe_user(self.uid)}; {advice}"
        return f"others can write in {self.path}: chmod go-w {self.path}"


def others_may_write(status: os.stat_result) -> bool:
    """Return whether users other than root can make, rename and remove entries of a folder."""
    return status.st_uid != 0 or bool(status.st_mode & _OTHERS_WRITE)


def split(path: str, stop_at: str | None = None) -> SplitPath:
    """Resolve a path and root's links in it as far as root alone decides where it leads, at most to `stop_at`.

    In each folder of the trusted part nobody else can rename anything, so that part stays true. Raises OSError (ELOOP)
    where root's links form a circle.
    """
    trusted, names, links = "/", path.split("/")[::-1], 0
    while names:
        name = names.pop()
        if name == "..":  # only from a link: a configured path has none
            trusted = os.path.dirname(trusted)
        elif name not in ("", "."):
            found = None if trusted == stop_at else _trusted_entry(trusted, name)
            if found is None:
                return SplitPath(trusted, [name, *filter(None, reversed(names))])
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                names += os.readlink(os.path.join(trusted, name)).split("/")[::-1]
                trusted = "/" if names[-1] == "" else trusted
            else:
                trusted = os.path.join(trusted, name)
    return SplitPath(trusted, [])


@contextmanager
def opened_split(path: SplitPath, *, make_last: int = 0) -> Iterator[int]:
    """Open the folder that a path leads to, one folder after the other, for the block; none of `rest` may be a link.

    The last ones, `make_last` of them, are made durably where they are missing. Raises OSError.
    """
    folder = os.open(path.trusted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, name in enumerate(path.rest, 1):
            above = folder
            with naming(os.path.join(path.trusted, *path.rest[:number])):
                folder = open_or_make(name, above, make=number > len(path.rest) - make_last)
            os.close(above)
        yield folder
    finally:
        os.close(folder)


def find_foreign(path: SplitPath) -> ForeignFolder | None:
    """Return the first folder on a path in which another user can replace the next one, or write at its end.

    In a sticky folder of root's, such as /tmp, nobody else can replace an entry of root's. Where the path ends early,
    as the next folder doesn't exist, the last one counts by the entry that root will make in it. Raises OSError where a
    link is in the way.
    """
    place, folder = path.trusted, os.open(path.trusted, os.O_PATH | os.O_CLOEXEC)
    try:
        for name in (*path.rest, None):
            status = os.fstat(folder)
            is_protected = name is not None and status.st_uid == 0 and status.st_mode & stat.S_ISVTX
            if others_may_write(status) and not is_protected:
                return ForeignFolder(place, status.st_uid, status.st_gid)
            if name is not None:
                above, place = folder, os.path.join(place, name)
                with naming(place):
                    folder = open_folder(name, folder=above)
                os.close(above)
    except FileNotFoundError:
        return None
    finally:
        os.close(folder)
    return None


def find_foreign_content(folder: str, prefixes: tuple[str, ...]) -> ForeignFolder | None:
    """Return the first file or folder that others can change: on the way to a folder, or among some of its entries.

    Those are the entries whose names begin with one of `prefixes`, as a database's journals do, and the folders and
    links in them. Raises OSError.
    """
    if (found := find_foreign(split(folder))) is not None:
        return found
    with suppress(FileNotFoundError):
        for path in _entries_to_check(folder, prefixes):
            parts = _split_unless_circle(path)
            if parts is not None and (found := find_foreign(parts)) is not None:
                return found
    return None


def _entries_to_check(folder: str, prefixes: tuple[str, ...]) -> Iterator[str]:
    for name in sorted(os.listdir(folder)):
        if name.startswith(prefixes):
            path = os.path.join(folder, name)
            yield path
            if _split_unless_circle(path) is not None:
                yield from _links_and_foreign_folders(path)


def _links_and_foreign_folders(path: str) -> list[str]:
    """List what a folder of root's contains of links, which may lead anywhere, and of folders that others may write."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.is_symlink() or (is_folder and others_may_write(entry.stat(follow_symlinks=False))):
                found.append(entry.path)
    return found


def _split_unless_circle(path: str) -> SplitPath | None:
    """Split a path; None where root's own links form a circle, which leads to nothing that others can change."""
    try:
        return split(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _trusted_entry(folder: str, name: str) -> os.stat_result | None:
    """Return the status of a folder's entry; None where it doesn't exist, or where others can replace it."""
    try:
        around, found = os.lstat(folder), os.lstat(os.path.join(folder, name))
    except OSError:
        return None
    if not others_may_write(around):
        return found
    # In a sticky folder such as /tmp, others can't rename what is root's. But a link of root's may have been moved in.
    is_protected = around.st_uid == 0 and around.st_mode & stat.S_ISVTX and found.st_uid == 0
    return found if is_protected and stat.S_ISDIR(found.st_mode) else None


def describe_user(uid: int) -> str:
    """Return a user's number and name for messages."""
    import pwd

    try:
        return f"the user {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"the user {uid}"
