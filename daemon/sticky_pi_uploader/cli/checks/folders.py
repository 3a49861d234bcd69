"""Check the image folder, the state folder and its outbox, the free space, and the kernel's limit of watches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from shlex import quote
from typing import Final

from sticky_pi_api.filesystem.mounts import file_system_type, is_within

from ...config import Config
from ...exceptions import OutboxDamagedError, StateError
from ...intake.scanner import Scanner
from ...outbox import OutboxReader, outbox_path
from ...ownership.viewpoint import Viewpoint
from ...state_dir.disk import (
    CAMERA_MINIMUM,
    LOW_PERCENT,
    NO_INODES,
    NO_SPACE,
    READ_ONLY,
    database_problem,
    disk_space,
    failed_disk,
    trial_problem,
)
from ...state_dir.mounts import image_dir_problem, missing_mount, nearest
from ...state_dir.privileges import denied
from ..output.formatting import inodes, pictures, size
from ..state_reader import consistently, open_state
from .finding import Finding, ok, problem, unknown, warning
from .places import FSCK, MOUNT_FOR_WRITING, RIGHTS, is_hidden, left_out, not_writable

_WATCHES: Final = "/proc/sys/fs/inotify/max_user_watches"
_ADVICE: Final = {
    NO_SPACE: "make room on that disk: remove files, or use a larger one",
    NO_INODES: "remove files from that disk: each takes an inode",
    READ_ONLY: MOUNT_FOR_WRITING,
}
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_REBUILT: Final = "nothing: the next start puts it aside, and makes a new one from the folder and the destination"


def image_folder(config: Config, view: Viewpoint) -> Iterator[Finding]:
    """Check that pictures can be read."""
    about, folder = "image folder", config.image_dir
    wrong = image_dir_problem(folder)
    if wrong is None and (failed := failed_disk(folder)) is not None:
        yield problem(about, failed, FSCK)
    elif wrong is None:
        yield ok(about, with_file_system(folder))
    elif (place := missing_mount(folder)) is not None:
        yield problem(about, wrong, f"put its card or disk in, then: sudo mount {quote(place)}")
    elif view.service is not None and is_hidden(view.service, os.path.realpath(folder)):
        yield left_out(about, folder, view) or problem(about, wrong)
    elif view.is_outsider and (os.path.isdir(folder) or not os.access(os.path.dirname(folder), os.X_OK)):
        yield unknown(about, f"{folder} can't be read by this user")
    elif os.path.isdir(folder):
        yield problem(about, wrong, f"let everybody read it: sudo chmod a+rx {quote(folder)}")
    else:
        yield problem(about, wrong, "mount its disk, or set image_dir to the folder with the pictures")


def state_folder(config: Config, view: Viewpoint) -> Iterator[Finding]:
    """Check that state can be written, and survives a reboot."""
    about, folder = "state folder", config.state_dir
    inside = is_within(os.path.realpath(folder), os.path.realpath(config.image_dir))
    there = nearest(folder)
    if inside and image_dir_problem(config.image_dir) is not None:
        return  # it is made once the image folder is there
    at_start = view.service is not None and there != folder  # root makes it then
    if not inside and there not in (folder, os.path.dirname(folder)):
        yield problem(about, f"{folder} can't be made, as {os.path.dirname(folder)} isn't there", "make it")
    elif (wrong := not_writable(about, folder, view, is_made_at_start=True)) is not None:
        yield wrong
    elif not at_start and (why := trial_problem(there)) is not None:
        yield problem(about, f"{folder} can't be written: {why}", _advice(why))
    elif not at_start and (why := database_problem(there, os.path.basename(outbox_path(there)))) is not None:
        yield problem(about, why, "set state_dir to a folder on another disk, best on the pictures' own")
    elif file_system_type(there) in _IN_MEMORY:
        advice = "set state_dir to a folder that survives a reboot, such as one on the pictures' disk"
        yield warning(about, f"{with_file_system(folder)}: in memory, so that all is forgotten at power-off", advice)
    else:
        later = "" if there == folder else "; it will be made" + " as the service starts" * at_start
        yield ok(about, with_file_system(folder) + later)


def outbox(config: Config, view: Viewpoint) -> Iterator[Finding]:
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
        if view.is_outsider:
            yield unknown(about, str(error))
        else:
            yield problem(about, str(error), f"give {view.whose} the right, or look after the disk")


def free_space(config: Config, _: Viewpoint) -> Iterator[Finding]:
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


def watching(config: Config, _: Viewpoint) -> Iterator[Finding]:
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


def with_file_system(folder: str) -> str:
    """Name a folder, and the type of the file system that it is on."""
    kind = file_system_type(nearest(folder))
    return f"{folder}, on {kind}" if kind else folder


def _advice(why: str) -> str:
    """Return the advice for the reason why a trial failed; a disk with room that can't be written is failing."""
    return RIGHTS if why == denied() else _ADVICE.get(why, FSCK)
