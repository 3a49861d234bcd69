"""Give up root's rights for those of a user, and explain errors of missing rights."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from typing import Final

_NOBODY: Final = 65534
"""The group for an unknown user whose folder has root's group"""

BOOTED: Final = "/run/systemd/system"
"""It exists where systemd is the running system's manager (sd_booted(3))"""

_OUR_UNIT: Final = re.compile(
    r"/sticky-pi-uploader(-drain|-(audit|check|dismiss|drain|retry)-\d+)?\.service$", re.MULTILINE
)
"""The control group of the service, of a round, and of a command in a unit that `run_as_service` names"""

_owner: int | None = None
"""The user that this process became; None where it was started as its user"""


def become(uid: int, gid: int) -> None:
    """Give up root's rights for good: become a user in the user's own group, or in `gid` if the user is unknown."""
    global _owner  # noqa: PLW0603 - a process has one user
    import pwd

    with suppress(KeyError):
        gid = pwd.getpwuid(uid).pw_gid or gid
    gid = gid or _NOBODY
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _owner = uid


def was_root() -> bool:
    """Return whether this process was root before it became the state folder's owner."""
    return _owner is not None


def in_service_unit() -> bool:
    """Return whether this is the service, a round, or a command that runs as the service does."""
    with suppress(OSError), open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        return _OUR_UNIT.search(file.read()) is not None
    return False


def denied() -> str:
    """Return the message for a missing permission, with advice."""
    if _owner is None and in_service_unit():
        return "permission denied for the service"
    if _owner is None:
        return "permission denied; try it with sudo"
    return f"permission denied for the user {_owner}, whose state folder it is"


def access_problem(error: OSError) -> str:
    """Return in words why the state folder can't be reached or made."""
    if isinstance(error, PermissionError):
        return denied()
    if not isinstance(error, FileExistsError | NotADirectoryError) and error.errno != errno.ELOOP:
        return str(error.strerror)
    place = os.fsdecode(error.filename)
    if os.path.islink(place):
        return f"{place} is a link, which root doesn't follow there: set state_dir to the folder that it leads to"
    return f"a file is in the way at {place}"
