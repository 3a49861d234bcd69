"""Find out whether the image folder and the state folder can be used: mounted, readable, writable, with free space."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from sticky_pi_api.filesystem.mounts import MOUNTINFO, fields_of, file_system_type, is_within, mounts

from ..exceptions import StateError
from . import folder as state_dirs
from .disk import NO_INODES, NO_SPACE, READ_ONLY, is_read_only
from .privileges import access_problem, denied
from .reserved_space import Reserve

_FSTAB: Final = "/etc/fstab"
_KEEPS_TIMES: Final = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"})


def image_dir_problem(image_dir: str, *, fstab: str = _FSTAB, mountinfo: str = MOUNTINFO) -> str | None:
    """Return why the image folder can't be read; None where it can."""
    if (missing := missing_mount(image_dir, fstab, mountinfo)) is not None:
        at = "" if missing == image_dir else f" (it lies on {missing})"
        return f"the image folder {image_dir} isn't mounted{at}"
    try:
        with os.scandir(image_dir):
            # Without this right, names can be read, but not files.
            reachable = os.access(image_dir, os.X_OK)
    except FileNotFoundError:
        return f"the image folder {image_dir} isn't there"
    except NotADirectoryError:
        return f"the image folder {image_dir} isn't a folder"
    except PermissionError:
        reachable = False
    except OSError as error:
        return f"the image folder {image_dir} can't be read: {error.strerror}"
    return None if reachable else f"the image folder {image_dir} can't be read: {denied()}"


def missing_mount(path: str, fstab: str = _FSTAB, mountinfo: str = MOUNTINFO) -> str | None:
    """Return the mount point of fstab at or above `path` on which nothing is mounted; None where there is none."""
    known = list(mounts(mountinfo))
    if not known:  # the kernel doesn't tell
        return None
    mounted = {mount.folder for mount in known if not mount.is_bound_to_itself}
    real = os.path.realpath(path)
    for fields in fields_of(fstab):
        # Without a slash: swap, or "none".
        if len(fields) > 1 and not fields[0].startswith("#") and fields[1].startswith("/") and fields[0] != fields[1]:
            wanted = os.path.normpath(fields[1])
            if wanted != "/" and is_within(real, os.path.realpath(wanted)) and os.path.realpath(wanted) not in mounted:
                return wanted
    return None


def is_on_root_disk(folder: str) -> bool:
    """Return whether a folder lies on the system's own file system; False where it doesn't exist."""
    with suppress(OSError):
        return os.stat(folder).st_dev == os.stat("/").st_dev
    return False


def lost_files(image_dir: str) -> int:
    """Return how many files fsck put into `lost+found` in the image folder, as far as this user may see them."""
    with suppress(OSError), state_dirs.opened(os.path.join(image_dir, "lost+found"), image_dir) as found:
        return len(os.listdir(found))
    return 0


def keeps_times(path: str, mountinfo: str = MOUNTINFO) -> bool:
    """Return whether a folder's mtime shows every change in it: on FAT, that of the topmost folder doesn't."""
    return file_system_type(path, mountinfo) in _KEEPS_TIMES


def nearest(folder: str) -> str:
    """Return the folder, or the nearest existing one above it."""
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return folder


def state_dir_problem(state_dir: str) -> str | None:
    """Return why the state folder can't be written at present; None where it can."""
    try:
        why = _write_problem(nearest(os.path.realpath(state_dir)))
    except OSError as error:  # it may be gone by now
        why = access_problem(error)
    return None if why is None else f"the state folder {state_dir} can't be written: {why}"


def _write_problem(folder: str) -> str | None:
    """Return why no state can be written in a folder; None where it can. Raises OSError."""
    if is_read_only(folder):
        return READ_ONLY
    reserve = Reserve(folder)
    if not reserve.has_inodes():
        return NO_INODES
    return None if reserve.is_enough() else NO_SPACE


def prepare_state_dir(state_dir: str, image_dir: str, *, fstab: str = _FSTAB) -> None:
    """Make the state folder unless it exists, and check that it can be written. Raises StateError.

    Folders above it are made only inside the image folder, and only while that can be used: on the empty mount point of
    a missing card, state would be mistaken for the card's.
    """
    try:
        inside = is_within(os.path.realpath(state_dir), os.path.realpath(image_dir))
        if inside and (problem := image_dir_problem(image_dir, fstab=fstab)) is not None:
            raise StateError(problem)
        state_dirs.make(state_dir, image_dir, with_parents=inside)
        is_usable = os.access(state_dir, os.R_OK | os.W_OK | os.X_OK)
        why = READ_ONLY if not is_usable and is_read_only(state_dir) else denied()
    except FileNotFoundError:
        raise StateError(f"the state folder {state_dir} can't be made: the folder above it isn't there") from None
    except OSError as error:
        raise StateError(f"the state folder {state_dir} can't be made: {access_problem(error)}") from error
    if not is_usable:
        raise StateError(f"the state folder {state_dir} can't be written: {why}")
