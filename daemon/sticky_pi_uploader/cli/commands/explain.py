"""The whole story of one picture: finds it by whatever name people give it, or says why it is no picture at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from typing import Any

from ...exceptions import OutboxDamagedError
from ...intake.stranded_files import WHY, is_left_over
from ...models import Destination, Event, Picture, State
from ...outbox import OutboxReader
from ...service.summary import SAYINGS
from ...state_dir.pending_removal import hidden, original
from ..reports import Warn, ask, calmly, finite, picture_data, utc, warn_of_damage


def find(reader: OutboxReader, image_dir: str, file: str) -> list[Picture]:
    """Find what is recorded of `file`: any path of it, relative to here or to the image dir, or its bare name.

    A path that is recorded is one picture. Otherwise all with that name, whatever folder they are in, unless `file`
    is the path of a file that is there: then it is that one, which isn't recorded. One on its way out is looked for by
    the name that it had.
    """
    file = _before(file)
    for path in _relative_paths(image_dir, file):
        if (picture := reader.at(path)) is not None:
            return [picture]
    return [] if _is_path_of_something(file) else reader.named(os.path.basename(file))


def stories(reader: OutboxReader, image_dir: str, file: str, warn: Warn, *, url: str) -> list[dict[str, Any]]:
    """Tell all that is known of the pictures that `find` finds, as data; in a damaged outbox, what can be read.

    Those that are still to be sent wait for the destination at `url` where that is in trouble.
    """
    try:
        found = calmly(reader, lambda reader: find(reader, image_dir, file))
    except OutboxDamagedError as error:
        warn_of_damage(warn, error)
        found = _find_in_ruins(reader, image_dir, file)
    destination = ask(reader, lambda reader: reader.destination(url), warn, Destination(url))
    return [_story(reader, picture, image_dir, warn, destination) for picture in found]


def last_changed(stories: Collection[dict[str, Any]]) -> dict[str, Any]:
    """Choose the story that something was last added to."""
    return max(stories, key=lambda story: max((event["at"] or "" for event in story["history"]), default=""))


def why_unknown(image_dir: str, file: str, own: Collection[str]) -> str:
    """Say in one line why nothing is recorded of `file`; `own` are the folders that the uploader itself writes to."""
    places = [os.path.abspath(file), os.path.join(image_dir, file)]
    place = next((place for place in places if os.path.lexists(place)), None)
    if place is None:
        return "nothing is known of it, and there is no such file"
    for folder in own:
        if _below(folder, place) is not None:
            return f"it is in {folder}, which is the uploader's own"
    inside = _below(image_dir, place)
    if inside is None:
        return f"it isn't in the image folder {image_dir}, and only pictures in there are sent"
    if is_left_over(image_dir, _before(inside)):
        return WHY if _before(inside) != inside else f"it hasn't been seen yet; {_beside(inside)}"
    return _why_ignored(image_dir, inside) or "it hasn't been seen yet: the next scan takes it in"


def _story(
    reader: OutboxReader, picture: Picture, image_dir: str, warn: Warn, destination: Destination
) -> dict[str, Any]:
    metadata = picture.metadata if isinstance(picture.metadata, Mapping) else None
    history = ask(reader, lambda reader: reader.history(picture), warn, list[Event]())
    return {
        **picture_data(picture, image_dir),
        "left_over": _beside(picture.path) if is_left_over(image_dir, picture.path) else None,
        "waits_for": _waits_for(picture, destination),
        "clock_synchronised": picture.clock_synchronised,
        "metadata": None if metadata is None else {name: finite(value) for name, value in metadata.items()},
        "history": [{"at": utc(event.at), "state": event.state.value, "why": event.why} for event in history],
    }


def _waits_for(picture: Picture, destination: Destination) -> str | None:
    if picture.state not in (State.PENDING, State.UPLOADING) or destination.reason is None:
        return None
    return f"the destination {SAYINGS[destination.state]}: {destination.reason}"


def _before(file: str) -> str:
    """Give the path that a file had before it was on its way out; of any other, its own."""
    folder, name = os.path.split(file)
    return os.path.join(folder, original(name) or name)


def _beside(path: str) -> str:
    return f"{hidden(os.path.basename(path))}: {WHY}"


def _find_in_ruins(reader: OutboxReader, image_dir: str, file: str) -> list[Picture]:
    file = _before(file)
    paths, name = _relative_paths(image_dir, file), os.path.basename(file)
    namesakes = [picture for picture in reader.salvage() if os.path.basename(picture.path) == name]
    exact = [picture for picture in namesakes if picture.path in paths]
    return exact[:1] or ([] if _is_path_of_something(file) else namesakes)


def _is_path_of_something(file: str) -> bool:
    return os.sep in file and os.path.lexists(file)


def _relative_paths(image_dir: str, file: str) -> list[str]:
    real = os.path.join(os.path.realpath(os.path.dirname(file)), os.path.basename(file))
    found = [_below(image_dir, os.path.abspath(file)), _below(os.path.realpath(image_dir), real)]
    if not os.path.isabs(file):
        found.append(_below(image_dir, os.path.join(image_dir, file)))
    return [path for path in found if path is not None]


def _below(folder: str, path: str) -> str | None:
    """Give the path relative to the folder; None where it isn't in there."""
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
