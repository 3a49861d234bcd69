"""Has a command that root runs on another user's state folder work as that user.

That user may put links and pipes there, or exchange one folder for another, at any moment. With no more than that
user's own rights, nothing is gained by it. Files that the service couldn't use later aren't left behind either.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Final

from . import state_dir as state_dirs
from .events import Kind, about
from .exceptions import StateError

log = logging.getLogger(__name__)

_NOBODY: Final = 65534
"""The group of a user that the system doesn't know, where the folder's is root's"""

_TO_READ: Final = ("_strptime", "encodings.ascii", "importlib.util", "sticky_pi_uploader.scan")
"""What commands import when they need it"""

_TO_SEND: Final = (
    *("concurrent.futures.thread", "email.utils", "encodings.idna", "inspect", "ipaddress", "json", "shutil"),
    *("tomllib", "urllib.parse"),
    *("PIL.ImageChops", "PIL.ImageDraw", "PIL.ImageOps", "PIL.JpegImagePlugin", "piexif", "systemd.daemon"),
    *("systemd.journal", "tenacity", "watchdog.events", "watchdog.observers.inotify"),
)
"""The same of those that read pictures or ask the destination, beside all modules of ours"""

_owner: int | None = None
"""The user that this process became; None where it stayed who it was"""


def work_as_owner(state_dir: str, image_dir: str, *, sends: bool = False, removes: bool = False) -> None:
    """Become the user whose state folder it is, where that is another than root, and this process is root's.

    What needs root's rights, as a password file mostly does, has to be read before. What is imported later is imported
    here, as that user may not be allowed to read it: what `sends` needs most. Where the command `removes` pictures, it
    is said that this user can't. Raises StateError where a link is in the way, the folder can't be opened, or this
    process isn't allowed to become another user.
    """
    if os.geteuid() != 0:
        return
    try:
        with state_dirs.opened(state_dir, image_dir) as folder:
            status = os.fstat(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError(f"the state folder {state_dir} can't be used: {in_the_way(error)}") from error
    if status.st_uid == 0:
        return
    for name in (*_TO_READ, *(_to_send() if sends else ())):
        with suppress(ImportError):
            import_module(name)
    try:
        become(status.st_uid, status.st_gid)
    except OSError as error:
        whose = f"the user {status.st_uid}, whose it is"
        raise StateError(f"the state folder {state_dir} can't be used as {whose}: {error.strerror}") from error
    if removes and not os.access(image_dir, os.W_OK | os.X_OK):
        why = f"the user {status.st_uid}, whose state folder it is and as whom this works, can't write in {image_dir}"
        log.warning("no picture is removed: %s", why, extra=about(Kind.NOT_REMOVED, folder=image_dir, reason=why))


def _to_send() -> Iterator[str]:
    from pkgutil import walk_packages

    yield from _TO_SEND
    for package in ("sticky_pi_api", __package__):
        modules = walk_packages(import_module(package).__path__, f"{package}.")
        yield from (module.name for module in modules if not module.name.endswith(".__main__"))


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
