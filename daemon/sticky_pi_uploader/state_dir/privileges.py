"""Knows with which user's rights this process works, gives up root's, and says what a missing right is due to."""

from __future__ import annotations

import errno
import os
from typing import Final

_NOBODY: Final = 65534
"""The group of a user that the system doesn't know, where the folder's is root's"""

_owner: int | None = None
"""The user that this process became; None where it stayed who it was"""


def become(uid: int, gid: int) -> None:
    """Give up root's rights, for good, for those of a user in its own group, which is `gid` if none is known."""
    global _owner  # noqa: PLW0603 - a process has one user
    gid = _group(uid) or gid or _NOBODY
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _owner = uid


def was_root() -> bool:
    """Tell whether this process was root before it became the state folder's user."""
    return _owner is not None


def denied() -> str:
    """Say that a permission is missing, and what may help."""
    if _owner is None:
        return "permission denied; try it with sudo"
    return f"permission denied for the user {_owner}, whose state folder it is"


def in_the_way(error: OSError) -> str:
    """Say what keeps the state folder from being reached or made."""
    if isinstance(error, PermissionError):
        return denied()
    if not isinstance(error, FileExistsError | NotADirectoryError) and error.errno != errno.ELOOP:
        return str(error.strerror)
    place = os.fsdecode(error.filename)
    if os.path.islink(place):
        return f"{place} is a link, which root doesn't follow there: set state_dir to the folder that it leads to"
    return f"a file is in the way at {place}"


def _group(uid: int) -> int | None:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return None
