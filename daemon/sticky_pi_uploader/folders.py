"""What is to be known of the image folder and the state folder before they are relied on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from sticky_pi_api.durable import sync_folder

from .exceptions import StateError
from .reserve import Reserve

_FSTAB: Final = "/etc/fstab"
_MOUNTINFO: Final = "/proc/self/mountinfo"

_NETWORK: Final = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fhgfs", "gfs2", "glusterfs"),
        *("gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "prl_fs", "smb3", "smbfs"),
        *("vboxsf", "virtiofs", "vmhgfs"),
    }
)
_LOCAL_FUSE: Final = frozenset(
    {
        *("fuse.bindfs", "fuse.encfs", "fuse.exfat", "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.mergerfs"),
        *("fuse.ntfs", "fuse.ntfs-3g"),
    }
)
_KEEPS_TIMES: Final = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"})


def file_system_id(path: str) -> str:
    """Tell the file system on which `path` lies from others, across reboots where it has an identity of its own.

    Raises OSError.
    """
    identity = os.statvfs(path).f_fsid
    # Some have none; the device's number is the next best, and may be another one after a boot.
    return f"{identity:x}" if identity else f"device {os.stat(path).st_dev:x}"


def disk_space(folder: str) -> tuple[int | None, int | None]:
    """Give the bytes that are free, and that there are, on the file system of `folder`; None where it isn't there."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None, None
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def image_dir_problem(image_dir: str, *, fstab: str = _FSTAB, mountinfo: str = _MOUNTINFO) -> str | None:
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
    return None if reachable else f"the image folder {image_dir} can't be read: permission denied; try it with sudo"


def _missing_mount(path: str, fstab: str, mountinfo: str) -> str | None:
    """Name the folder at or above `path` on which fstab wants something mounted, and nothing is."""
    mounted = {folder for folder, _ in _mounts(mountinfo)}
    if not mounted:  # the kernel doesn't tell
        return None
    real = os.path.realpath(path)
    for fields in _fields(fstab):
        # Without a slash: swap, or "none".
        if len(fields) > 1 and not fields[0].startswith("#") and fields[1].startswith("/"):
            wanted = os.path.normpath(fields[1])
            if wanted != "/" and is_within(real, os.path.realpath(wanted)) and os.path.realpath(wanted) not in mounted:
                return wanted
    return None


def network_file_system(path: str, mountinfo: str = _MOUNTINFO) -> str | None:
    """Return the type of the file system of `path` where the kernel doesn't hear of all changes in it, else None."""
    found = file_system_type(path, mountinfo)
    if found in _NETWORK or (found.startswith("fuse.") and found not in _LOCAL_FUSE):
        return found
    return None


def keeps_times(path: str, mountinfo: str = _MOUNTINFO) -> bool:
    """Tell whether a folder's mtime tells of every change in it, for ever: on a FAT card, the first one's doesn't."""
    return file_system_type(path, mountinfo) in _KEEPS_TIMES


def file_system_type(path: str, mountinfo: str = _MOUNTINFO) -> str:
    """Return the type of the file system of `path`, such as ext4; "" where the kernel doesn't tell."""
    real, longest, found = os.path.realpath(path), -1, ""
    for folder, kind in _mounts(mountinfo):
        # Of two at one place, the later one hides the earlier.
        if is_within(real, folder) and len(folder) >= longest:
            longest, found = len(folder), kind
    return found


def _mounts(mountinfo: str) -> Iterator[tuple[str, str]]:
    """Yield every mount point and its type, in the order in which they were mounted (proc(5))."""
    for fields in _fields(mountinfo):
        # A number of optional fields ends with a dash.
        if len(fields) > 6 and "-" in fields[6:-1]:  # noqa: PLR2004  # proc(5)
            yield fields[4], fields[fields.index("-", 6) + 1]


def _fields(table: str) -> Iterator[list[str]]:
    """Yield the fields of each line; nothing where the table can't be read."""
    try:
        with open(table, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        yield [os.fsdecode(re.sub(rb"\\([0-7]{3})", _octal, field)) for field in line.split()]


def _octal(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8) & 0xFF])


def is_within(path: str, folder: str) -> bool:
    """Say whether `path` is the folder or lies in it; both absolute, without links."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def state_dir_problem(state_dir: str) -> str | None:
    """Say why there can be no state in its folder for the time being; None if nothing is in the way."""
    there = os.path.realpath(state_dir)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        return f"the state folder {state_dir} can't be written: its file system is read-only"
    if not Reserve(there).is_enough():
        return f"the state folder {state_dir} can't be written: no space left on its disk"
    return None


def prepare_state_dir(state_dir: str, image_dir: str, *, fstab: str = _FSTAB) -> None:
    """Make the state folder where it isn't there, and see that it can be written to.

    Folders above it are made only inside the image folder, and nothing is made there unless that is in order: on the
    empty mount point of a card that is missing, state would be mistaken for the card's. Raises StateError.
    """
    state_dir = os.path.realpath(state_dir)
    inside = is_within(state_dir, os.path.realpath(image_dir))
    if inside and (problem := image_dir_problem(image_dir, fstab=fstab)) is not None:
        raise StateError(problem)
    try:
        _make(state_dir, with_parents=inside)
    except FileNotFoundError:
        raise StateError(f"the state folder {state_dir} can't be made: the folder above it isn't there") from None
    except OSError as error:
        raise StateError(f"the state folder {state_dir} can't be made: {_reason(error, state_dir)}") from error
    if not os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
        read_only = os.statvfs(state_dir).f_flag & os.ST_RDONLY
        why = "its file system is read-only" if read_only else "permission denied; try it with sudo"
        raise StateError(f"the state folder {state_dir} can't be written: {why}")


def _reason(error: OSError, folder: str) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"a file is in the way at {error.filename or folder}"
    return "permission denied; try it with sudo" if isinstance(error, PermissionError) else str(error.strerror)


def _make(folder: str, *, with_parents: bool) -> None:
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    if with_parents:
        _make(parent, with_parents=True)
    try:
        os.mkdir(folder)
    except FileExistsError:
        if os.path.isdir(folder):  # another process was faster
            return
        raise
    os.chmod(folder, 0o755)  # noqa: S103  # `status` is for everybody, whatever the umask is
    sync_folder(parent)
