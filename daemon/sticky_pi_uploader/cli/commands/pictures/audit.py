"""`audit`: account for every picture, and record which ones the destination lacks."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ....config import from_arguments
from ....exceptions import StateError
from ....intake.scanner import Scanner
from ....models import State
from ....outbox import Outbox, outbox_path
from ....ownership.run_as_owner import work_as_owner
from ....upload.backoff import LONGEST_WAIT
from ....upload.client_factory import client_opener
from ....wording import counted
from ...output.formatting import add_json_flag, day_and_time, pictures, rows, to_json
from ...output.terminal import print_lines, safe
from ...state_reader import open_state, sudo_advised
from ..verdict import waiting
from .audit_report import Audit, Copy
from .retry import change


def add_arguments(parser: ArgumentParser) -> None:
    """Add `--verify`, `--deep` and `--json`."""
    parser.add_argument(
        "--verify", action="store_true", help="ask the destination for every picture that it should have"
    )
    parser.add_argument("--deep", action="store_true", help="read every file on the card, and compare its md5")
    add_json_flag(parser)


def run(arguments: Namespace) -> int:
    """Print the report, then record the findings; the exit status is 1 where something doesn't add up."""
    config = from_arguments(arguments, os.environ, check_secrets=arguments.verify)
    open_client = client_opener(config) if arguments.verify else None
    sends = arguments.verify or arguments.deep
    work_as_owner(config.state_dir, config.image_dir, sends=sends, gives=arguments.verify)
    scanner = Scanner(config.image_dir, config.own_folders)
    audit = Audit(scanner, open_client=open_client, deep=arguments.deep, interval=config.picture_interval)
    with open_state(config.state_dir) as state:
        if state.outbox is None:
            print_lines([to_json(None)] if arguments.json else [])
            return 0
        report = audit.report(state.outbox, state.warn)
    try:
        print_lines([to_json(report)] if arguments.json else _screen(report))
    finally:
        # Last, as a full disk must not withhold the report; and always, even if the reader of the report has gone.
        try:
            with sudo_advised():
                _record(config.state_dir, audit.copies)
        except StateError as error:
            raise StateError(f"the findings can't be recorded: {error}") from error
    return 0 if report["adds_up"] else 1


def _record(state_dir: str, copies: Sequence[Copy]) -> None:
    """Have missing pictures sent again, and note whose copy is wrong. Raises StateError."""
    if not copies:
        return
    with Outbox(outbox_path(state_dir), longest_wait=LONGEST_WAIT) as outbox:
        records = outbox.retention

        def record(copy: Copy) -> bool:
            if copy.send_again:
                return records.unconfirm(copy.picture, f"{copy.wrong}; it is sent again")
            return records.note_copy(copy.picture, copy.wrong)

        change(outbox, copies, record)


def _screen(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines for people; the first says whether all adds up."""
    counts, problems, verified = report["counts"], report["problems"], report["verified"]
    total = pictures(sum(counts[state.value] for state in State))
    if report["adds_up"]:
        yield f"All adds up: {total} accounted for."
    else:
        what = counted(len(problems), "thing doesn't", "things don't")
        yield f"Attention: {what} add up; {total} recorded."
    yield ""
    yield from rows(
        [
            ("On the card", f"{counts['on_card']:,}"),
            ("Uploaded", f"{counts[State.UPLOADED]:,}"),
            ("  gone from here", f"{counts['removed']:,} removed, {counts['gone_after_upload']:,} by others"),
            ("To be sent", f"{waiting(counts):,}"),
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
    last = day_and_time(camera["last"])
    yield f"  Camera {camera['device']}: {pictures(camera['pictures'])}{every}, the last {last}"
    for gap in camera["gaps"]:
        if gap["missing"] is None:
            next_one = f"; the next is of {day_and_time(gap['to'])}" if gap["to"] else ""
            yield f"    it ended with its picture of {day_and_time(gap['from'])}{next_one}"
            continue
        until = f"to {day_and_time(gap['to'])}" if gap["to"] else "until now"
        yield f"    none from {day_and_time(gap['from'])} {until}: about {gap['missing']:,} missing"
