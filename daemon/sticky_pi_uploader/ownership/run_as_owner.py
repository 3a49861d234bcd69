"""Has a command that root runs on another user's state folder work as that user.

That user may put links and pipes there, or exchange one folder for another, at any moment. With no more than that
user's own rights, nothing is gained by it. Files that the service couldn't use later aren't left behind either.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Final

from ..exceptions import StateError
from ..journal.events import Kind, about
from ..state_dir import folder as state_dirs
from ..state_dir.privileges import become, in_the_way
from ..state_dir.trusted_path import Shared, named, shared, shared_part

log = logging.getLogger(__name__)

_NOT_FOR_OTHERS: Final = 0o022

_PARTS: Final = ("outbox.db", "thumbnails")
"""What root reads and writes by path in its own state folder"""

_TO_READ: Final = ("_strptime", "encodings.ascii", "importlib.util", "sticky_pi_uploader.intake.scanner")
"""What commands import when they need it"""

_TO_SEND: Final = (
    *("concurrent.futures.thread", "email.utils", "encodings.idna", "inspect", "ipaddress", "json", "shutil"),
    *("tomllib", "urllib.parse"),
    *("PIL.ImageChops", "PIL.ImageDraw", "PIL.ImageOps", "PIL.JpegImagePlugin", "piexif", "systemd.daemon"),
    *("systemd.journal", "tenacity", "watchdog.events", "watchdog.observers.inotify"),
)
"""The same of those that read pictures or ask the destination, beside all modules of ours"""


def work_as_owner(
    state_dir: str, image_dir: str, *, sends: bool = False, removes: bool = False, gives: bool = False
) -> None:
    """Become the user whose state folder it is, or in whose folder it lies, where that isn't root, and this process is.

    What needs root's rights, as a password file mostly does, has to be read before. What is imported later is imported
    here, as that user may not be allowed to read it: what `sends` needs most. Where the command `removes` pictures, it
    is said that this user can't. A state folder that is root's, in that user's folder, is given to that user first
    where it `gives`. Raises StateError where a link is in the way, the folder can't be opened, this process isn't
    allowed to become another user, or others than one user can change the folder.
    """
    if os.geteuid() != 0:
        return
    try:
        user = _user(state_dir, image_dir, gives=gives)
    except OSError as error:
        raise StateError(f"the state folder {state_dir} can't be used: {in_the_way(error)}") from error
    if user is None:
        # What root makes, nobody else is to change.
        os.umask(os.umask(_NOT_FOR_OTHERS) | _NOT_FOR_OTHERS)
        return
    uid, gid = user
    for name in (*_TO_READ, *(_to_send() if sends else ())):
        with suppress(ImportError):
            import_module(name)
    try:
        become(uid, gid)
    except OSError as error:
        whose = f"the user {uid}, whose it is"
        raise StateError(f"the state folder {state_dir} can't be used as {whose}: {error.strerror}") from error
    if removes and not os.access(image_dir, os.W_OK | os.X_OK):
        why = f"the user {uid}, whose state folder it is and as whom this works, can't write in {image_dir}"
        log.warning("no picture is removed: %s", why, extra=about(Kind.NOT_REMOVED, folder=image_dir, reason=why))


def _user(state_dir: str, image_dir: str, *, gives: bool) -> tuple[int, int] | None:
    """Find the user and the group as whom root has to work; None: as root. Raises OSError and StateError."""
    found = shared(state_dirs.way_to(state_dir, image_dir))
    if found is None:
        if (part := shared_part(state_dir, _PARTS)) is not None:
            raise StateError(f"the state folder {state_dir} can't be used by root: {part}")
        return None
    try:
        with state_dirs.opened(state_dir, image_dir) as folder:
            status = os.fstat(folder)
    except FileNotFoundError:
        status = None
    if status is not None and status.st_uid != 0:
        return status.st_uid, status.st_gid
    if found.uid == 0:
        raise StateError(f"the state folder {state_dir} can't be used by root: {found}")
    if status is not None and gives:
        _give(state_dir, image_dir, found)
    return found.uid, found.gid


def _give(state_dir: str, image_dir: str, found: Shared) -> None:
    from .handover import Owner, give

    whose = named(found.uid)
    give(state_dir, image_dir, Owner(whose, found.uid, found.gid))
    text = "the state folder %s belongs to %s now, as it lies in %s, which is that user's, too"
    log.warning(text, state_dir, whose, found.path, extra=about(Kind.GIVEN, folder=state_dir, reason=found.path))


def _to_send() -> Iterator[str]:
    from pkgutil import walk_packages

    yield from _TO_SEND
    for package in ("sticky_pi_api", __name__.partition(".")[0]):
        modules = walk_packages(import_module(package).__path__, f"{package}.")
        yield from (module.name for module in modules if not module.name.endswith(".__main__"))
