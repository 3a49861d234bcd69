"""Make the first lines of `status`: whether all is well, and which pictures or disks need attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ...models import SAYINGS, TO_LOOK_AT, DestinationState, State
from ...state_dir.disk import CAMERA_MINIMUM
from ...wording import counted
from ..output.formatting import pictures, size

_NAMED: Final = 5
"""Pictures that are named at most"""

_TROUBLE: Final = (DestinationState.UNAUTHORIZED, DestinationState.NOT_AN_API, DestinationState.REFUSING)


def verdict(status: Mapping[str, Any], suggest: Callable[[str], str]) -> Iterator[str]:
    """Yield the first line, and below it the pictures that need attention.

    `suggest` returns the command line for another command.
    """
    yield _trouble(status) or _progress(status)
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


def _trouble(status: Mapping[str, Any]) -> str | None:
    """Return what keeps pictures from being taken or sent; None where nothing does."""
    destination, to_send = status["destination"]["state"], f"{pictures(waiting(status['counts']))} to be sent"
    if (wrong := _camera_trouble(status)) is not None:
        return f"Attention: {wrong}"
    if (wrong := status["image_dir_problem"] or status["state_dir_problem"] or status["store_problem"]) is not None:
        return f"Attention: {wrong}; {to_send}."
    if troubles := status["trouble"]:
        return f"Attention: {troubles[0]['what']}; {to_send}."
    if destination in _TROUBLE:
        return f"Attention: the destination {SAYINGS[destination]}; {to_send}."
    if (left := _too_little(status["disk"])) is not None:
        return f"Attention: only {left} are free, less than min_free; {to_send}."
    return _to_look_at(status, to_send) or _delay(status, to_send)


def _camera_trouble(status: Mapping[str, Any]) -> str | None:
    """Return why the camera has no room for its pictures; None where it has."""
    free = status["disk"]["free_bytes"]
    if free is not None and free < CAMERA_MINIMUM and not status["image_dir_problem"]:
        return f"only {size(free)} are free. Below {size(CAMERA_MINIMUM)} the camera keeps no pictures."
    if status["disk"].get("free_inodes") == 0:
        return f"no further file can be made on the disk of {status['image_dir']}, as all of its inodes are used."
    return None


def _too_little(disk: Mapping[str, int | None]) -> str | None:
    """Return the free space or inodes, whichever is below `min_free`; None where neither is."""
    free, least = disk["free_bytes"], disk["least_free_bytes"]
    if free is not None and least is not None and free < least:
        return size(free)
    free, least = disk["free_inodes"], disk["least_free_inodes"]
    return f"{free:,} inodes" if free is not None and least is not None and free < least else None


def _to_look_at(status: Mapping[str, Any], to_send: str) -> str | None:
    """Return which pictures need attention, here or at the destination; None where there are none."""
    if look := {state: count for state, count in status["to_look_at"].items() if count}:
        total, kinds = sum(look.values()), ", ".join(f"{count:,} {state}" for state, count in look.items())
        need = counted(total, "picture needs a look", "pictures need a look")
        rest = to_send if waiting(status["counts"]) else "nothing else is left to send"
        return f"Attention: {need} ({kinds}); {rest}."
    if wrong := len(status["wrong_copies"]):
        return f"Attention: the destination's copy of {pictures(wrong)} is missing or another one; {to_send}."
    if left_over := len(status["left_over"]):
        stays = counted(left_over, "picture stays", "pictures stay")
        return f"Attention: {stays} hidden, as another file has its name; {to_send}."
    return None


def _delay(status: Mapping[str, Any], to_send: str) -> str | None:
    """Return why pictures wait although nothing is wrong here; None where they don't."""
    waits = waiting(status["counts"])
    if status["destination"]["state"] == DestinationState.UNREACHABLE:
        if not waits:
            return f"Waiting: the destination couldn't be reached when it was last tried; {to_send}."
        return f"Waiting: the destination can't be reached; {to_send} when it can."
    if waits and status["running"] is False:
        return f"Waiting: {to_send}, and nothing is at work that sends."
    return None


def _progress(status: Mapping[str, Any]) -> str:
    total, waits = sum(status["counts"].values()), waiting(status["counts"])
    if not total:
        return "Nothing yet: no picture has been taken in."
    if waits:
        return f"All is well: {waits:,} of {pictures(total)} still to be sent."
    if (sent := status["counts"][State.UPLOADED]) < total:
        return f"All is well: the destination has {sent:,} of {pictures(total)}; the others need no attention."
    return f"All is well: {pictures(total)}, and the destination has {'it' if total == 1 else 'every one'}."
