"""Renders reports: for people as aligned text, for programs as JSON. Everything comes as strings, nothing prints."""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sticky_pi_api.images.doubts import NOTE, is_note

from ..models import DestinationState, Picture, State
from ..service.summary import SAYINGS, TO_LOOK_AT
from .terminal import safe

FULL = 50_000_000
"""Bytes: with less free space the camera program writes to /tmp, and its pictures are gone at power-off."""

LOW = 15
"""Per cent of a disk; the stock firmware deletes the oldest pictures itself below 10."""

_SHOWN = 5
"""Pictures that `status` names"""

_TROUBLE = (DestinationState.UNAUTHORIZED, DestinationState.NOT_AN_API, DestinationState.REFUSING)
_CLOCKS = {True: "synchronised with a time server", False: "not synchronised with a time server", None: None}
_SPANS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def to_json(value: Any, *, indent: int | None = 2) -> str:
    r"""Write JSON in printable ASCII; bytes that aren't UTF-8 come as Python holds them, as \udc80 to \udcff."""
    return json.dumps(value, indent=indent, allow_nan=False)


def json_array(values: Iterable[Any]) -> Iterator[str]:
    """Yield the lines of a JSON array, one for each element, so that it needn't be held whole."""
    yield "["
    line = None
    for value in values:
        if line is not None:
            yield line + ","
        line = "  " + to_json(value, indent=None)
    if line is not None:
        yield line
    yield "]"


def list_line(picture: Picture) -> str:
    """Tell of one picture: its state, when it was taken, its path in the image folder, and what there is to say."""
    parts = [f"{picture.state:<9} {picture.datetime or '-':<20}  {picture.path}"]
    if picture.reason:
        parts.append(picture.reason)
    if picture.suspect:
        parts.append(picture.suspect if is_note(picture.suspect) else f"suspect: {picture.suspect}")
    if picture.removed_at is not None:
        parts.append("removed from the card")
    return safe("  ".join(parts))


def status_screen(status: Mapping[str, Any], now: float) -> Iterator[str]:
    """Yield the lines of `status`: the first says whether all is well, and the others what there is to know.

    `now` is a Unix time.
    """
    yield from map(safe, _verdict(status))
    yield ""
    yield from _rows(
        [
            ("Pictures", _counts(status["counts"])),
            ("Oldest to send", _day_and_time(status["oldest_pending"])),
            ("Last upload", _when(status["last_upload"], now)),
            ("Destination", status["destination"]["url"]),
            *(("", line) for line in _destination(status["destination"], now)),
            ("Free space", _space(status["disk"])),
            ("Free inodes", _inodes(status["disk"])),
            ("Image folder", status["image_dir"]),
            ("State folder", status["state_dir"]),
            ("Configuration", status["config_file"] or "no file: flags, environment and defaults"),
            ("Uploader", {True: "at work", False: "not running just now", None: None}[status["running"]]),
        ]
    )


