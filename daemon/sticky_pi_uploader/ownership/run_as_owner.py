"""Continue as the state folder's owner when root runs a command on another user's state folder.

The owner may put links and pipes there, or replace a folder, at any moment. As this process then has no more than the
owner's rights, the owner gains nothing by that. And every file that it makes can be used by the service later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Final

from ..exceptions import StateError
from ..journal.events import Kind, log_event
from ..state_dir import folder as state_dirs
from ..state_dir.privileges import access_problem, become
from ..state_dir.trusted_path import ForeignFolder, describe_user, find_foreign, find_foreign_content

_NO_WRITE_FOR_OTHERS: Final = 0o022

_USED_BY_PATH: Final = ("outbox.db", "thumbnails")
"""Entries of its own state folder that root opens by path"""

_TO_READ: Final = ("_strptime", "encodings.ascii", "importlib.util", "sticky_pi_uploader.intake.scanner")
"""Modules that every command imports lazily"""

_TO_WRITE: Final = ("sqlite_utils",)
"""Modules that commands which write to the outbox import where its tables are made or changed"""

_TO_SEND: Final = (
    *("concurrent.futures.thread", "email.utils", "encodings.idna", "inspect", "ipaddress", "json", "shutil"),
    *("tomllib", "urllib.parse"),
    *("PIL.ImageChops", "PIL.ImageDraw", "PIL.ImageOps", "PIL.JpegImagePlugin", "piexif", "systemd.daemon"),
    *("sqlite_utils", "systemd.journal", "tenacity", "watchdog.events", "watchdog.observers.inotify"),
)
"""Modules imported lazily by commands that read pictures or ask the destination, in addition to all of ours"""


def work_as_owner(
    state_dir: str, image_dir: str, *, sends: bool = False, removes: bool = False, gives: bool = False
) -> None:
    """Become the owner of the state folder, or of the folder that it lies in, if this process is root and that isn't.

    Read what needs root's rights before, such as the password file. Modules that are imported lazily are imported here,
    as the owner may have no right to read them: a command that `sends` needs the most. If the command `removes`
    pictures, and the owner has no right to, a warning is logged. If it `gives`, a state folder of root's in the owner's
    folder is given to the owner first. Raises StateError where a link is in the way, the folder can't be opened, this
    process isn't allowed to become another user, or more than one user can change the folder.
    """
    if os.geteuid() != 0:
        return
    try:
        owner = _owner(state_dir, image_dir, gives=gives)
    except OSError as error:
        raise StateError(f"the state folder {state_dir} can't be used: {access_problem(error)}") from error
    if owner is None:
        # Files that root makes mustn't be writable by others.
        os.umask(os.umask(_NO_WRITE_FOR_OTHERS) | _NO_WRITE_FOR_OTHERS)
        return
    uid, gid = owner
    for name in (*_TO_READ, *(_TO_WRITE if sends or gives else ()), *(_to_send() if sends else ())):
        with suppress(ImportError):
            import_module(name)
    try:
        become(uid, gid)
    except OSError as error:
        whose = f"the user {uid}, whose it is"
        raise StateError(f"the state folder {state_dir} can't be used as {whose}: {error.strerror}") from error
    if removes and not os.access(image_dir, os.W_OK | os.X_OK):
        why = f"the user {uid}, whose state folder it is and as whom this works, can't write in {image_dir}"
        log_event(Kind.NOT_REMOVED, f"no picture is removed: {why}", folder=image_dir, reason=why)


def _owner(state_dir: str, image_dir: str, *, gives: bool) -> tuple[int, int] | None:
    """Return the user and group to continue as; None: as root. Raises OSError and StateError."""
    found = find_foreign(state_dirs.split_path(state_dir, image_dir))
    if found is None:
        if (foreign := find_foreign_content(state_dir, _USED_BY_PATH)) is not None:
            raise StateError(f"the state folder {state_dir} can't be used by root: {foreign}")
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


def _give(state_dir: str, image_dir: str, found: ForeignFolder) -> None:
    from .handover import Owner, give

    whose = describe_user(found.uid)
    give(state_dir, image_dir, Owner(whose, found.uid, found.gid))
    why = f"as it lies in {found.path}, which is that user's, too"
    text = f"the state folder {state_dir} belongs to {whose} now, {why}"
    log_event(Kind.GIVEN, text, folder=state_dir, reason=found.path)


def _to_send() -> Iterator[str]:
    from pkgutil import walk_packages

    yield from _TO_SEND
    for package in ("sticky_pi_api", __name__.partition(".")[0]):
        modules = walk_packages(import_module(package).__path__, f"{package}.")
        yield from (module.name for module in modules if not module.name.endswith(".__main__"))
