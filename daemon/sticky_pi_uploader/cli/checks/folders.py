"""Check the image folder, the state folder and its outbox, the free space, and the kernel's limit of watches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from sticky_pi_api.filesystem.mounts import file_system_type, is_within

from ...config import Config
from ...exceptions import OutboxDamagedError, StateError
from ...intake.scanner import Scanner
from ...outbox import OutboxReader, outbox_path
from ...state_dir.disk import (
    CAMERA_MINIMUM,
    LOW_PERCENT,
    NO_INODES,
    NO_SPACE,
    READ_ONLY,
    database_problem,
    disk_space,
    failed_disk,
    has_failed,
    is_read_only,
    trial_problem,
)
from ...state_dir.mounts import image_dir_problem, nearest
from ...state_dir.privileges import denied
from ..formatting import inodes, pictures, size
from ..state_reader import consistently, open_state
from .finding import Finding, ok, problem, warning

_WATCHES: Final = "/proc/sys/fs/inotify/max_user_watches"
_RIGHTS: Final = "give this user the right (or is sudo missing?), or name another folder"
_FSCK: Final = "see `sudo dmesg` for what the kernel met; unmount the disk, check it with fsck, and mount it again"
_ADVICE: Final = {
    NO_SPACE: "make room on that disk: remove files, or use a larger one",
    NO_INODES: "remove files from that disk: each takes an inode",
    READ_ONLY: "mount it for writing, or name another folder",
}
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_REBUILT: Final = "nothing: the next start puts it aside, and makes a new one from the folder and the destination"


def image_folder(config: Config) -> Iterator[Finding]:
    """Check that pictures can be read."""
    about, wrong = "image folder", image_dir_problem(config.image_dir)
    if wrong is not None:
        yield problem(about, wrong, "mount its disk, or set image_dir to the folder with the pictures")
    elif (wrong := failed_disk(config.image_dir)) is not None:
        yield problem(about, wrong, _FSCK)
    else:
        yield ok(about, with_file_system(config.image_dir))


def state_folder(config: Config) -> Iterator[Finding]:
    """Check that state can be written, and survives a reboot."""
    about, folder = "state folder", config.state_dir
    inside = is_within(os.path.realpath(folder), os.path.realpath(config.image_dir))
    there = nearest(folder)
    if inside and image_dir_problem(config.image_dir) is not None:
        return  # it is made once the image folder is there
    if (wrong := not_writable(about, there)) is not None:
        yield wrong
    elif (why := trial_problem(there)) is not None:
        yield problem(about, f"{folder} can't be written: {why}", _advice(why))
    elif (why := database_problem(there, os.path.basename(outbox_path(there)))) is not None:
        yield problem(about, why, "set state_dir to a folder on another disk, best on the pictures' own")
    elif not inside and there not in (folder, os.path.dirname(folder)):
        yield problem(about, f"{folder} can't be made, as {os.path.dirname(folder)} isn't there", "make it")
    elif file_system_type(there) in _IN_MEMORY:
        advice = "set state_dir to a folder that survives a reboot, such as one on the pictures' disk"
        yield warning(about, f"{with_file_system(folder)}: in memory, so that all is forgotten at power-off", advice)
    else:
        yield ok(about, with_file_system(folder) + ("" if there == folder else "; it will be made"))


def outbox(config: Config) -> Iterator[Finding]:
    """Check that the outbox can be read."""
    about, damage = "outbox", list[str]()
    try:
        with open_state(config.state_dir, damage.append, silent_if_missing=True) as state:
            if damage:
                yield warning(about, damage[0], _REBUILT)
            elif state.outbox is None:
                yield ok(about, "nothing is recorded yet")
            else:
                yield ok(about, f"{pictures(sum(consistently(state.outbox, OutboxReader.counts).values()))} recorded")
    except OutboxDamagedError as error:
        yield warning(about, str(error), _REBUILT)
    except StateError as error:
        yield problem(about, str(error), "give this user the right, or look after the disk")


def free_space(config: Config) -> Iterator[Finding]:
    """Check that the camera has room for pictures."""
    about = "free space"
    found = disk_space(config.image_dir)
    if found is None or not found.total:
        return
    free, total = found.free, found.total
    what = f"{size(free)} of {size(total)}"
    if found.inodes and found.free_inodes is not None and found.free_inodes * 100 < found.inodes * LOW_PERCENT:
        few, advice = inodes(found.free_inodes, found.inodes), "remove files: without an inode no file can be made"
        yield warning(about, few, advice) if found.free_inodes else problem(about, few, advice)
    if free < CAMERA_MINIMUM:
        advice = "make room now: below that, the camera program keeps no pictures"
        yield problem(about, f"{what}: less than {size(CAMERA_MINIMUM)}", advice)
    elif free * 100 < total * LOW_PERCENT:
        advice = "make room: below 10 % the stock firmware may delete pictures that nobody has yet"
        yield warning(about, f"{what}: less than {LOW_PERCENT} %", advice)
    else:
        yield ok(about, what)


def watching(config: Config) -> Iterator[Finding]:
    """Check that the kernel can watch every folder."""
    about = "watching"
    if not os.path.isdir(config.image_dir):
        return
    try:
        with open(_WATCHES, encoding="ascii") as file:
            most = int(file.read())
        folders = len(Scanner(config.image_dir, [config.state_dir]).folders())
    except (OSError, ValueError):
        return
    if most < folders:
        what = f"{folders} folders, but the kernel watches {most} at most: new pictures are found by scans only"
        yield warning(about, what, f"sudo sysctl fs.inotify.max_user_watches={folders * 2}")
    else:
        yield ok(about, f"{folders} of the {most} folders that the kernel can watch")


def not_writable(about: str, folder: str) -> Finding | None:
    """Return a problem where this user can't write in a folder, None where that may work."""
    if not os.path.isdir(folder):
        return problem(about, f"{folder} isn't a folder", _RIGHTS)
    try:
        read_only = is_read_only(folder)
    except OSError as error:  # it is gone since a moment
        return problem(about, f"{folder} can't be looked at: {error.strerror}", _RIGHTS)
    if read_only:
        advice = _FSCK if has_failed(folder) else _ADVICE[READ_ONLY]
        return problem(about, f"{folder} is on a file system that is read-only", advice)
    if not os.access(folder, os.W_OK | os.X_OK):
        return problem(about, f"{folder} can't be written by this user", _RIGHTS)
    return None


def with_file_system(folder: str) -> str:
    """Name a folder, and the type of the file system that it is on."""
    kind = file_system_type(nearest(folder))
    return f"{folder}, on {kind}" if kind else folder


def _advice(why: str) -> str:
    """Return the advice for the reason why a trial failed; a disk with room that can't be written is failing."""
    return _RIGHTS if why == denied() else _ADVICE.get(why, _FSCK)
