"""`list`: print one line for each recorded picture."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any, Final

from sticky_pi_api.images.doubts import is_note

from ....clock import utc_text
from ....models import Hold, Picture, State
from ...output.formatting import add_json_flag, json_array
from ...output.terminal import print_lines, safe
from ...state_reader import config_as_owner, hold_in_force, open_state

_TIMES: Final = ("not_before", "uploaded_at", "removed_at", "dismissed_at")
_IN_JSON: Final = (
    *("path", "device", "datetime", "md5", "state", "attempts", "not_before", "reason", "receipt_md5"),
    *("uploaded_at", "removed_at", "dismissed_at", "suspect"),
)
"""The fields of a picture that JSON has, in this order"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add `--state` and `--json`."""
    states = ", ".join(State)
    parser.add_argument(
        "--state",
        type=_state,
        action="append",
        default=[],
        dest="states",
        metavar="STATE",
        help=f"only pictures in this state, one of {states}; may be given several times",
    )
    add_json_flag(parser)


def run(arguments: Namespace) -> int:
    """Print the pictures as they are read, however many there are."""
    config = config_as_owner(arguments)
    with open_state(config.state_dir) as state:
        pictures = state.pictures(arguments.states)
        if arguments.json:
            print_lines(json_array(picture_data(picture, config.image_dir) for picture in pictures))
        else:
            hold = hold_in_force(state, config)
            print_lines(list_line(picture, hold) for picture in pictures)
    return 0


def list_line(picture: Picture, hold: Hold | None = None) -> str:
    """Format a picture's state, the time when it was taken, its path in the image folder, and remarks."""
    parts = [f"{picture.state:<9} {picture.datetime or '-':<20}  {picture.path}"]
    if hold is not None and picture.waits_for_hold:
        parts.append(str(hold))
    if picture.reason:
        parts.append(picture.reason)
    if picture.suspect:
        parts.append(picture.suspect if is_note(picture.suspect) else f"suspect: {picture.suspect}")
    if picture.removed_at is not None:
        parts.append("removed from the card")
    if picture.dismissed_at is not None:
        parts.append("dismissed")
    return safe("  ".join(parts))


def picture_data(picture: Picture, image_dir: str) -> dict[str, Any]:
    """Return a picture's record for JSON, without metadata and history."""
    data = {name: getattr(picture, name) for name in _IN_JSON}
    times = {name: utc_text(data[name]) for name in _TIMES}
    return data | times | {"path": os.path.join(image_dir, picture.path), "state": picture.state.value}


def _state(name: str) -> State:
    from ...arguments import unknown

    try:
        return State(name)
    except ValueError:
        raise ArgumentTypeError(unknown("state", name, list(State))) from None
