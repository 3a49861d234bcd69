"""Find the picture that a person means by a path or a name, or find out why it is no recorded picture."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from ....config import Config
from ....image_dir.pending_removal import STUCK, hidden, is_stuck, original
from ....models import Picture
from ....outbox import OutboxReader


def find(outbox: OutboxReader, image_dir: str, file: str) -> list[Picture]:
    """Find the pictures recorded for `file`: a path, relative to here or to the image folder, or a bare name.

    A recorded path is one picture. Otherwise all pictures of that name are found, whatever their folder, unless `file`
    is the path of an existing file: that one isn't recorded. A file whose removal is pending is found by the name that
    it had before.
    """
    file = name_before_removal(file)
    for path in _relative_paths(image_dir, file):
        if (picture := outbox.at(path)) is not None:
            return [picture]
    return [] if _is_existing_path(file) else outbox.named(os.path.basename(file))


def find_in_ruins(salvaged: Sequence[Picture], image_dir: str, file: str) -> list[Picture]:
    """Find as `find` does, among the pictures that could be read from a damaged outbox."""
    file = name_before_removal(file)
    paths, name = _relative_paths(image_dir, file), os.path.basename(file)
    namesakes = [picture for picture in salvaged if os.path.basename(picture.path) == name]
    exact = [picture for picture in namesakes if picture.path in paths]
    return exact[:1] or ([] if _is_existing_path(file) else namesakes)


def why_unknown(config: Config, file: str) -> str:
    """Return in one line why nothing is recorded of `file`."""
    image_dir = config.image_dir
    places = [os.path.abspath(file), os.path.join(image_dir, file)]
    place = next((place for place in places if os.path.lexists(place)), None)
    if place is None:
        return "nothing is known of it, and there is no such file"
    for folder in config.own_folders:
        if _below(folder, place) is not None:
            return f"it is in {folder}, which is the uploader's own"
    inside = _below(image_dir, place)
    if inside is None:
        return f"it isn't in the image folder {image_dir}, and only pictures in there are sent"
    before = name_before_removal(inside)
    if is_stuck(image_dir, before):
        return STUCK if before != inside else f"it hasn't been seen yet; {beside(inside)}"
    return _why_ignored(image_dir, inside) or "it hasn't been seen yet: the next scan takes it in"


def beside(path: str) -> str:
    """Return the name of the hidden file beside `path`, and why it is there."""
    return f"{hidden(os.path.basename(path))}: {STUCK}"


def name_before_removal(file: str) -> str:
    """Return the path that a file had before its removal began; the path itself for any other file."""
    folder, name = os.path.split(file)
    return os.path.join(folder, original(name) or name)


def _is_existing_path(file: str) -> bool:
    return os.sep in file and os.path.lexists(file)


def _relative_paths(image_dir: str, file: str) -> list[str]:
    real = os.path.join(os.path.realpath(os.path.dirname(file)), os.path.basename(file))
    found = [_below(image_dir, os.path.abspath(file)), _below(os.path.realpath(image_dir), real)]
    if not os.path.isabs(file):
        found.append(_below(image_dir, os.path.join(image_dir, file)))
    return [path for path in found if path is not None]


def _below(folder: str, path: str) -> str | None:
    """Return the path relative to the folder; None where it isn't in there."""
    relative = os.path.relpath(path, folder)
    return None if relative == os.curdir or relative.split(os.sep)[0] == os.pardir else relative


def _why_ignored(image_dir: str, path: str) -> str | None:
    parts = path.split(os.sep)
    if any(part.startswith(".") for part in parts):
        return "it is hidden, or in a hidden folder (a name that begins with a dot): those are ignored"
    for depth in range(1, len(parts) + 1):
        if os.path.islink(os.path.join(image_dir, *parts[:depth])):
            return f"{os.path.join(*parts[:depth])} is a symbolic link: those are never followed"
    if not stat.S_ISREG(os.lstat(os.path.join(image_dir, path)).st_mode):
        return "it isn't a regular file"
    return None if path.lower().endswith(".jpg") else "its name doesn't end in .jpg: everything else is ignored"
