"""Find out why a folder can't be written: the sandbox leaves it out, its disk is read-only, or a right is missing."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from typing import Final

from sticky_pi_api.filesystem.mounts import file_system_type, mount_of

from ...ownership.service_unit import HOMES, ROUND, ServiceUnit, drop_in, restart
from ...ownership.viewpoint import Viewpoint
from ...state_dir.disk import has_failed, is_read_only
from ...state_dir.folder import MARK
from ...state_dir.mounts import is_on_root_disk, nearest
from .finding import Finding, problem

FSCK: Final = "see `sudo dmesg` for what the kernel met; unmount the disk, check it with fsck, and mount it again"
MOUNT_FOR_WRITING: Final = "mount it for writing, or name another folder"
RIGHTS: Final = "give this user the right (or is sudo missing?), or name another folder"

_WRITE: Final = os.W_OK | os.X_OK
_WITHOUT_OWNERS: Final = frozenset({"exfat", "fuseblk", "msdos", "ntfs3", "vfat"})


def may_write(folder: str) -> bool:
    """Return whether this process has the right to make and remove files in a folder."""
    return os.access(folder, _WRITE, effective_ids=True)


def left_out(about: str, folder: str, view: Viewpoint) -> Finding | None:
    """Return a problem where the service's sandbox leaves a folder out, with the drop-in that lets it in."""
    unit, real = view.service, os.path.realpath(folder)
    if unit is None or not (
        (hidden := is_hidden(unit, real)) or (_is_read_only_here(nearest(real)) and not unit.lets_in(real))
    ):
        return None
    name, there = "folders.conf", nearest(real)
    mount = None if is_on_root_disk(there) else mount_of(there)
    place = real if mount is None or mount.folder == "/" or hidden else mount.folder
    lines = [f"ReadWritePaths=-{place}", *(["ProtectHome=no"] if hidden else [])]
    whose = f"{unit.name}'s own drop-in" if unit.name == ROUND else "the drop-in"
    why = "doesn't name it" if os.path.exists(drop_in(unit.name, name)) else "is missing"
    what = f"{folder} can't be written by the service: its sandbox leaves it out, as {whose} {name} {why}"
    return problem(about, what, write_drop_in(unit.name, name, lines))


def is_hidden(unit: ServiceUnit, folder: str) -> bool:
    """Return whether this process, in a unit's sandbox, can't see a folder in a home; `BindPaths=` may show it."""
    mount = mount_of(nearest(folder))
    is_bound = mount is not None and mount.folder not in HOMES and unit.hides(mount.folder)
    return unit.hides(folder) and not is_bound


def write_drop_in(unit: str, name: str, lines: list[str]) -> str:
    """Return the advice to write lines into a unit's drop-in."""
    file = drop_in(unit, name)
    if os.path.exists(file):
        return f"put {' and '.join(lines)} below [Service] in {file}, then: {restart(unit)}"
    text = " ".join(map(shlex.quote, ("[Service]", *lines)))
    return rf"printf '%s\n' {text} | sudo install -D -m 644 /dev/stdin {file} && {restart(unit)}"


def not_writable(about: str, folder: str, view: Viewpoint, *, is_made_at_start: bool = False) -> Finding | None:
    """Return a problem where a folder can't be written, or not be made; None where that may work.

    If it `is_made_at_start` of the service, by root, the service needs no right to make it.
    """
    advice, there, unit = RIGHTS, nearest(folder), view.service
    if (wrong := left_out(about, folder, view) or on_read_only_disk(about, there)) is not None:
        return wrong
    if not os.path.isdir(there):
        what = f"{there} isn't a folder"
    elif may_write(there) or (is_made_at_start and unit is not None and there != folder):
        return None
    elif unit is not None and there != folder:
        what = f"{folder} isn't there, and the service may not make it in {there}"
        advice = f"it is made, and given to the service, at a start: {restart(unit.name)}"
    else:
        what = f"{there} can't be written by {view.whose}"
        if unit is not None and file_system_type(there) in _WITHOUT_OWNERS:
            advice = f"mount its disk with the option uid={unit.user}: such a file system has no owners of its own"
        elif unit is not None:
            advice = _handover(there, unit.user)
    return problem(about, what, advice)


def on_read_only_disk(about: str, folder: str) -> Finding | None:
    """Return a problem where an existing folder's file system is read-only, or can't be asked."""
    try:
        if not is_read_only(folder):
            return None
    except OSError as error:  # the folder is gone since a moment, or its disk fails
        return problem(about, f"{folder} can't be looked at: {error.strerror}", RIGHTS)
    advice = FSCK if has_failed(folder) else MOUNT_FOR_WRITING
    return problem(about, f"{folder} is on a file system that is read-only", advice)


def _handover(folder: str, user: str) -> str:
    """Return the advice to give a folder to a user: a command only where no file or disk of others is in it."""
    with suppress(OSError):
        names = os.listdir(folder)
        if not names or MARK in names:
            return f"sudo chown -R {user} {shlex.quote(folder)}"
    return f"name a folder of its own, or give this one to {user} if nothing else is in it"


def _is_read_only_here(folder: str) -> bool:
    """Return whether a mount, as those of a sandbox, is read-only on a file system that isn't."""
    mount = mount_of(folder)
    try:
        return mount is not None and "rw" in mount.options and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False
