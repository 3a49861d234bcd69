"""Check that pictures can be read, and removed where that is wanted, and find lost ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from shlex import quote

from ...config import Config
from ...intake.scanner import Scanner
from ...ownership.run_as_service import LOST_FILES
from ...ownership.viewpoint import Viewpoint
from ...state_dir.mounts import image_dir_problem, lost_files
from ...wording import counted
from ..output.formatting import pictures
from .destination import shares_disk
from .finding import Finding, ok, problem, warning
from .places import left_out, may_write, on_read_only_disk, write_drop_in


def readable(config: Config, view: Viewpoint) -> Iterator[Finding]:
    """Check that every picture can be read."""
    about, (found, missed) = "pictures", _find(config)
    closed = sorted([*(path for path in found if not os.access(path, os.R_OK, effective_ids=True)), *missed])
    if closed:
        rest = f", and {len(closed) - 1:,} more" if closed[1:] else ""
        what = f"{closed[0]} can't be read by {view.whose}{rest}"
        yield problem(about, what, f"let everybody read it: sudo chmod -R a+rX {quote(os.path.commonpath(closed))}")
    elif found:
        yield ok(about, f"{pictures(len(found))} on the card, all readable")


def retention(config: Config, view: Viewpoint) -> Iterator[Finding]:
    """Report which pictures are removed from the trap, and check that they can be."""
    about, wanted, unit = "retention", config.retention, view.service
    if wanted.keep_days is None or shares_disk(config):  # the latter is said of the destination
        return
    folders = sorted({os.path.dirname(path) for path in _find(config)[0]} or {config.image_dir})
    closed = next((folder for folder in folders if os.path.isdir(folder) and not may_write(folder)), None)
    what = f"no picture can be removed: {closed} can't be written by {view.whose}"
    if closed is None:
        what = f"what was sent goes after {wanted.keep_days} days, or sooner with less than {wanted.min_free} free"
        yield ok(about, what)
    elif (wrong := left_out(about, closed, view) or on_read_only_disk(about, closed)) is not None:
        yield wrong
    elif unit is None:
        yield problem(about, what, "give this user the right, or take keep_days out of the configuration")
    else:
        right, given = "CAP_DAC_OVERRIDE", " ".join(unit.values("AmbientCapabilities")).split()
        lines, why = [f"AmbientCapabilities={right}", f"CapabilityBoundingSet={right}"], "is missing"
        if right in given:  # the right ends at the users that the sandbox knows
            lines, why = ["PrivateUsers=no"], "needs PrivateUsers=no for a folder of another user than root"
        what += f", as the drop-in retention.conf {why}"
        yield problem(about, what, write_drop_in(unit.name, "retention.conf", lines))


def lost_and_found(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Report the files that fsck put into `lost+found` of the image folder's disk: pictures may be among them.

    In most cases only root can see them, and hands on their number.
    """
    folder = os.path.join(config.image_dir, "lost+found")
    handed_on = environ.get(LOST_FILES, "")
    if count := lost_files(config.image_dir) or (int(handed_on) if handed_on.isdecimal() else 0):
        advice = "look at what it is; move pictures to the image folder under their names, and remove the rest"
        yield warning("lost+found", f"fsck put {counted(count, 'file')} into {folder}", advice)


def _find(config: Config) -> tuple[list[str], list[str]]:
    """Return the paths of all pictures, and of the files and folders that couldn't be read."""
    if image_dir_problem(config.image_dir) is not None:
        return [], []
    scanner = Scanner(config.image_dir, config.own_folders)
    found = [each.path for folder in scanner.folders() for each in scanner.candidates(folder) or ()]
    whole = [[os.path.join(config.image_dir, path) for path in paths] for paths in (found, scanner.missed)]
    return whole[0], whole[1]
