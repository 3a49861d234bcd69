"""Finds the processes that hold the lock of a file, in the kernel's list of all locks, without touching the lock."""

from __future__ import annotations

import os
from typing import NamedTuple

_LOCKS = "/proc/locks"
_MOUNTS = "/proc/self/mountinfo"


class _Lock(NamedTuple):
    """One that is held: proc_locks(5)."""

    pid: int
    """0 or less for a process of another container"""
    device: str
    inode: str


def holders(descriptor: int, named: int | None) -> list[int] | None:
    """Name the processes that hold the lock of an open file; None where the kernel doesn't tell.

    `named` is the process that is said to hold it. It decides where the file itself shows another device than the list,
    as on btrfs, whose subvolumes use the same numbers of files, and on overlayfs.
    """
    status = os.fstat(descriptor)
    device = _device(descriptor)
    try:
        there = [lock for lock in _locks() if lock.device == device]
    except OSError:
        return None
    found = [lock.pid for lock in there if lock.inode == str(status.st_ino)]
    if device == _in_the_list(status.st_dev):
        return found
    if named is not None and named in [lock.pid for lock in there]:
        return [named]
    return None if found else []


def _locks() -> list[_Lock]:
    """List all locks of whole files. Raises OSError."""
    with open(_LOCKS, encoding="ascii") as file:
        lines = [line.split() for line in file]
    # A line with an arrow waits for the lock.
    locks = [(fields[4], *fields[5].rsplit(":", 1)) for fields in lines if fields[1] == "FLOCK"]
    return [_Lock(int(pid), device, inode) for pid, device, inode in locks]


def _device(descriptor: int) -> str:
    """Name the file system of an open file as the list does: on btrfs and overlayfs, not as the file itself does."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
            mount = next(line.split()[1] for line in file if line.startswith("mnt_id:"))
        with open(_MOUNTS, "rb") as mounts:
            numbers = next(fields[2] for fields in map(bytes.split, mounts) if fields[0] == mount.encode())
        major, minor = map(int, numbers.split(b":"))
    except (OSError, StopIteration):
        return _in_the_list(os.fstat(descriptor).st_dev)
    return _in_the_list(os.makedev(major, minor))


def _in_the_list(device: int) -> str:
    return f"{os.major(device):02x}:{os.minor(device):02x}"
