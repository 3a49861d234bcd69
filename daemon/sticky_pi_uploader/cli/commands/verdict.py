"""Make the first lines of `status`: whether all is well, and which pictures or disks need attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

from ...clock import unix_time
from ...models import SAYINGS, TO_LOOK_AT, DestinationState, State
from ...state_dir.disk import CAMERA_MINIMUM
from ...wording import counted, held
from ..output.formatting import pictures, size

_NAMED: Final = 5
"""Pictures that are named at most"""

_TROUBLE: Final = (DestinationState.UNAUTHORIZED, DestinationState.NOT_AN_API, DestinationState.REFUSING)


def verdict(status: Mapping[str, Any], suggest: Callable[[str], str]) -> Iterator[str]:
    """Yield the first line, and below it the pictures that need attention.

    `suggest` returns the command line for another command.
    """
    to_send = f"{pictures(waiting(status['counts']))} to be sent"
    yield next(chain(_trouble(status, to_send), _to_look_at(status, to_send)), None) or _progress(status)
    if wrong := [*status["wrong_copies"], *status["left_over"]]:
        yield from (f"  {each['path']}: {each['what']}" for each in wrong[:_NAMED])
        if (more := len(wrong) - _NAMED) > 0:
            yield f"  and {pictures(more)} more: `{suggest('status --json')}` names all"
    if look := [state for state in TO_LOOK_AT if status["to_look_at"][state]]:
        flags = " ".join(f"--state {state}" for state in look)
        yield f"`{suggest(f'list {flags}')}` says which and why; `{suggest('dismiss FILE')}` ends this."


def waiting(counts: Mapping[str, int]) -> int:
    """Return how many pictures are still to be sent."""
    return int(counts[State.PENDING] + counts[State.UPLOADING])


def hold_line(status: Mapping[str, Any]) -> str | None:
    """Return the line about the hold in force; None where there is none."""
    hold = status["held"]
    return hold and held(hold["reason"], hold["until"] and unix_time(hold["until"]))


def _trouble(status: Mapping[str, Any], to_send: str) -> Iterator[str]:
    """Yield what keeps pictures from being taken or sent, the most urgent first."""
    disk, destination = status["disk"], status["destination"]["state"]
    free, free_inodes = disk["free_bytes"], disk.get("free_inodes")
    if free is not None and free < CAMERA_MINIMUM and not status["image_dir_problem"]:
        below = f"Below {size(CAMERA_MINIMUM)} the camera keeps no pictures."
        yield f"Attention: only {size(free)} are free. {below}"
    if free_inodes == 0:
        made = f"no further file can be made on the disk of {status['image_dir']}"
        yield f"Attention: {made}, as all of its inodes are used."
    problems = (status[f"{place}_problem"] for place in ("image_dir", "state_dir", "store"))
    for wrong in (*filter(None, problems), *(each["what"] for each in status["trouble"])):
        yield f"Attention: {wrong}; {to_send}."
    if destination in _TROUBLE:
        yield f"Attention: the destination {SAYINGS[destination]}; {to_send}."
    if (least := disk["least_free_bytes"]) is not None and free is not None and free < least:
        yield f"Attention: only {size(free)} are free, less than min_free; {to_send}."
    if (least := disk["least_free_inodes"]) is not None and free_inodes is not None and free_inodes < least:
        yield f"Attention: only {free_inodes:,} inodes are free, less than min_free; {to_send}."


def _to_look_at(status: Mapping[str, Any], to_send: str) -> Iterator[str]:
    """Yield which pictures need attention, here or at the destination, then why others wait."""
    destination, waits = status["destination"]["state"], waiting(status["counts"])
    if look := {state: count for state, count in status["to_look_at"].items() if count}:
        need = counted(sum(look.values()), "picture needs a look", "pictures need a look")
        kinds = ", ".join(f"{count:,} {state}" for state, count in look.items())
        yield f"Attention: {need} ({kinds}); {to_send if waits else 'nothing else is left to send'}."
    if wrong := len(status["wrong_copies"]):
        yield f"Attention: the destination's copy of {pictures(wrong)} is missing or another one; {to_send}."
    if left_over := len(status["left_over"]):
        stays = counted(left_over, "picture stays", "pictures stay")
        yield f"Attention: {stays} hidden, as another file has its name; {to_send}."
    if waits and (hold := hold_line(status)) is not None:
        yield f"{hold[0].upper()}{hold[1:]}; {to_send}."
    if destination == DestinationState.UNREACHABLE and waits:
        yield f"Waiting: the destination can't be reached; {to_send} when it can."
    elif destination == DestinationState.UNREACHABLE:
        yield f"Waiting: the destination couldn't be reached when it was last tried; {to_send}."
    if waits and status["running"] is False:
        yield f"Waiting: {to_send}, and nothing is at work that sends."


def _progress(status: Mapping[str, Any]) -> str:
    total, waits = sum(status["counts"].values()), waiting(status["counts"])
    if not total:
        return "Nothing yet: no picture has been taken in."
    if waits:
        return f"All is well: {waits:,} of {pictures(total)} still to be sent."
    if (sent := status["counts"][State.UPLOADED]) < total:
        return f"All is well: the destination has {sent:,} of {pictures(total)}; the others need no attention."
    return f"All is well: {pictures(total)}, and the destination has {'it' if total == 1 else 'every one'}."
