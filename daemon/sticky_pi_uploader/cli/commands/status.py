"""`status`: say whether all is well, then show how things stand."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ...clock import unix_time, utc_text
from ...config import Config
from ...exceptions import ConfigError
from ...image_dir.pending_removal import STUCK, hidden
from ...intake.scanner import Scanner
from ...models import TO_LOOK_AT, Destination, DestinationState, Hold, Picture, State
from ...outbox import OutboxReader
from ...service.trouble import read_trouble
from ...state_dir.disk import LOW_PERCENT, disk_space, failed_disk, obstacle
from ...state_dir.lock import is_held
from ...state_dir.mounts import image_dir_problem, nearest
from ..output.formatting import add_json_flag, day_and_time, inodes, relative, rows, size, to_json
from ..output.terminal import complain, print_lines, safe, suggest
from ..state_reader import StateReader, config_as_owner, hold_in_force, hold_problems, open_state
from .verdict import hold_line, verdict

add_arguments = add_json_flag


def run(arguments: Namespace) -> int:
    """Print the status."""
    try:
        config = config_as_owner(arguments)
    except ConfigError:
        # The service may still work with the configuration from before: its trouble is reported all the same.
        for trouble in read_trouble():
            complain(f"the service says: {trouble.what}")
        raise
    with open_state(config.state_dir) as state:
        status = status_data(state, config)
    print_lines([to_json(status)] if arguments.json else status_screen(status, time.time(), partial(suggest, config)))
    return 0


def status_data(state: StateReader, config: Config) -> dict[str, Any]:
    """Return the status for JSON; a value that can't be read is null."""
    image_dir, store = config.image_dir, config.api.store
    hold = hold_in_force(state, config)
    return {
        "config_file": config.file,
        "image_dir": image_dir,
        "state_dir": config.state_dir,
        "image_dir_problem": image_dir_problem(image_dir) or failed_disk(image_dir),
        "state_dir_problem": _write_problem("state folder", config.state_dir),
        "store_problem": None if store is None else _write_problem("store", store),
        "running": is_held(config.state_dir),
        "counts": _counts(state),
        "to_look_at": _to_look_at(state),
        "oldest_pending": state.ask(OutboxReader.oldest_pending, None),
        "last_upload": utc_text(state.ask(OutboxReader.last_upload, None)),
        "destination": _destination(state, config.api.url),
        "wrong_copies": _wrong_copies(state, image_dir),
        "left_over": _left_over(config),
        "disk": _disk(config),
        "held": hold and {"reason": hold.reason, "since": utc_text(hold.since), "until": utc_text(hold.until)},
        "trouble": [
            {"since": utc_text(each.since), "what": each.what, "advice": each.advice}
            for each in read_trouble(config.state_dir)
        ]
        + _hold_troubles(config, hold),
    }


def status_screen(status: Mapping[str, Any], now: float, suggest: Callable[[str], str]) -> Iterator[str]:
    """Yield the lines for people: the verdict, then the details.

    `now` is a Unix time; `suggest` returns the command line for another command.
    """
    yield from map(safe, verdict(status, suggest))
    yield ""
    yield from rows(
        [
            ("Pictures", _count_list(status["counts"])),
            ("Oldest to send", day_and_time(status["oldest_pending"])),
            ("Last upload", relative(status["last_upload"], now)),
            ("Destination", status["destination"]["url"]),
            *(("", line) for line in _destination_lines(status["destination"], now)),
            ("Sending", hold_line(status)),
            ("Free space", _space_line(status["disk"])),
            ("Free inodes", _inodes_line(status["disk"])),
            ("Image folder", status["image_dir"]),
            ("State folder", status["state_dir"]),
            ("Configuration", status["config_file"] or "no file: flags, environment and defaults"),
            ("Uploader", {True: "at work", False: "not running just now", None: None}[status["running"]]),
            *(row for trouble in status["trouble"] for row in _trouble_rows(trouble)),
        ]
    )


def _hold_troubles(config: Config, hold: Hold | None) -> list[dict[str, str | None]]:
    found = hold_problems(config, hold)
    return [{"since": hold and utc_text(hold.since), "what": what, "advice": advice} for what, advice in found]


def _trouble_rows(trouble: Mapping[str, str | None]) -> Iterator[tuple[str, str | None]]:
    yield "Its trouble", trouble["what"]
    if trouble["since"]:
        yield "", f"since {day_and_time(trouble['since'])}"
    yield "", f"-> {trouble['advice']}"


def _write_problem(name: str, folder: str) -> str | None:
    why = obstacle(nearest(folder))
    return None if why is None else f"the {name} {folder} can't be written: {why}"


def _counts(state: StateReader) -> dict[str, int]:
    counts = state.ask(OutboxReader.counts, None)
    if counts is None:
        counts = Counter(picture.state for picture in state.salvage())
    return {each.value: counts.get(each, 0) for each in State}


def _to_look_at(state: StateReader) -> dict[str, int]:
    """Count the pictures in each state that need attention."""
    counts = Counter(picture.state for picture in state.pictures(TO_LOOK_AT) if picture.needs_attention)
    return {each.value: counts[each] for each in TO_LOOK_AT}


def _destination(state: StateReader, url: str) -> dict[str, Any]:
    destination = state.ask(lambda outbox: outbox.destination(url), Destination(url))
    return {
        "url": url,
        "state": destination.state.value,
        "reason": destination.reason,
        "retry_at": utc_text(destination.retry_at),
    }


def _wrong_copies(state: StateReader, image_dir: str) -> list[dict[str, str]]:
    """Return the pictures whose copy at the destination was found missing or different."""
    found = state.ask(lambda outbox: list(outbox.wrong_copies()), list[Picture]())
    return [{"path": os.path.join(image_dir, picture.path), "what": str(picture.reason)} for picture in found]


def _left_over(config: Config) -> list[dict[str, str]]:
    """Return the hidden files whose removal was interrupted and that can't have their names back."""
    found = Scanner(config.image_dir, config.own_folders).interrupted_removals()
    return [{"path": os.path.join(config.image_dir, hidden(path)), "what": STUCK} for path in found]


def _disk(config: Config) -> dict[str, int | None]:
    found, retention = disk_space(config.image_dir), config.retention
    least = None if found is None or retention.keep_days is None else retention.min_free.of(found.total)
    return {
        "free_bytes": found and found.free,
        "total_bytes": found and found.total,
        "least_free_bytes": least,
        "free_inodes": found and found.free_inodes,
        "total_inodes": found and found.inodes,
        "least_free_inodes": None if found is None or least is None else found.least_inodes(least),
    }


def _count_list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in counts.items() if count) or "none"


def _destination_lines(destination: Mapping[str, Any], now: float) -> Iterator[str]:
    state, reason = destination["state"].replace("_", " "), destination["reason"]
    if destination["state"] != DestinationState.UNKNOWN:
        yield f"{state}: {reason}" if reason else state
    if destination["retry_at"]:
        due = unix_time(destination["retry_at"]) <= now
        yield "next try at once" if due else f"next try {relative(destination['retry_at'], now)}"


def _space_line(disk: Mapping[str, int | None]) -> str | None:
    free, total = disk["free_bytes"], disk["total_bytes"]
    return f"{size(free)} of {size(total)} ({free * 100 // total} % free)" if free is not None and total else None


def _inodes_line(disk: Mapping[str, int | None]) -> str | None:
    """Return a line about inodes only where few are left."""
    free, total = disk.get("free_inodes"), disk.get("total_inodes")
    return None if free is None or not total or free * 100 >= total * LOW_PERCENT else inodes(free, total)
