"""Read the kernel's table of mounts: the type of a path's file system, and whether it is a network's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

MOUNTINFO: Final = "/proc/self/mountinfo"

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


def network_file_system(path: str, mountinfo: str = MOUNTINFO) -> str | None:
    """Return the type of the file system of `path` where the kernel doesn't hear of all changes in it, else None."""
    found = file_system_type(path, mountinfo)
    if found in _NETWORK or (found.startswith("fuse.") and found not in _LOCAL_FUSE):
        return found
    return None


def file_system_type(path: str, mountinfo: str = MOUNTINFO) -> str:
    """Return the type of the file system of `path`, such as ext4; "" where the kernel doesn't tell."""
    found = mount_of(path, mountinfo)
    return found.kind if found else ""


class Mount(NamedTuple):
    """One file system, where it is mounted."""

    folder: str
    kind: str
    """its type, such as ext4"""
    options: frozenset[str]
    """of the file system, not of this mount alone"""
    is_bound_to_itself: bool = False
    """whether it shows, at a place, but what lies there anyway: so systemd makes a folder writable in a sandbox"""


def mount_of(path: str, mountinfo: str = MOUNTINFO) -> Mount | None:
    """Return the mount that `path` lies on; None where the kernel doesn't tell."""
    real, found = os.path.realpath(path), None
    for mount in mounts(mountinfo):
        # Of two at one place, the later one hides the earlier.
        if is_within(real, mount.folder) and (found is None or len(mount.folder) >= len(found.folder)):
            found = mount
    return found


def mounts(mountinfo: str = MOUNTINFO) -> Iterator[Mount]:
    """Yield everything that is mounted, in the order in which it was (proc(5))."""
    # A number of optional fields ends with a dash.
    table = [fields for fields in fields_of(mountinfo) if len(fields) > 6 and "-" in fields[6:-1]]  # noqa: PLR2004
    by_id = {fields[0]: fields for fields in table}
    for fields in table:
        _, above, device, root, folder, *_ = fields
        kind, *rest = fields[fields.index("-", 6) + 1 :]
        parent = by_id.get(above, fields)
        here = os.path.normpath(os.path.join(parent[3], os.path.relpath(folder, parent[4])))
        is_bound = parent is not fields and parent[2] == device and here == root
        yield Mount(folder, kind, frozenset(rest[-1].split(",") if rest else ()), is_bound)


def fields_of(table: str) -> Iterator[list[str]]:
    """Yield the fields of each line; nothing where the table can't be read."""
    try:
        with open(table, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if b"\\" in line:
            fields = [re.sub(rb"\\([0-7]{3})", _octal, field) for field in fields]
        yield list(map(os.fsdecode, fields))


def _octal(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8) & 0xFF])


def is_within(path: str, folder: str) -> bool:
    """Return whether `path` is the folder or lies in it; both absolute, without links."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
