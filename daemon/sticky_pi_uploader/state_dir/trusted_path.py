"""Follows the way to a folder as far as root alone decides where it leads, and finds who else has a say in it.

Root works as root only where nobody else does: who can rename or write in a folder on the way can put a link there at
any moment, or a database with a journal that has SQLite remove any file. No file system is left out of this: that
journal needs no links.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Final, NamedTuple

from sticky_pi_api.filesystem.durable import naming
from sticky_pi_api.filesystem.safe_open import open_folder

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS: Final = 40
"""As many as the kernel follows"""


class Way(NamedTuple):
    """The way to a folder."""

    base: str
    """a folder that is there, to which nobody else can change the way; without links"""
    rest: list[str]
    """names on the way from there on, of which none may be a link"""


class Shared(NamedTuple):
    """A file or folder that others than root can change."""

    path: str
    uid: int
    """its user; 0 where it is root's, but others can write there"""
    gid: int

    def __str__(self) -> str:
        """Say whose it is, and what is to be done so that only one user can change it."""
        if self.uid:
            advice = f"run this as that user, or make it root's: chown -R root: {self.path}"
            return f"{self.path} belongs to {named(self.uid)}; {advice}"
        return f"others can write in {self.path}: chmod go-w {self.path}"


def others_may_write(status: os.stat_result) -> bool:
    """Tell of a folder whether others than root can make, rename and remove something in it."""
    return status.st_uid != 0 or bool(status.st_mode & _OTHERS_WRITE)


def shared(way: Way) -> Shared | None:
    """Find the first folder on the way in which somebody else can exchange the next one, or write at its end.

    In a sticky folder of root's, such as /tmp, nobody else can exchange what is root's. Where the way ends early, as
    the next folder isn't there, the last one counts by what root is to make in it. Raises OSError where a link is in
    the way.
    """
    path, folder = way.base, os.open(way.base, os.O_PATH | os.O_CLOEXEC)
    try:
        for name in (*way.rest, None):
            status = os.fstat(folder)
            is_kept = name is not None and status.st_uid == 0 and status.st_mode & stat.S_ISVTX
            if others_may_write(status) and not is_kept:
                return Shared(path, status.st_uid, status.st_gid)
            if name is not None:
                above, path = folder, os.path.join(path, name)
                with naming(path):
                    folder = open_folder(name, folder=above)
                os.close(above)
    except FileNotFoundError:
        return None
    finally:
        os.close(folder)
    return None


def shared_part(folder: str, names: tuple[str, ...]) -> Shared | None:
    """Find, on the way to a folder and among what lies in it under one of these names, what others can change.

    A name stands for all that begin with it, as a database's journals do, and for the folders in a folder of that name.
    Raises OSError.
    """
    if (found := shared(follow(folder))) is not None:
        return found
    with suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            if name.startswith(names):
                part = os.path.join(folder, name)
                if (way := _follow_unless_circle(part)) is None:
                    continue
                ways = [way, *map(_follow_unless_circle, _doubtful(part))]
                for way in filter(None, ways):
                    if (found := shared(way)) is not None:
                        return found
    return None


def _follow_unless_circle(path: str) -> Way | None:
    """Follow a path; None where root's own links go round in a circle, which lead to nothing that others can change."""
    try:
        return follow(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _doubtful(path: str) -> list[str]:
    """List what a folder of root's holds of folders that others may write, and of links, which may lead to some."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.is_symlink() or (is_folder and others_may_write(entry.stat(follow_symlinks=False))):
                found.append(entry.path)
    return found


def named(uid: int) -> str:
    """Name a user for people."""
    import pwd

    try:
        return f"the user {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"the user {uid}"


def follow(path: str, end: str | None = None) -> Way:
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
                return Way(base, [name, *filter(None, reversed(names))])
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                names += os.readlink(os.path.join(base, name)).split("/")[::-1]
                base = "/" if names[-1] == "" else base
            else:
                base = os.path.join(base, name)
    return Way(base, [])


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
