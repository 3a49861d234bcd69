"""`explain`: tell the whole story of one picture, or say why nothing is recorded of a file."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from sticky_pi_api.images.doubts import NOTE, is_note

from ....clock import utc_text
from ....config import Config
from ....exceptions import OutboxDamagedError
from ....image_dir.pending_removal import is_stuck
from ....models import SAYINGS, Destination, Event, Hold, Picture, State
from ...output.formatting import add_json_flag, day_and_time, rows, to_json
from ...output.terminal import complain, print_lines, safe
from ...state_reader import StateReader, config_as_owner, consistently, hold_in_force, open_state
from .find_picture import beside, find, find_in_ruins, why_unknown
from .list import picture_data

_CLOCKS: Final = {True: "synchronised with a time server", False: "not synchronised with a time server", None: None}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the file and `--json`."""
    parser.add_argument("file", metavar="FILE", help="the picture: any path to it, or its name")
    add_json_flag(parser)


def run(arguments: Namespace) -> int:
    """Print the stories of the pictures that are meant; in JSON, only the one that changed last."""
    config = config_as_owner(arguments)
    with open_state(config.state_dir) as state:
        found = stories(state, config, arguments.file)
    if arguments.json:
        print_lines([to_json(last_changed(found) if found else None)])
    else:
        print_lines(_screens(found))
    if found or state.outbox is None or state.warnings:
        return 0
    complain(f"{arguments.file}: {why_unknown(config, arguments.file)}")
    return 1


def stories(state: StateReader, config: Config, file: str) -> list[dict[str, Any]]:
    """Return all that is known of the pictures meant by `file`; in a damaged outbox, all that can be read."""
    image_dir, url = config.image_dir, config.api.url
    if state.outbox is None:
        return []
    try:
        found = consistently(state.outbox, lambda outbox: find(outbox, image_dir, file))
    except OutboxDamagedError as error:
        state.warn_of_damage(error)
        found = find_in_ruins(list(state.salvage()), image_dir, file)
    destination = state.ask(lambda outbox: outbox.destination(url), Destination(url))
    hold = hold_in_force(state, config)
    return [_story(state, picture, image_dir, _waits_for(picture, destination, hold)) for picture in found]


def last_changed(stories: Collection[dict[str, Any]]) -> dict[str, Any]:
    """Return the story with the newest event."""
    return max(stories, key=lambda story: max((event["at"] or "" for event in story["history"]), default=""))


def _story(state: StateReader, picture: Picture, image_dir: str, waits_for: str | None) -> dict[str, Any]:
    metadata = picture.metadata if isinstance(picture.metadata, Mapping) else None
    history = state.ask(lambda outbox: outbox.history(picture), list[Event]())
    return {
        **picture_data(picture, image_dir),
        "left_over": beside(picture.path) if is_stuck(image_dir, picture.path) else None,
        "waits_for": waits_for,
        "clock_synchronised": picture.clock_synchronised,
        "metadata": None if metadata is None else {name: _finite(value) for name, value in metadata.items()},
        "history": [{"at": utc_text(event.at), "state": event.state.value, "why": event.why} for event in history],
    }


def _finite(value: Any) -> Any:
    """Return a value that JSON can hold: infinity and NaN, which a damaged header may claim, become None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _waits_for(picture: Picture, destination: Destination, hold: Hold | None) -> str | None:
    if picture.state not in (State.PENDING, State.UPLOADING):
        return None
    if hold is not None and picture.waits_for_hold:
        return str(hold)
    return destination.reason and f"the destination {SAYINGS[destination.state]}: {destination.reason}"


def _screens(stories: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for number, story in enumerate(stories):
        if number:
            yield ""
        yield from _screen(story)


def _screen(story: Mapping[str, Any]) -> Iterator[str]:
    yield safe(f"{story['path']}: {story['state']}")
    yield ""
    yield from rows(
        [
            ("Why", story["reason"]),
            ("Beside it", story["left_over"]),
            ("Waits for", story["waits_for"]),
            _doubts(story["suspect"]),
            ("Device", story["device"]),
            ("Taken", day_and_time(story["datetime"])),
            ("Clock then", _CLOCKS[story["clock_synchronised"]]),
            ("md5", story["md5"]),
            ("Receipt", story["receipt_md5"]),
            ("Sent", day_and_time(story["uploaded_at"])),
            ("Removed here", day_and_time(story["removed_at"])),
            ("Dismissed", day_and_time(story["dismissed_at"])),
            ("Refused", f"{story['attempts']} times" if story["attempts"] else None),
            ("Not before", day_and_time(story["not_before"])),
        ]
    )
    if story["metadata"]:
        yield "\n  Metadata"
        yield from rows(
            [(name, "-" if value is None else str(value)) for name, value in story["metadata"].items()], indent=4
        )
    if story["history"]:
        yield "\n  What happened"
    for event in story["history"]:
        yield safe(f"    {day_and_time(event['at']) or 'at no known time'}  {event['state']:<9}  {event['why']}")


def _doubts(suspect: str | None) -> tuple[str, str | None]:
    return ("Note", suspect.removeprefix(NOTE)) if suspect and is_note(suspect) else ("Suspect", suspect)