def story_screens(stories: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of `explain`."""
    for number, story in enumerate(stories):
        if number:
            yield ""
        yield from _story_screen(story)


def _doubts(suspect: str | None) -> tuple[str, str | None]:
    return ("Note", suspect.removeprefix(NOTE)) if suspect and is_note(suspect) else ("Suspect", suspect)


def _story_screen(story: Mapping[str, Any]) -> Iterator[str]:
    yield safe(f"{story['path']}: {story['state']}")
    yield ""
    yield from _rows(
        [
            ("Why", story["reason"]),
            ("Beside it", story["left_over"]),
            ("Waits for", story["waits_for"]),
            _doubts(story["suspect"]),
            ("Device", story["device"]),
            ("Taken", _day_and_time(story["datetime"])),
            ("Clock then", _CLOCKS[story["clock_synchronised"]]),
            ("md5", story["md5"]),
            ("Receipt", story["receipt_md5"]),
            ("Sent", _day_and_time(story["uploaded_at"])),
            ("Removed here", _day_and_time(story["removed_at"])),
            ("Refused", f"{story['attempts']} times" if story["attempts"] else None),
            ("Not before", _day_and_time(story["not_before"])),
        ]
    )
    if story["metadata"]:
        yield "\n  Metadata"
        yield from _rows(
            [(name, "-" if value is None else str(value)) for name, value in story["metadata"].items()], indent=4
        )
    if story["history"]:
        yield "\n  What happened"
    for event in story["history"]:
        yield safe(f"    {_day_and_time(event['at']) or 'at no known time'}  {event['state']:<9}  {event['why']}")


def audit_screen(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of `audit`: the first says whether all adds up."""
    counts, problems = report["counts"], report["problems"]
    total = pictures(sum(counts[state.value] for state in State))
    if report["adds_up"]:
        yield f"All adds up: {total} accounted for."
    else:
        what = "1 thing doesn't" if len(problems) == 1 else f"{len(problems):,} things don't"
        yield f"Attention: {what} add up; {total} recorded."
    yield ""
    verified = report["verified"]
    yield from _rows(
        [
            ("On the card", f"{counts['on_card']:,}"),
            ("Uploaded", f"{counts[State.UPLOADED]:,}"),
            ("  gone from here", f"{counts['removed']:,} removed, {counts['gone_after_upload']:,} by others"),
            ("To be sent", f"{_waiting(report):,}"),
            ("In conflict", f"{counts[State.CONFLICT]:,}"),
            ("Rejected", f"{counts[State.REJECTED]:,}"),
            ("Lost", f"{counts[State.LOST]:,}"),
            (
                "Asked for",
                None if verified is None else ", ".join(f"{n:,} {kind}" for kind, n in verified.items()) or "none",
            ),
            ("Read again", None if report["read"] is None else f"{report['read']:,}"),
        ]
    )
    if problems:
        yield ""
        yield "  What doesn't add up"
        yield from (safe(f"    {each['path']}: {each['what']}") for each in problems)
    for camera in report["cameras"]:
        yield from _camera(camera)


def _camera(camera: Mapping[str, Any]) -> Iterator[str]:
    every = f", one every {round(camera['interval'] / 60, 1):g} minutes" if camera["interval"] else ""
    yield ""
    last = _day_and_time(camera["last"])
    yield f"  Camera {camera['device']}: {pictures(camera['pictures'])}{every}, the last {last}"
    for gap in camera["gaps"]:
        until = f"to {_day_and_time(gap['to'])}" if gap["to"] else "until now"
        yield f"    none from {_day_and_time(gap['from'])} {until}: about {gap['missing']:,} missing"


def size(count: int) -> str:
    """Write a number of bytes for people: 50 MB, 12.1 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"  # noqa: PLR2004 - a GB


def few_inodes(free: int, total: int) -> str:
    """Tell of inodes for people who may never have heard of them."""
    return f"{free:,} of {total:,} inodes ({free * 100 // total} %): each file takes one"


def pictures(count: int) -> str:
    """Write a number of pictures for people."""
    return "1 picture" if count == 1 else f"{count:,} pictures" if count else "no picture"


def _verdict(status: Mapping[str, Any]) -> Iterator[str]:
    yield _trouble(status) or _progress(status)
    if wrong := [*status["wrong_copies"], *status["left_over"]]:
        yield from (f"  {each['path']}: {each['what']}" for each in wrong[:_SHOWN])
        if more := len(wrong) - _SHOWN:
            yield from [f"  and {pictures(more)} more: `status --json` names all"] if more > 0 else []
    if look := [state for state in TO_LOOK_AT if status["counts"][state]]:
        flags = " ".join(f"--state {state}" for state in look)
        yield f"`sticky-pi-uploader list {flags}` says which and why."


def _trouble(status: Mapping[str, Any]) -> str | None:
    """Say what keeps pictures from being taken or sent; None where nothing does."""
    destination, to_send = status["destination"]["state"], f"{pictures(_waiting(status))} to be sent"
    if (wrong := _camera_trouble(status)) is not None:
        return f"Attention: {wrong}"
    if (wrong := status["image_dir_problem"] or status["state_dir_problem"] or status["store_problem"]) is not None:
        return f"Attention: {wrong}; {to_send}."
    if destination in _TROUBLE:
        return f"Attention: the destination {SAYINGS[destination]}; {to_send}."
    if (left := _too_little(status["disk"])) is not None:
        return f"Attention: only {left} are free, less than min_free; {to_send}."
    return _to_look_at(status, to_send) or _delay(status, to_send)


def _to_look_at(status: Mapping[str, Any], to_send: str) -> str | None:
    """Say which pictures somebody should see to, here or at the destination; None where there are none."""
    if look := {state: status["counts"][state] for state in TO_LOOK_AT if status["counts"][state]}:
        kinds = ", ".join(f"{count:,} {state}" for state, count in look.items())
        rest = to_send if _waiting(status) else "nothing else is left to send"
        return f"Attention: {_need_a_look(sum(look.values()))} ({kinds}); {rest}."
    if wrong := len(status["wrong_copies"]):
        return f"Attention: the destination's copy of {pictures(wrong)} is missing or another one; {to_send}."
    if left_over := len(status["left_over"]):
        stays = "1 picture stays" if left_over == 1 else f"{pictures(left_over)} stay"
        return f"Attention: {stays} hidden, as another file has its name; {to_send}."
    return None


def _camera_trouble(status: Mapping[str, Any]) -> str | None:
    """Say that the camera can't put its pictures on the disk for want of room; None where it can."""
    free = status["disk"]["free_bytes"]
    if free is not None and free < FULL and not status["image_dir_problem"]:
        return f"only {size(free)} are free. Below {size(FULL)} the camera keeps no pictures."
    if status["disk"].get("free_inodes") == 0:
        return f"no further file can be made on the disk of {status['image_dir']}, as all of its inodes are used."
    return None


def _too_little(disk: Mapping[str, int | None]) -> str | None:
    """Say how much is free of what there is less of than `min_free`; None where there is enough."""
    free, least = disk["free_bytes"], disk["least_free_bytes"]
    if free is not None and least is not None and free < least:
        return size(free)
    free, least = disk["free_inodes"], disk["least_free_inodes"]
    return f"{free:,} inodes" if free is not None and least is not None and free < least else None


def _delay(status: Mapping[str, Any], to_send: str) -> str | None:
    if status["destination"]["state"] == DestinationState.UNREACHABLE:
        if not _waiting(status):
            return f"Waiting: the destination couldn't be reached when it was last tried; {to_send}."
        return f"Waiting: the destination can't be reached; {to_send} when it can."
    if _waiting(status) and status["running"] is False:
        return f"Waiting: {to_send}, and nothing is at work that sends."
    return None


def _progress(status: Mapping[str, Any]) -> str:
    total, waiting = sum(status["counts"].values()), _waiting(status)
    if not total:
        return "Nothing yet: no picture has been taken in."
    if waiting:
        return f"All is well: {waiting:,} of {pictures(total)} still to be sent."
    return f"All is well: {pictures(total)}, and the destination has {'it' if total == 1 else 'every one'}."


def _waiting(status: Mapping[str, Any]) -> int:
    return int(status["counts"][State.PENDING] + status["counts"][State.UPLOADING])


def _need_a_look(count: int) -> str:
    return "1 picture needs a look" if count == 1 else f"{pictures(count)} need a look"


def _rows(rows: Sequence[tuple[str, str | None]], indent: int = 2) -> Iterator[str]:
    """Yield a line for each label that has a value, the values in one column."""
    shown = [(label, value) for label, value in rows if value is not None]
    width = max((len(label) for label, _ in shown), default=0)
    for label, value in shown:
        yield safe(f"{'':{indent}}{label:<{width}}  {value}")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in counts.items() if count) or "none"


