"""What is to be known of the image folder and the state folder before they are relied on."""

from __future__ import annotations

import os
from typing import Final

from sticky_pi_api.filesystem.mounts import MOUNTINFO, fields_of, file_system_type, is_within, mount_of, mounts

from ..exceptions import StateError
from . import folder as state_dirs
from .privileges import denied, in_the_way
from .reserved_space import NO_INODES, NO_SPACE, Reserve

_FSTAB: Final = "/etc/fstab"

_AFTER_AN_ERROR: Final = frozenset({"emergency_ro", "shutdown"})
"""Options with which ext4 shows that an error made it read-only, while all flags say that it can be written"""
_KEEPS_TIMES: Final = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"})


def image_dir_problem(image_dir: str, *, fstab: str = _FSTAB, mountinfo: str = MOUNTINFO) -> str | None:
    """Say why there are no pictures to be had from the image folder; None if nothing is in the way."""
    if (missing := _missing_mount(image_dir, fstab, mountinfo)) is not None:
        at = "" if missing == image_dir else f" (it lies on {missing})"
        return f"the image folder {image_dir} isn't mounted{at}"
    try:
        with os.scandir(image_dir):
            # Names can be read without this right, files can't.
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


def _missing_mount(path: str, fstab: str, mountinfo: str) -> str | None:
    """Name the folder at or above `path` on which fstab wants something mounted, and nothing is."""
    mounted = {mount.folder for mount in mounts(mountinfo)}
    if not mounted:  # the kernel doesn't tell
        return None
    real = os.path.realpath(path)
    for fields in fields_of(fstab):
        # Without a slash: swap, or "none".
        if len(fields) > 1 and not fields[0].startswith("#") and fields[1].startswith("/"):
            wanted = os.path.normpath(fields[1])
            if wanted != "/" and is_within(real, os.path.realpath(wanted)) and os.path.realpath(wanted) not in mounted:
                return wanted
    return None


def keeps_times(path: str, mountinfo: str = MOUNTINFO) -> bool:
    """Tell whether a folder's mtime tells of every change in it, for ever: on a FAT card, the first one's doesn't."""
    return file_system_type(path, mountinfo) in _KEEPS_TIMES


def is_read_only(path: str, mountinfo: str = MOUNTINFO) -> bool:
    """Tell whether the file system of `path` shows that it can't be written, be it since an error. Raises OSError."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY) or has_failed(path, mountinfo)


def has_failed(path: str, mountinfo: str = MOUNTINFO) -> bool:
    """Tell whether the kernel says that it made the file system of `path` read-only after an error."""
    found = mount_of(path, mountinfo)
    return found is not None and not _AFTER_AN_ERROR.isdisjoint(found.options)


def nearest(folder: str) -> str:
    """Give the folder, or the nearest one above it that is there."""
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return folder


def state_dir_problem(state_dir: str) -> str | None:
    """Say why there can be no state in its folder for the time being; None if nothing is in the way."""
    try:
        why = _write_problem(nearest(os.path.realpath(state_dir)))
    except OSError as error:  # it may be gone since a moment
        why = in_the_way(error)
    return None if why is None else f"the state folder {state_dir} can't be written: {why}"


def _write_problem(folder: str) -> str | None:
    """Say why no state can be written in a folder. Raises OSError."""
    if is_read_only(folder):
        return "its file system is read-only"
    reserve = Reserve(folder)
    if not reserve.has_inodes():
        return NO_INODES
    return None if reserve.is_enough() else NO_SPACE


def prepare_state_dir(state_dir: str, image_dir: str, *, fstab: str = _FSTAB) -> None:
    """Make the state folder where it isn't there, and see that it can be written to.

    Folders above it are made only inside the image folder, and nothing is made there unless that is in order: on the
    empty mount point of a card that is missing, state would be mistaken for the card's. Raises StateError.
    """
    try:
        inside = is_within(os.path.realpath(state_dir), os.path.realpath(image_dir))
        if inside and (problem := image_dir_problem(image_dir, fstab=fstab)) is not None:
            raise StateError(problem)
        state_dirs.make(state_dir, image_dir, with_parents=inside)
        is_usable = os.access(state_dir, os.R_OK | os.W_OK | os.X_OK)
        why = "its file system is read-only" if not is_usable and is_read_only(state_dir) else denied()
    except FileNotFoundError:
        raise StateError(f"the state folder {state_dir} can't be made: the folder above it isn't there") from None
    except OSError as error:
        raise StateError(f"the state folder {state_dir} can't be made: {in_the_way(error)}") from error
    if not is_usable:
        raise StateError(f"the state folder {state_dir} can't be written: {why}")