def _destination(destination: Mapping[str, Any], now: float) -> Iterator[str]:
    state, reason = destination["state"].replace("_", " "), destination["reason"]
    if destination["state"] != DestinationState.UNKNOWN:
        yield f"{state}: {reason}" if reason else state
    if destination["retry_at"]:
        due = _seconds(destination["retry_at"]) <= now
        yield "next try at once" if due else f"next try {_when(destination['retry_at'], now)}"


def _space(disk: Mapping[str, int | None]) -> str | None:
    free, total = disk["free_bytes"], disk["total_bytes"]
    return f"{size(free)} of {size(total)} ({free * 100 // total} % free)" if free is not None and total else None


def _inodes(disk: Mapping[str, int | None]) -> str | None:
    """Tell of the inodes where they run out before the bytes do."""
    free, total = disk.get("free_inodes"), disk.get("total_inodes")
    return None if free is None or not total or free * 100 >= total * LOW else few_inodes(free, total)


def _when(stamp: str | None, now: float) -> str | None:
    """Write a time of a report as its distance from `now`, and itself."""
    if stamp is None:
        return None
    distance = _seconds(stamp) - now
    return f"{_span(abs(distance), ahead=distance > 0)} ({_day_and_time(stamp)})"


def _seconds(stamp: str) -> float:
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))


def _span(seconds: float, *, ahead: bool) -> str:
    for length, name in _SPANS:
        if count := int(seconds // length):
            span = f"{count} {name}{'' if count == 1 else 's'}"
            return f"in {span}" if ahead else f"{span} ago"
    return "now"


def _day_and_time(stamp: str | None) -> str | None:
    return None if stamp is None else stamp.replace("T", " ").replace("Z", " UTC")
