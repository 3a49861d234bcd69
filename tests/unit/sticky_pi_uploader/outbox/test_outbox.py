import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from flushes import flushes
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from program import PATIENCE
from sticky_pi_api.sqlite import connection as sqlite
from sticky_pi_uploader.exceptions import OutboxDamagedError, OutboxNewerError, StateError
from sticky_pi_uploader.models import (
    Destination,
    DestinationState,
    Fingerprint,
    Hold,
    HoldCause,
    ReasonCode,
    State,
    Taken,
)
from sticky_pi_uploader.outbox import REOFFER_AFTER, Outbox, OutboxReader, open_or_rebuild, outbox_path
from sticky_pi_uploader.outbox.catalog import WAS_WHOLE
from sticky_pi_uploader.outbox.queue import NEWEST_EVERY
from sticky_pi_uploader.outbox.schema import MIGRATIONS

LONGEST_WAIT = 1800.0
HERE = "file:///here"
THERE = "file:///there"
NAME = "1b74105a.2020-07-05_10-07-16.jpg"
OTHER_NAME = "1b74105a.2020-07-06_10-07-16.jpg"
STARTED = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names


class Clock:
    """Wall time that stands still until a test moves it, or has it go on with each look at it."""

    def __init__(self):
        self.now = 1_700_000_000.0
        self.step = 0.0

    def __call__(self):
        self.now += self.step
        return self.now


def taken(path=NAME, md5="a" * 32, *, version=1, rejected=None, **more):
    """Make what ingest makes of a file; `version` is another one for each time that the file changes.

    Files of another path than `NAME` have inodes of their own.
    """
    device, time, _ = os.path.basename(path).split(".")
    day, _, clock = time.partition("_")
    return Taken(
        path,
        Fingerprint(1000, version, 7 if path == NAME else zlib.crc32(os.fsencode(path))),
        "disk",
        device=device,
        datetime=f"{day}T{clock.replace('-', ':')}Z",
        md5=md5,
        metadata=None if rejected else {"temp": 20.5},
        rejected=rejected,
        **more,
    )


def name(number, device="1b74105a"):
    return f"{device}.{STARTED + timedelta(minutes=20 * number):%Y-%m-%d_%H-%M-%S}.jpg"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "outbox.db")


@pytest.fixture
def outbox(path, clock):
    with Outbox(path, longest_wait=LONGEST_WAIT, clock=clock) as opened:
        opened.destinations.change(HERE, lambda _: True)
        yield opened


def everything(path):
    """Read every row of the pictures and their history, as another process would."""
    connection = sqlite3.connect(path)
    try:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("pictures", "history")]
    finally:
        connection.close()


def columns(outbox, path=NAME):
    row = outbox.database.connection.execute(
        "SELECT * FROM pictures WHERE name = ?", (os.path.basename(path),)
    ).fetchone()
    return dict(row)


def untried(picture):
    """Tell whether a picture waits as if it had never been tried."""
    tries = (picture.attempts, picture.misses, picture.failed_since, picture.refused_after, picture.not_before)
    return (picture.state, tries) == (State.PENDING, (0, 0, None, None, None))


def whys(outbox, path=NAME):
    return [event.why for event in outbox.history(outbox.at(path))]


# --- every verb against every state ------------------------------------------------------------------------------

REFUSED = "refused until rejected"
CLASHED_HERE = "conflict with another file"
STARTS = [*State, REFUSED, CLASHED_HERE]


def bring(outbox, start, path=NAME):
    """Bring a picture into a state, by the verbs that lead there."""
    if start == CLASHED_HERE:
        outbox.catalog.record([taken("other/" + path, md5="f" * 32)])
        outbox.catalog.record([taken(path)])
        # Its rival is sent, so that no verb of the walk touches it.
        outbox.queue.confirm(outbox.queue.claim(1)[0], "f" * 32, "stored")
        return outbox.at(path)
    outbox.catalog.record([taken(path, rejected="it is a PNG picture" if start is State.REJECTED else None)])
    picture = outbox.at(path)
    if start is State.LOST:
        outbox.catalog.lose(picture)
    elif start not in (State.PENDING, State.REJECTED):
        outbox.queue.claim(1)
        if start is State.UPLOADED:
            outbox.queue.confirm(picture, picture.md5, "stored")
        elif start is State.CONFLICT:
            outbox.queue.clash(picture, "held")
        elif start == REFUSED:
            outbox.queue.refuse(picture, "too odd", not_before=outbox.database.clock() + 3, charge=1, last=True)
    return outbox.at(path)


def state_of(start):
    return {REFUSED: State.REJECTED, CLASHED_HERE: State.CONFLICT}.get(start, start)


SETTLED = [start for start in STARTS if start is not State.UPLOADING]
CONFLICTS = (State.CONFLICT, CLASHED_HERE)

VERBS = {
    "lose": (
        lambda outbox, picture: outbox.catalog.lose(picture),
        {**dict.fromkeys((State.PENDING, *CONFLICTS, REFUSED), State.LOST), State.REJECTED: State.REJECTED},
    ),
    "dismiss": (
        lambda outbox, picture: outbox.catalog.dismiss(picture),
        {start: state_of(start) for start in (*CONFLICTS, State.REJECTED, REFUSED, State.LOST)},
    ),
    "claim": (lambda outbox, _: outbox.queue.claim(5), {State.PENDING: State.UPLOADING}),
    "confirm": (
        lambda outbox, picture: outbox.queue.confirm(picture, picture.md5 or "", "stored"),
        {State.UPLOADING: State.UPLOADED},
    ),
    "refuse": (
        lambda outbox, picture: outbox.queue.refuse(picture, "no", not_before=outbox.database.clock() + 5),
        {State.UPLOADING: State.PENDING},
    ),
    "refuse for the last time": (
        lambda outbox, picture: outbox.queue.refuse(picture, "no", not_before=outbox.database.clock() + 5, last=True),
        {State.UPLOADING: State.REJECTED},
    ),
    "clash": (lambda outbox, picture: outbox.queue.clash(picture, "held"), {State.UPLOADING: State.CONFLICT}),
    "ask again": (
        lambda outbox, picture: outbox.queue.ask_again(picture, picture.md5 or ""),
        dict.fromkeys(CONFLICTS, State.PENDING),
    ),
    "release": (lambda outbox, picture: outbox.queue.release(picture), {State.UPLOADING: State.PENDING}),
    "put off": (
        lambda outbox, picture: outbox.queue.put_off(picture, not_before=None, blames_picture=True),
        {State.UPLOADING: State.PENDING},
    ),
    "postpone": (
        lambda outbox, picture: outbox.queue.postpone(picture, "doubt", not_before=outbox.database.clock() + 30),
        {State.UPLOADING: State.PENDING},
    ),
    "recheck": (
        lambda outbox, picture: outbox.queue.recheck(picture, "changed", not_before=outbox.database.clock() + 5),
        {State.UPLOADING: State.PENDING},
    ),
    "recover": (lambda outbox, _: outbox.queue.recover(), {State.UPLOADING: State.PENDING}),
    "reoffer": (lambda outbox, _: outbox.queue.reoffer(), {REFUSED: State.PENDING}),
    "unconfirm": (lambda outbox, picture: outbox.retention.unconfirm(picture, "gone"), {State.UPLOADED: State.PENDING}),
    "contradict": (
        lambda outbox, picture: outbox.retention.contradict(picture, "other"),
        {State.UPLOADED: State.CONFLICT},
    ),
    "retry": (
        lambda outbox, picture: outbox.queue.retry(picture),
        {
            **dict.fromkeys((State.PENDING, *CONFLICTS), State.PENDING),
            **dict.fromkeys((State.REJECTED, REFUSED), State.REJECTED),
            State.LOST: State.LOST,
        },
    ),
    "record other bytes": (
        lambda outbox, _: not outbox.catalog.record([taken(md5="b" * 32, version=2)]),
        {**dict.fromkeys(SETTLED, State.PENDING), CLASHED_HERE: State.CONFLICT},
    ),
    "record no picture": (
        lambda outbox, _: not outbox.catalog.record([taken(md5="b" * 32, version=2, rejected="it is empty")]),
        {**dict.fromkeys(SETTLED, State.REJECTED), State.UPLOADED: State.UPLOADED},
    ),
}
SILENT = {"claim", "release", "put off"}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_moves_a_picture_from_its_own_states_with_a_line_of_history_and_does_nothing_in_others(
    outbox, path, clock, verb, start
):
    picture = bring(outbox, start)
    assert picture.state is state_of(start)
    clock.now += REOFFER_AFTER
    before, told_before = everything(path), outbox.history(picture)
    call, allowed = VERBS[verb]
    answer = call(outbox, picture)
    if start not in allowed:
        assert not answer
        assert everything(path) == before
        return
    assert answer
    assert outbox.at(NAME).state is allowed[start]
    told = outbox.history(picture)[len(told_before) :]
    assert [(event.at, event.state) for event in told] == ([] if verb in SILENT else [(clock.now, allowed[start])])


@pytest.mark.parametrize("start", STARTS)
def test_another_destination_makes_pending_what_the_last_one_answered_and_nothing_else(outbox, path, start):
    picture = bring(outbox, start)
    before = everything(path)
    answered = start in (State.UPLOADED, *CONFLICTS, REFUSED)
    assert outbox.destinations.change(THERE, lambda path: path == NAME) == int(answered)
    if not answered:
        assert everything(path) == before
        return
    picture = outbox.at(NAME)
    assert (picture.state, picture.receipt_md5, picture.uploaded_at) == (State.PENDING, None, None)
    assert untried(picture)
    assert picture.reason is None
    assert whys(outbox)[-1] == f"the destination changed from {HERE} to {THERE}"


@pytest.mark.parametrize("start", STARTS)
def test_the_record_of_a_file_that_has_another_name_ends_in_that_ones_history_unless_it_is_sent(outbox, path, start):
    picture = bring(outbox, start)
    outbox.catalog.record([taken(OTHER_NAME)])
    before, other = everything(path), outbox.at(OTHER_NAME)
    merged = outbox.catalog.merge(picture, other)
    assert merged == (start not in (State.UPLOADING, State.UPLOADED))
    if not merged:
        assert everything(path) == before
        return
    assert not outbox.catalog.merge(picture, other)
    assert outbox.at(NAME) is None
    told = [line[2:] for line in before[1] if line[1] in (picture.id, other.id)]
    after = [line[2:] for line in everything(path)[1] if line[1] == other.id]
    assert after[:-1] == told
    was = "" if picture.reason is None else f" (it was {picture.state}: {picture.reason})"
    assert after[-1][1:] == (State.PENDING, f"renamed from '{NAME}'{was}")
    assert sum(outbox.counts().values()) == len(before[0]) - 1


def test_the_record_of_a_picture_that_moved_on_or_has_a_receipt_does_not_end_in_another(outbox, path):
    before = bring(outbox, State.PENDING)
    outbox.catalog.record([taken(OTHER_NAME)])
    outbox.queue.claim(2)
    outbox.queue.confirm(before, before.md5, "stored")
    told = everything(path)
    assert not outbox.catalog.merge(before, outbox.at(OTHER_NAME))
    outbox.queue.release(outbox.at(OTHER_NAME))
    sent = before._replace(path=f"b/{NAME}", state=State.LOST, receipt_md5=before.md5, uploaded_at=5.0)
    outbox.recovery.adopt(sent, [], "carried over")
    assert not outbox.catalog.merge(outbox.at(sent.path), outbox.at(OTHER_NAME))
    assert outbox.at(sent.path).receipt_md5 == before.md5
    assert outbox.at(NAME).receipt_md5 == before.md5
    assert len(everything(path)[0]) == len(told[0]) + 1


def test_the_record_of_a_picture_does_not_end_in_that_of_a_dismissed_file(outbox):
    outbox.catalog.record([taken(), taken(OTHER_NAME, rejected="it is a PNG picture")])
    outbox.catalog.dismiss(outbox.at(OTHER_NAME))
    assert not outbox.catalog.merge(outbox.at(NAME), outbox.at(OTHER_NAME))
    outbox.queue.retry(outbox.at(OTHER_NAME))
    assert outbox.catalog.merge(outbox.at(NAME), outbox.at(OTHER_NAME))
    assert outbox.catalog.count_to_look_at() == 1


def test_a_renamed_file_stays_dismissed(outbox):
    names = ("a.b.jpg", "c.d.jpg")
    first, second = (
        taken(path, rejected="its name has 2 fields between dots")._replace(device=None, datetime=None)
        for path in names
    )
    outbox.catalog.record([first])
    outbox.catalog.dismiss(outbox.at("a.b.jpg"))
    at = outbox.at("a.b.jpg").dismissed_at
    outbox.catalog.record([second])
    outbox.catalog.merge(outbox.at("a.b.jpg"), outbox.at("c.d.jpg"))
    assert outbox.at("c.d.jpg").dismissed_at == at
    assert outbox.catalog.count_to_look_at() == 0


def test_another_name_of_a_file_is_found_by_its_inode_and_md5_or_else_its_size_and_time(outbox):
    looks = Fingerprint(1000, 1, 8)
    files = {
        "itself": taken()._replace(fingerprint=looks),
        "renamed": taken(OTHER_NAME)._replace(fingerprint=looks._replace(mtime_ns=2)),
        "inode used again": taken(name(1), md5="b" * 32)._replace(fingerprint=looks),
        "copy": taken(name(2))._replace(fingerprint=looks._replace(inode=9)),
        "another disk": taken(name(3))._replace(fingerprint=looks, file_system="other"),
        "not read": taken("a.b.jpg", None, rejected="its name")._replace(fingerprint=looks, device=None, datetime=None),
        "not read, and later": taken("c.d.jpg", None, rejected="its name")._replace(
            fingerprint=looks._replace(mtime_ns=3), device=None, datetime=None
        ),
    }
    outbox.catalog.record(list(files.values()))
    found = {each.path for each in outbox.catalog.with_bytes_of(outbox.at(NAME))}
    assert found == {files[each].path for each in ("renamed", "not read")}
    unread = outbox.catalog.with_bytes_of(outbox.at("a.b.jpg"))
    assert {each.path for each in unread} == {NAME, name(1)}
    plan = outbox.database.rows(
        "EXPLAIN QUERY PLAN SELECT * FROM pictures INDEXED BY pictures_by_inode WHERE inode = 1"
    )
    assert [row["detail"] for row in plan] == ["SEARCH pictures USING INDEX pictures_by_inode (inode=?)"]


def test_files_that_were_never_seen_are_no_other_names_of_each_other(outbox):
    lost = bring(outbox, State.LOST)
    for number in range(1, 3):
        outbox.recovery.adopt(
            lost._replace(path=name(number), datetime=f"2020-07-05T1{number}:07:16Z"), [], "carried over"
        )
        assert outbox.at(name(number)).fingerprint.inode == 0
    assert outbox.catalog.with_bytes_of(outbox.at(name(1))) == []


@pytest.mark.parametrize("known", [False, True])
def test_a_lost_file_that_is_found_under_another_name_is_lost_no_more(outbox, known):
    outbox.catalog.record([taken()] + [taken(OTHER_NAME, md5="c" * 32)] * known)
    outbox.catalog.lose(outbox.at(NAME))
    outbox.catalog.dismiss(outbox.at(NAME))
    outbox.catalog.record([taken(OTHER_NAME)._replace(fingerprint=Fingerprint(1000, 2, 7))])
    assert outbox.at(NAME) is None
    assert outbox.at(OTHER_NAME).state is State.PENDING
    assert outbox.history(outbox.at(OTHER_NAME))[-1].why.startswith(f"renamed from '{NAME}' (it was lost: ")


def test_a_picture_that_became_a_rejected_file_and_is_gone_then_is_lost(outbox):
    outbox.catalog.record([taken()])
    outbox.catalog.record([taken(version=2, md5="b" * 32, rejected="it is cut short: the end is missing")])
    assert outbox.catalog.lose(outbox.at(NAME)) is State.LOST


def test_a_picture_that_is_dismissed_needs_no_attention_until_it_is_retried_or_changes(outbox, clock):
    for change in ("retry", "other bytes", "no picture"):
        where = f"{change}.{NAME}".replace(".1b74105a", "/1b74105a")
        outbox.catalog.record([taken(where, md5="b" * 32, rejected="it is a PNG picture")])
        assert outbox.catalog.count_to_look_at() == 1
        clock.now += 5
        assert outbox.catalog.dismiss(outbox.at(where))
        assert not outbox.catalog.dismiss(outbox.at(where))
        assert (outbox.catalog.count_to_look_at(), outbox.at(where).dismissed_at) == (0, clock.now)
        outbox.catalog.record([taken(where, md5="b" * 32, rejected="it is a PNG picture", version=3)])
        assert outbox.catalog.count_to_look_at() == 0
        if change == "retry":
            outbox.queue.retry(outbox.at(where))
        else:
            why = "it is no picture" if change == "no picture" else None
            outbox.catalog.record([taken(where, md5="c" * 32, rejected=why, version=2)])
        assert outbox.catalog.count_to_look_at() == (0 if change == "other bytes" else 1)
        outbox.catalog.dismiss(outbox.at(where))


@pytest.mark.parametrize("start", [*CONFLICTS, REFUSED])
def test_a_picture_that_is_dismissed_and_then_gone_is_lost_and_needs_attention_until_it_is_dismissed_again(
    outbox, start
):
    picture = bring(outbox, start)
    outbox.catalog.dismiss(picture)
    assert outbox.catalog.count_to_look_at() == 0
    assert outbox.catalog.lose(outbox.at(NAME)) is State.LOST
    assert outbox.catalog.count_to_look_at() == 1
    assert outbox.catalog.dismiss(outbox.at(NAME))
    assert outbox.catalog.count_to_look_at() == 0
    outbox.catalog.record([taken()])
    assert outbox.at(NAME).dismissed_at is None


@pytest.mark.parametrize(
    ("why", "known", "state"),
    [
        ("its name has 2 fields between dots", True, State.REJECTED),
        ("the datetime in its name is before 2019-11-01: the trap's clock wasn't set", True, State.LOST),
        ("its EXIF is damaged: it begins twice", True, State.LOST),
        ("its header is damaged: it claims 0x0 pixels", True, State.LOST),
        ("its data are damaged: a marker amid them hides the end of the picture", True, State.LOST),
        ("it changed while it was read", True, State.LOST),
        ("it doesn't decode: broken data stream", True, State.LOST),
        ("it isn't a JPEG picture: it is a PNG picture", True, State.REJECTED),
        ("it is cut short: the end of the picture is missing", True, State.REJECTED),
        ("can't be read: Input/output error", False, State.LOST),
    ],
)
def test_a_rejected_file_that_is_gone_is_lost_only_if_it_may_be_a_picture(outbox, clock, why, known, state):
    file = taken("a.b.jpg", rejected=why)._replace(device=None, datetime=None)
    outbox.catalog.record([file if known else file._replace(fingerprint=None, md5=None)])
    assert outbox.catalog.lose(outbox.at("a.b.jpg")) is state
    picture = outbox.at("a.b.jpg")
    assert (picture.state, picture.removed_at) == (state, clock.now if state is State.REJECTED else None)
    assert outbox.catalog.count_to_look_at() == (0 if state is State.REJECTED else 1)
    assert not outbox.catalog.at("a.b.jpg").is_missed
    outbox.retention.forget(clock.now + 1, 9)
    assert (outbox.at("a.b.jpg") is None) == (state is State.REJECTED)


@pytest.mark.parametrize("why", ["it is cut short: the end of the picture is missing", "it is empty: nothing of it"])
def test_what_a_power_cut_left_of_a_picture_needs_no_attention_in_reports(outbox, why):
    outbox.catalog.record([taken(rejected=why)])
    assert (outbox.counts()[State.REJECTED], outbox.catalog.count_to_look_at()) == (1, 0)
    assert not outbox.at(NAME).needs_attention
    assert not outbox.catalog.dismiss(outbox.at(NAME))


@pytest.mark.parametrize("why", ["it is cut short: the end of the picture is missing", "it is empty: nothing of it"])
@pytest.mark.parametrize("start", [State.PENDING, State.LOST, *CONFLICTS, REFUSED])
def test_a_whole_picture_that_is_cut_short_on_the_card_later_needs_attention(outbox, start, why):
    bring(outbox, start)
    before = outbox.catalog.count_to_look_at()
    for version in (2, 2, 3):
        outbox.catalog.record([taken(md5="b" * 32, version=version, rejected=why)])
        picture = outbox.at(NAME)
        assert (picture.state, picture.reason, picture.reason_code) == (State.REJECTED, WAS_WHOLE + why, None)
        assert picture.needs_attention
        assert outbox.catalog.count_to_look_at() == max(before, 1)
    assert [event.why for event in outbox.history(picture)].count(WAS_WHOLE + why) == 1
    assert outbox.catalog.dismiss(picture)
    assert outbox.catalog.lose(outbox.at(NAME)) is State.LOST


def test_a_rejected_file_stays_dismissed_when_the_same_fault_is_worded_otherwise(outbox):
    outbox.catalog.record([taken(rejected="it is a PNG picture")])
    outbox.catalog.dismiss(before := outbox.at(NAME))
    outbox.catalog.record([taken(rejected="its bytes are those of a PNG picture", version=2)])
    assert outbox.at(NAME).reason != before.reason
    assert (outbox.at(NAME).dismissed_at is None, outbox.catalog.count_to_look_at()) == (False, 0)


def test_a_code_goes_with_its_reason_and_the_md5_that_the_destination_got_with_the_bytes(outbox):
    outbox.queue.postpone(bring(outbox, State.UPLOADING), "other bytes", not_before=0.0, got_md5="f" * 32)
    assert (outbox.at(NAME).reason_code, outbox.at(NAME).got_md5) == (None, "f" * 32)
    outbox.queue.claim(1)
    outbox.queue.clash(outbox.at(NAME), "held")
    assert (outbox.at(NAME).reason_code, outbox.at(NAME).got_md5) == (ReasonCode.CLASH, "f" * 32)
    outbox.queue.retry(outbox.at(NAME))
    assert (outbox.at(NAME).reason_code, outbox.at(NAME).got_md5) == (None, "f" * 32)
    outbox.catalog.record([taken(md5="b" * 32, version=2)])
    assert (outbox.at(NAME).reason_code, outbox.at(NAME).got_md5) == (None, None)


@pytest.mark.parametrize("what", ["dismissed", "removed"])
def test_conflicts_before_the_last_upload_are_no_new_ones_when_they_are_dismissed_or_removed(outbox, what):
    ways = {
        "dismissed": outbox.catalog.dismiss,
        "removed": lambda picture: outbox.retention.mark_removed(picture, "removed from the card"),
    }
    for number in (1, 2):
        bring(outbox, State.CONFLICT, name(number))
    assert outbox.destinations.clashes_in_a_row() == 2
    bring(outbox, State.UPLOADED, name(3))
    assert outbox.destinations.clashes_in_a_row() == 0
    assert all(ways[what](outbox.at(name(number))) for number in (1, 2))
    assert outbox.destinations.clashes_in_a_row() == 0
    outbox.queue.retry(outbox.at(name(1)))
    outbox.queue.claim(1)
    outbox.queue.clash(outbox.at(name(1)), "held")
    assert outbox.destinations.clashes_in_a_row() == 1


def test_only_an_upload_ends_a_row_of_conflicts_and_not_the_removal_of_an_uploaded_picture(outbox):
    sent = bring(outbox, State.UPLOADED, name(3))
    for number in (1, 2):
        bring(outbox, State.CONFLICT, name(number))
    outbox.retention.note_copy(sent, "its thumbnail is missing")
    outbox.retention.mark_removed(sent, "removed from the card")
    assert outbox.destinations.clashes_in_a_row() == 2


def test_a_picture_that_comes_back_after_its_destination_changed_is_sent_to_the_new_one(outbox):
    bring(outbox, State.UPLOADED)
    outbox.destinations.change(THERE, lambda _: False)
    assert (outbox.at(NAME).state, outbox.at(NAME).receipt_md5) == (State.UPLOADED, "a" * 32)
    assert outbox.catalog.at(NAME).known_fingerprint is None
    outbox.catalog.record([taken()])
    assert (outbox.at(NAME).state, outbox.at(NAME).receipt_md5) == (State.PENDING, None)


@pytest.mark.parametrize("start", STARTS)
def test_the_same_file_once_more_changes_nothing_but_what_it_looks_like(outbox, start):
    before = bring(outbox, start)
    told = outbox.history(before)
    again = taken(version=2, rejected="it is a PNG picture" if start is State.REJECTED else None)
    waiting = outbox.catalog.record([again])
    after = outbox.at(NAME)
    if start is State.UPLOADING:
        assert (waiting, after) == ([again], before)
    elif start is State.LOST:
        assert (waiting, after.state, after.reason) == ([], State.PENDING, None)
        assert whys(outbox)[-1] == "read again: it is there, and a picture"
    else:
        assert (waiting, after) == ([], before._replace(fingerprint=again.fingerprint))
        assert outbox.history(after) == told


# --- record ------------------------------------------------------------------------------------------------------


def test_a_new_picture_is_pending_with_all_that_is_known_of_it(outbox, clock):
    assert outbox.catalog.record([taken("1b74105a/2020-07-05/" + NAME, suspect="a hole")]) == []
    (picture,) = outbox.pictures()
    assert picture.path == "1b74105a/2020-07-05/" + NAME
    assert (picture.device, picture.datetime, picture.md5) == ("1b74105a", "2020-07-05T10:07:16Z", "a" * 32)
    assert (picture.state, picture.attempts, picture.not_before, picture.reason) == (State.PENDING, 0, None, None)
    assert (picture.receipt_md5, picture.uploaded_at, picture.removed_at) == (None, None, None)
    assert (picture.suspect, picture.metadata, picture.file_system) == ("a hole", {"temp": 20.5}, "disk")
    assert picture.fingerprint == Fingerprint(1000, 1, zlib.crc32(os.fsencode(picture.path)))
    (event,) = outbox.history(picture)
    assert (event.at, event.state, event.why) == (clock.now, State.PENDING, "taken in")


def test_what_is_no_picture_is_rejected_with_its_reason_even_if_nothing_else_is_known_of_it(outbox):
    outbox.catalog.record([Taken("x.jpg", None, "disk", rejected="the name has 2 fields")])
    picture = outbox.at("x.jpg")
    assert (picture.state, picture.reason) == (State.REJECTED, "the name has 2 fields")
    assert (picture.device, picture.datetime, picture.md5, picture.fingerprint) == (None,) * 4
    assert whys(outbox, "x.jpg") == ["the name has 2 fields"]


@pytest.mark.parametrize("fault", [None, "it is empty"])
def test_a_rejected_file_that_became_a_picture_is_pending_and_one_with_another_fault_has_that(outbox, fault):
    outbox.catalog.record([taken(rejected="it is cut short")])
    outbox.catalog.record([taken(md5="b" * 32, version=2, rejected=fault)])
    assert (outbox.at(NAME).state, outbox.at(NAME).reason) == (State.REJECTED if fault else State.PENDING, fault)
    assert whys(outbox) == ["it is cut short", fault or "the file changed: taken in again"]


def test_a_picture_refused_for_good_that_is_no_picture_any_more_is_not_offered_again(outbox, clock):
    bring(outbox, REFUSED)
    outbox.catalog.record([taken(md5="b" * 32, version=2, rejected="it is empty")])
    assert (outbox.at(NAME).attempts, outbox.at(NAME).refused_after, outbox.at(NAME).not_before) == (0, None, None)
    clock.now += REOFFER_AFTER
    assert outbox.queue.reoffer() == 0


def test_a_sent_file_that_changed_is_taken_in_again_and_its_old_receipt_is_in_the_history(outbox):
    bring(outbox, State.UPLOADED)
    outbox.catalog.record([taken(md5="b" * 32, version=2)])
    picture = outbox.at(NAME)
    assert (picture.state, picture.md5, picture.receipt_md5, picture.uploaded_at) == (
        *(State.PENDING, "b" * 32),
        *(None, None),
    )
    assert whys(outbox)[-1] == f"the file changed after it was sent (receipt {'a' * 32}): taken in again"


def test_a_sent_file_that_is_no_picture_any_more_keeps_its_receipt_and_the_damage_is_told_once(outbox):
    bring(outbox, State.UPLOADED)
    for _ in range(2):
        outbox.catalog.record([taken(md5="b" * 32, version=2, rejected="it is empty")])
    picture = outbox.at(NAME)
    assert (picture.state, picture.md5, picture.receipt_md5) == (State.UPLOADED, "a" * 32, "a" * 32)
    assert whys(outbox)[-1] == "the file here changed after it was sent: it is empty"
    assert len(whys(outbox)) == 3


def test_a_sent_file_that_is_no_picture_any_more_is_read_again_before_another_destination_is_asked_for_it(outbox):
    for path in (NAME, name(1)):
        bring(outbox, State.UPLOADED, path)
    outbox.catalog.record([broken := taken(md5="b" * 32, version=2, rejected="it is empty")])
    assert outbox.destinations.change(THERE, lambda _: True) == 2
    assert outbox.catalog.files_to_recheck() == [NAME]
    assert [picture.path for picture in outbox.queue.claim(5)] == [name(1)]
    outbox.catalog.record([broken])
    picture = outbox.at(NAME)
    assert (picture.state, picture.md5, picture.reason) == (State.REJECTED, "b" * 32, WAS_WHOLE + "it is empty")


def test_a_picture_refused_with_the_reason_that_its_broken_file_has_is_not_offered_again(outbox, clock):
    outbox.queue.refuse(bring(outbox, State.UPLOADING), "it is empty", not_before=clock.now, charge=1, last=True)
    outbox.catalog.record([taken(md5="b" * 32, version=2, rejected="it is empty")])
    assert (outbox.at(NAME).md5, outbox.at(NAME).attempts) == ("b" * 32, 0)
    clock.now += REOFFER_AFTER
    assert outbox.queue.reoffer() == 0


def test_a_file_that_changes_while_it_is_sent_waits_for_the_outcome(outbox):
    picture = bring(outbox, State.UPLOADING)
    changed = taken(md5="b" * 32, version=2)
    assert outbox.catalog.record([changed, taken(name(1))]) == [changed]
    outbox.queue.confirm(picture, "a" * 32, "stored")
    assert outbox.catalog.record([changed]) == []
    assert outbox.at(NAME).state is State.PENDING


@pytest.mark.parametrize("start", [State.PENDING, State.CONFLICT, REFUSED, State.LOST])
def test_asked_for_again_the_same_file_is_read_and_then_decided_on(outbox, start):
    picture = bring(outbox, start)
    if start is State.PENDING:
        outbox.queue.claim(1)
        outbox.queue.recheck(picture, "it changed", not_before=0)
    elif start is not State.CONFLICT:
        outbox.queue.retry(picture)
    assert (outbox.catalog.at(NAME).known_fingerprint is None) == (start is not State.CONFLICT)
    outbox.catalog.record([taken()])
    after = outbox.at(NAME)
    assert after.state is (State.CONFLICT if start is State.CONFLICT else State.PENDING)
    assert outbox.catalog.at(NAME).known_fingerprint == Fingerprint(1000, 1, 7)
    assert columns(outbox)["recheck"] == 0


def test_a_rejected_file_that_is_looked_at_by_hand_and_still_no_picture_stays_so(outbox):
    picture = bring(outbox, State.REJECTED)
    outbox.queue.retry(picture)
    assert outbox.catalog.at(NAME).known_fingerprint is None
    outbox.catalog.record([taken(rejected="it is a PNG picture")])
    assert outbox.at(NAME) == picture
    assert outbox.catalog.at(NAME).known_fingerprint == Fingerprint(1000, 1, 7)
    assert whys(outbox) == ["it is a PNG picture", "asked for by hand"]


def test_a_batch_is_one_transaction_so_that_a_wrong_row_takes_nothing_half(outbox, path):
    wrong = taken(name(1))._replace(file_system=None)
    with pytest.raises(sqlite3.IntegrityError):
        outbox.catalog.record([taken(), wrong])
    assert everything(path) == [[], []]


def test_the_same_path_twice_in_a_batch_is_one_row(outbox):
    outbox.catalog.record([taken(), taken(version=2)])
    assert [picture.fingerprint.mtime_ns for picture in outbox.pictures()] == [2]


def test_a_file_that_is_on_another_disk_now_is_remembered_there(outbox):
    outbox.catalog.record([taken()])
    outbox.catalog.record([taken(version=2)._replace(file_system="new card")])
    assert outbox.at(NAME).file_system == "new card"


# --- two files with one key --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [State.PENDING, State.UPLOADING, State.UPLOADED])
@pytest.mark.parametrize("device", ["1b74105a", "1B74105A"])
def test_another_picture_with_the_key_of_one_that_is_here_is_a_conflict(outbox, start, device):
    bring(outbox, start)
    rival = f"b/{name(0, device)}"
    outbox.catalog.record([taken(rival, md5="b" * 32)])
    picture = outbox.at(rival)
    assert picture.state is State.CONFLICT
    assert picture.reason == (
        f"{NAME} has the same device and time but other contents: both are kept, only that one is sent"
    )
    assert outbox.at(NAME).state is start


@pytest.mark.parametrize("start", [State.CONFLICT, State.REJECTED, State.LOST])
def test_one_that_will_not_be_sent_stands_in_nobodys_way(outbox, start):
    bring(outbox, start)
    outbox.catalog.record([taken("b/" + NAME, md5="b" * 32)])
    assert outbox.at("b/" + NAME).state is State.PENDING


def test_a_conflict_with_a_file_in_a_folder_whose_name_is_no_text_is_recorded(outbox):
    folder = os.fsdecode(b"caf\xe9")
    outbox.catalog.record([taken(f"{folder}/{NAME}"), taken(md5="b" * 32)])
    assert outbox.at(NAME).state is State.CONFLICT
    assert outbox.at(NAME).reason.startswith("caf\\udce9/1b74105a")


def test_a_copy_of_the_same_picture_is_a_twin_and_no_conflict(outbox):
    outbox.catalog.record(
        [taken(), taken(f"b/{name(0, '1B74105A')}"), taken(name(1)), taken("c/" + NAME, md5="c" * 32)]
    )
    assert [twin.path for twin in outbox.catalog.twins(taken())] == [f"b/{name(0, '1B74105A')}"]
    assert outbox.at(f"b/{name(0, '1B74105A')}").state is State.PENDING
    assert outbox.catalog.twins(taken(name(5))) == []


def test_a_file_that_takes_the_place_of_one_in_conflict_is_in_conflict_too(outbox):
    bring(outbox, CLASHED_HERE)
    outbox.catalog.record([taken(md5="b" * 32, version=2)])
    assert outbox.at(NAME).state is State.CONFLICT


def test_what_was_in_conflict_with_a_file_here_is_due_once_that_one_is_lost(outbox):
    outbox.catalog.record([taken(), taken("b/" + NAME, md5="b" * 32)])
    outbox.catalog.lose(outbox.at(NAME))
    assert outbox.at("b/" + NAME).state is State.PENDING


def test_a_picture_that_another_destination_has_stands_in_nobodys_way_once_its_file_is_gone(outbox):
    outbox.destinations.change(HERE, lambda _: True)
    outbox.catalog.record([taken()])
    (sent,) = outbox.queue.claim(1)
    outbox.queue.confirm(sent, sent.md5, "stored")
    outbox.catalog.record([taken("a/" + NAME, md5="c" * 32)])
    assert outbox.at("a/" + NAME).state is State.CONFLICT
    outbox.destinations.change(THERE, lambda _: False)
    outbox.catalog.record([taken("b/" + NAME, md5="b" * 32)])
    assert outbox.at("b/" + NAME).state is State.PENDING


def test_of_those_in_conflict_the_ones_with_the_bytes_and_the_key_are_asked_for_again(outbox):
    outbox.catalog.record(
        [taken(), *(taken(f"{folder}/{NAME}", md5=2 * folder * 16) for folder in "bc"), taken(name(1))]
    )
    outbox.catalog.record([taken(f"copy/{name(0, '1B74105A')}", md5="b" * 32), taken(f"b/{name(1)}", md5="b" * 32)])
    assert outbox.queue.ask_again(outbox.at(NAME), "b" * 32) == 2
    waiting = {picture.path for picture in outbox.pictures([State.PENDING])}
    assert waiting == {NAME, name(1), f"b/{NAME}", f"copy/{name(0, '1B74105A')}"}


# --- renames and presence ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
def test_a_renamed_file_keeps_its_row_and_its_state(outbox, start):
    picture = bring(outbox, start)
    assert outbox.catalog.rename(picture, "new/" + NAME)
    assert outbox.at("new/" + NAME) == picture._replace(path="new/" + NAME)
    assert outbox.at(NAME) is None
    assert outbox.history(picture)[-1].why == f"renamed from '{NAME}'"


def test_a_rename_to_a_path_that_is_recorded_changes_nothing(outbox, path):
    outbox.catalog.record([taken(), taken("b/" + NAME)])
    before = everything(path)
    assert not outbox.catalog.rename(outbox.at(NAME), "b/" + NAME)
    assert everything(path) == before


def test_what_is_away_is_not_claimed_until_it_is_back(outbox):
    outbox.catalog.record([taken()])
    outbox.catalog.set_present(NAME, present=False)
    assert (outbox.queue.claim(1), outbox.queue.next_due()) == ([], None)
    assert not outbox.catalog.at(NAME).present
    outbox.catalog.set_present(NAME, present=True)
    assert outbox.queue.next_due() == 0
    assert [picture.path for picture in outbox.queue.claim(1)] == [NAME]


@pytest.mark.parametrize("start", STARTS)
def test_a_scan_is_told_what_it_has_to_know_of_each_picture(outbox, start):
    bring(outbox, start)
    known = outbox.catalog.in_folder("")[NAME]
    assert known == outbox.catalog.at(NAME)._replace(metadata=None)
    assert known.known_fingerprint == (None if start is State.LOST else Fingerprint(1000, 1, 7))
    assert known.present == (start is not State.LOST)
    assert known.is_missed == (start not in (State.UPLOADED, State.LOST))
    assert ("" in outbox.catalog.folders_to_check()) == known.is_missed


def test_a_folder_is_known_without_those_below_it(outbox):
    outbox.catalog.record([taken(), taken("a/" + name(1)), taken("a/b/" + name(2))])
    assert list(outbox.catalog.in_folder("a")) == ["a/" + name(1)]
    assert outbox.catalog.in_folder("c") == {}
    assert outbox.catalog.at("a/" + name(7)) is None
    assert outbox.catalog.folders_to_check() == {"", "a", "a/b"}


def test_a_lost_picture_says_what_it_was_waiting_for(outbox):
    picture = bring(outbox, REFUSED)
    outbox.catalog.lose(picture)
    assert outbox.at(NAME).reason == "gone from the card before it was sent (it was rejected: too odd)"


# --- names that are no text --------------------------------------------------------------------------------------


def test_names_that_are_not_utf8_come_back_byte_for_byte(outbox):
    paths = [os.fsdecode(path) for path in (b"caf\xe9/\xff.jpg", b"caf\xe9/x.jpg", "café/x.jpg".encode(), b"\xff.jpg")]
    outbox.catalog.record([Taken(path, None, "disk", rejected="no") for path in paths])
    for path in paths:
        picture = outbox.at(path)
        assert (picture.path, outbox.catalog.at(path) is not None) == (path, True)
        assert path in outbox.catalog.in_folder(os.path.dirname(path))
        assert path in [found.path for found in outbox.named(os.path.basename(path))]
        assert outbox.catalog.lose(picture)
    assert sorted(picture.path for picture in outbox.pictures()) == sorted(paths)


def test_the_folders_of_such_names_are_checked_and_renames_of_them_told(outbox):
    folder = os.fsdecode(b"caf\xe9")
    outbox.catalog.record([taken(f"{folder}/{NAME}")])
    assert outbox.catalog.folders_to_check() == {folder}
    assert outbox.catalog.rename(outbox.at(f"{folder}/{NAME}"), NAME)
    assert whys(outbox)[-1] == f"renamed from 'caf\\udce9/{NAME}'"


# --- claims ------------------------------------------------------------------------------------------------------


def claimed(outbox, most):
    return [picture.path for picture in outbox.queue.claim(most)]


def test_the_newest_and_the_oldest_are_claimed_in_turn(outbox):
    outbox.catalog.record([taken(name(number)) for number in (3, 1, 5, 0, 4, 2)])
    assert claimed(outbox, 5) == [name(number) for number in (5, 0, 4, 1, 3)]
    assert claimed(outbox, 5) == [name(2)]
    assert claimed(outbox, 5) == []


def test_one_that_arrives_is_next_and_the_backlog_still_moves(outbox):
    outbox.catalog.record([taken(name(number)) for number in range(6)])
    order = []
    for number in (10, 11, 12):
        outbox.catalog.record([taken(name(number))])
        order += claimed(outbox, 2)
    assert order == [name(number) for number in (10, 0, 11, 1, 12, 2)]


def test_no_key_is_claimed_twice_at_once_however_it_is_written(outbox):
    outbox.catalog.record([taken(name(0)), taken(f"b/{name(0, '1B74105A')}"), taken("c/" + name(0)), taken(name(1))])
    assert claimed(outbox, 10) == [name(1), name(0)]
    assert claimed(outbox, 10) == [f"b/{name(0, '1B74105A')}"]


def test_what_is_not_due_or_to_be_read_again_is_not_claimed(outbox, clock):
    outbox.catalog.record([taken(name(number)) for number in range(3)])
    waiting, reread, _ = outbox.queue.claim(3)
    outbox.queue.postpone(waiting, "later", not_before=clock.now + 30)
    outbox.queue.recheck(reread, "it changed", not_before=0)
    assert (claimed(outbox, 3), outbox.queue.next_due()) == ([], 30)
    clock.now += 29.5
    assert (claimed(outbox, 3), outbox.queue.next_due()) == ([], 0.5)
    clock.now += 0.5
    assert (outbox.queue.next_due(), claimed(outbox, 3), outbox.queue.next_due()) == (0, [waiting.path], None)


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_one_may_fall_due_while_a_batch_is_chosen(outbox, clock, looks):
    outbox.catalog.record([taken(name(number)) for number in range(3)])
    waiting, *others = outbox.queue.claim(3)
    outbox.queue.postpone(waiting, "later", not_before=clock.now + looks)
    for picture in others:
        outbox.queue.release(picture)
    clock.step = 1.0
    first = claimed(outbox, 5)
    assert set(first) >= {picture.path for picture in others}
    clock.now += looks
    assert sorted(first + claimed(outbox, 5)) == [name(number) for number in range(3)]


def test_a_wait_that_ends_further_ahead_than_any_wait_can_is_over(outbox, clock):
    (picture,) = [bring(outbox, State.UPLOADING)]
    outbox.queue.postpone(picture, "later", not_before=clock.now + LONGEST_WAIT)
    assert (claimed(outbox, 1), outbox.queue.next_due()) == ([], LONGEST_WAIT)
    clock.now -= 1
    assert (outbox.queue.next_due(), claimed(outbox, 1)) == (0, [NAME])


def test_waits_that_a_clock_set_back_made_impossible_end_for_good(outbox, clock):
    outbox.catalog.record([taken(name(number)) for number in range(2)])
    for picture, wait in zip(outbox.queue.claim(2), (LONGEST_WAIT, 500), strict=True):
        outbox.queue.postpone(picture, "later", not_before=clock.now + wait)
    outbox.destinations.update(Destination(HERE, retry_at=clock.now + LONGEST_WAIT, failures=3))
    outbox.queue.end_impossible_waits()
    assert (outbox.queue.next_due(), outbox.destination(HERE).retry_at) == (500, clock.now + LONGEST_WAIT)
    clock.now -= 60
    outbox.queue.end_impossible_waits()
    clock.now += 100
    assert claimed(outbox, 2) == [name(1)]
    assert (outbox.queue.next_due(), outbox.destination(HERE)) == (460, Destination(HERE, failures=3))


def test_the_least_wait_of_several_counts(outbox, clock):
    outbox.catalog.record([taken(name(number)) for number in range(3)])
    for picture, wait in zip(outbox.queue.claim(3), (50, 20, 90), strict=True):
        outbox.queue.postpone(picture, "later", not_before=clock.now + wait)
    assert outbox.queue.next_due() == 20


def test_in_trouble_what_was_tried_gives_way_to_what_was_not_and_then_to_what_waited_longer(outbox, clock):
    outbox.catalog.record([taken(name(number)) for number in range(3)])
    order = []
    for _ in range(6):
        clock.now += 10
        (picture,) = outbox.queue.claim_canary()
        order.append(picture.path)
        outbox.queue.put_off(picture, not_before=clock.now, blames_picture=False)
    assert order == [name(number) for number in (2, 1, 0, 2, 1, 0)]


def test_one_that_failed_with_a_whole_batch_comes_after_those_that_never_did_and_before_those_tried_alone(
    outbox, clock
):
    outbox.catalog.record([taken(name(number)) for number in range(2)])
    first, second = outbox.queue.claim(2)
    outbox.queue.put_off(first, not_before=clock.now, blames_picture=False)
    outbox.queue.put_off(second, not_before=None, blames_picture=False)
    assert outbox.queue.next_due(untried=True) is None
    outbox.catalog.record([taken("old/" + name(-50))])
    assert outbox.queue.next_due(untried=True) == 0
    assert [outbox.queue.claim_canary()[0].path for _ in range(3)] == ["old/" + name(-50), second.path, first.path]


def test_nothing_due_is_no_canary(outbox, clock):
    assert outbox.queue.claim_canary() == []
    outbox.queue.postpone(bring(outbox, State.UPLOADING), "later", not_before=clock.now + 1)
    assert outbox.queue.claim_canary() == []


# --- outcomes ----------------------------------------------------------------------------------------------------


def test_a_confirmed_picture_has_its_receipt_and_waits_for_nothing(outbox, clock):
    picture = bring(outbox, State.UPLOADING)
    clock.now += 5
    assert outbox.queue.confirm(picture, "a" * 32, "stored")
    after = outbox.at(NAME)
    assert (after.receipt_md5, after.uploaded_at, after.reason, after.not_before) == ("a" * 32, clock.now, None, None)
    assert outbox.last_upload() == clock.now


def test_a_receipt_of_other_bytes_is_a_bug_and_leaves_the_picture_as_it_was(outbox, path):
    picture = bring(outbox, State.UPLOADING)
    before = everything(path)
    for receipt in ("b" * 32, "A" * 32, "", None):
        with pytest.raises(sqlite3.IntegrityError):
            outbox.queue.confirm(picture, receipt, "stored", accepted_by=HERE)
    assert everything(path) == before
    assert outbox.destinations.accepted() == 0


def test_a_refusal_that_is_not_charged_keeps_the_picture_waiting_and_nothing_counts_against_it(outbox, clock):
    outbox.queue.refuse(bring(outbox, State.UPLOADING), "full", not_before=clock.now + 9, blames_picture=False)
    after = outbox.at(NAME)
    assert (after.state, after.attempts, after.misses, after.reason) == (State.PENDING, 0, 0, "full")
    assert (after.not_before, after.failed_since, after.refused_after) == (clock.now + 9, 0, 0)


def test_tries_that_fail_are_counted_and_dated_by_the_pictures_that_were_taken(outbox, clock):
    take(outbox, 9)
    outbox.catalog.record([taken()])
    outbox.queue.put_off(outbox.queue.claim(1)[0], not_before=None, blames_picture=False)
    assert (outbox.at(NAME).misses, outbox.at(NAME).failed_since, outbox.at(NAME).not_before) == (0, 1, None)
    outbox.queue.put_off(outbox.queue.claim(1)[0], not_before=clock.now, blames_picture=True)
    outbox.queue.postpone(outbox.queue.claim(1)[0], "doubt", not_before=clock.now)
    take(outbox, 10)
    outbox.queue.refuse(outbox.queue.claim(1)[0], "odd", not_before=clock.now)
    after = outbox.at(NAME)
    assert (after.misses, after.failed_since, after.refused_after, after.attempts) == (3, 1, 2, 0)


def test_refusals_are_counted_and_the_last_one_rejects(outbox, clock):
    outbox.catalog.record([taken()])
    for count in (1, 2):
        (picture,) = outbox.queue.claim(1)
        outbox.queue.refuse(picture, "too odd", not_before=clock.now, charge=1)
        assert (outbox.at(NAME).attempts, outbox.at(NAME).reason) == (count, "too odd")
    (picture,) = outbox.queue.claim(1)
    outbox.queue.refuse(picture, "too odd", not_before=clock.now, charge=1, last=True)
    after = outbox.at(NAME)
    assert (after.state, after.attempts, after.not_before) == (State.REJECTED, 3, clock.now + REOFFER_AFTER)


def test_a_refused_picture_is_offered_again_after_a_week_and_starts_from_nought(outbox, clock):
    bring(outbox, REFUSED)
    bring(outbox, State.REJECTED, name(1))
    clock.now += REOFFER_AFTER - 1
    assert outbox.queue.reoffer() == 0
    clock.now += 1
    assert outbox.queue.reoffer() == 1
    picture = outbox.at(NAME)
    assert untried(picture)
    assert outbox.at(name(1)).state is State.REJECTED


def test_after_the_clock_was_set_back_a_refused_picture_does_not_wait_for_years(outbox, clock):
    bring(outbox, REFUSED)
    clock.now -= 1
    assert outbox.queue.reoffer() == 1


def test_released_pictures_are_as_they_were(outbox, clock):
    outbox.catalog.record([taken()])
    outbox.queue.refuse(outbox.queue.claim(1)[0], "busy", not_before=clock.now)
    before = outbox.at(NAME)
    outbox.queue.release(outbox.queue.claim(1)[0])
    assert outbox.at(NAME) == before
    outbox.queue.release(outbox.queue.claim(1)[0], not_before=clock.now + 30)
    assert outbox.at(NAME) == before._replace(not_before=clock.now + 30)


def test_a_retried_picture_is_due_now(outbox, clock):
    outbox.queue.postpone(bring(outbox, State.UPLOADING), "later", not_before=clock.now + 30)
    assert outbox.queue.retry(outbox.at(NAME))
    assert (outbox.queue.next_due(), outbox.at(NAME).reason) == (0, None)


def test_a_verb_on_a_picture_that_moved_on_since_it_was_read_does_nothing(outbox):
    picture = bring(outbox, State.PENDING)
    outbox.queue.claim(1)
    outbox.queue.confirm(picture, "a" * 32, "stored")
    assert not outbox.queue.retry(picture)
    assert not outbox.retention.mark_removed(picture, "removed from the card")
    assert (outbox.at(NAME).state, outbox.at(NAME).removed_at) == (State.UPLOADED, None)


# --- the destination ---------------------------------------------------------------------------------------------


def test_a_destination_that_was_never_asked_is_unknown(outbox):
    assert outbox.destination(THERE) == Destination(THERE)
    assert outbox.destination(HERE) == Destination(HERE)


def test_how_a_destination_answered_is_remembered_and_its_wait_can_be_ended(outbox, path):
    said = Destination(HERE, DestinationState.UNREACHABLE, "no disk", 123.5, 4)
    outbox.destinations.update(said)
    with Outbox(path, longest_wait=LONGEST_WAIT) as another:
        assert another.destination(HERE) == said
        another.destinations.end_wait()
    assert outbox.destination(HERE) == said._replace(retry_at=None)


ENDED_BY_THE_NETWORK = {(DestinationState.UNREACHABLE, False), (DestinationState.NOT_AN_API, False)}
"""States of a destination, and whether it answered itself"""


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("state", DestinationState)
def test_a_network_that_is_back_ends_the_wait_for_what_may_have_been_its_own_trouble(outbox, clock, state, answered):
    said = Destination(HERE, state, "why", clock.now + 1000, 9, answered=answered)
    elsewhere = Destination("https://elsewhere", DestinationState.UNREACHABLE, "why", clock.now + 1000, 9)
    outbox.destinations.change(elsewhere.url, lambda _: True)
    outbox.destinations.update(elsewhere)
    outbox.destinations.change(HERE, lambda _: True)
    outbox.destinations.update(said)
    outbox.destinations.end_wait_for_network()
    ended = (state, answered) in ENDED_BY_THE_NETWORK
    assert outbox.destination(HERE) == (said._replace(retry_at=None) if ended else said)
    assert outbox.destination(elsewhere.url) == elsewhere


def take(outbox, number, url=HERE):
    """Have the destination take a picture."""
    outbox.queue.confirm(bring(outbox, State.UPLOADING, name(number)), "a" * 32, "stored", accepted_by=url)


def test_only_what_the_configured_destination_took_counts_as_accepted(outbox):
    assert outbox.destinations.accepted() == 0
    outbox.queue.confirm(bring(outbox, State.UPLOADING), "a" * 32, "held already")
    assert outbox.destinations.accepted() == 0
    take(outbox, 1)
    assert outbox.destinations.accepted() == 1
    outbox.destinations.change(THERE, lambda _: False)
    assert outbox.destinations.accepted() == 0
    take(outbox, 2, THERE)
    outbox.destinations.change(HERE, lambda _: False)
    assert outbox.destinations.accepted() == 1


def test_with_no_destination_yet_nothing_was_accepted(path):
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        assert outbox.destinations.accepted() == 0


def test_different_pictures_refused_since_another_was_taken_are_counted(outbox, clock):
    outbox.catalog.record([taken(name(number)) for number in range(3)] + [taken("copy/" + name(0))])
    for picture in outbox.queue.claim(3) + outbox.queue.claim(1):
        outbox.queue.refuse(picture, "no", not_before=clock.now + 9)
    pictures = [outbox.at(name(number)) for number in range(4)]
    assert [outbox.destinations.others_refused(picture) for picture in pictures[:3]] == [2, 2, 2]
    outbox.destinations.forget_refusals()
    assert [outbox.destinations.others_refused(picture) for picture in pictures[:3]] == [0, 0, 0]
    clock.now += 9
    outbox.queue.refuse(outbox.queue.claim(1)[0], "no", not_before=clock.now + 9)
    assert outbox.destinations.others_refused(pictures[0]) == 1
    take(outbox, 9)
    assert outbox.destinations.others_refused(pictures[0]) == 0


def test_only_pictures_that_never_failed_before_the_last_one_was_taken_tell_of_the_destination(outbox, clock):
    outbox.catalog.record([taken(name(number)) for number in range(3)] + [taken("copy/" + name(0))])
    assert outbox.destinations.lately_failed() == 0
    for picture in outbox.queue.claim(3) + outbox.queue.claim(1):
        outbox.queue.put_off(picture, not_before=clock.now + 9, blames_picture=False)
    assert outbox.destinations.lately_failed() == 3
    take(outbox, 9)
    assert outbox.destinations.lately_failed() == 0
    clock.now += 9
    for picture in outbox.queue.claim(3):
        outbox.queue.put_off(picture, not_before=clock.now, blames_picture=False)
    assert outbox.destinations.lately_failed() == 0


def test_the_same_destination_again_changes_nothing(outbox, path):
    bring(outbox, State.UPLOADED)
    before = everything(path)
    assert outbox.destinations.change(HERE, lambda _: True) == 0
    assert everything(path) == before


def test_the_first_destination_is_no_change(path):
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        bring(outbox, State.UPLOADED)
        assert outbox.destinations.change(HERE, lambda _: True) == 0
        assert outbox.at(NAME).state is State.UPLOADED


def test_pictures_whose_file_is_gone_keep_their_receipt_there_and_back_again(outbox):
    bring(outbox, State.UPLOADED)
    bring(outbox, State.UPLOADED, name(1))
    here = {name(1)}
    assert outbox.destinations.change(THERE, here.__contains__) == 1
    assert (outbox.at(NAME).state, outbox.at(NAME).receipt_md5) == (State.UPLOADED, "a" * 32)
    outbox.queue.confirm(outbox.queue.claim(1)[0], "a" * 32, "stored")
    assert outbox.destinations.change(HERE, here.__contains__) == 1
    assert (outbox.at(NAME).state, outbox.at(name(1)).state) == (State.UPLOADED, State.PENDING)
    assert outbox.destinations.change(HERE, here.__contains__) == 0


def test_refusals_and_waits_of_the_last_destination_do_not_count_at_the_next(outbox, clock):
    outbox.queue.refuse(bring(outbox, State.UPLOADING), "too odd", not_before=clock.now + 60, charge=1)
    outbox.destinations.change(THERE, lambda _: True)
    assert untried(outbox.at(NAME))


def test_a_destination_that_was_in_trouble_when_it_was_left_is_asked_at_once_when_it_is_back(outbox, clock):
    outbox.destinations.update(Destination(HERE, DestinationState.UNREACHABLE, "no disk", clock.now + 60, 4))
    outbox.destinations.change(THERE, lambda _: True)
    outbox.destinations.change(HERE, lambda _: True)
    assert outbox.destination(HERE).retry_at is None


# --- what it says of itself --------------------------------------------------------------------------------------


def test_every_state_is_counted_and_pictures_are_listed_by_time(outbox):
    for number, start in enumerate(reversed(State)):
        bring(outbox, start, name(number))
    assert outbox.counts() == dict.fromkeys(State, 1)
    assert [picture.path for picture in outbox.pictures()] == [name(number) for number in range(6)]
    assert [picture.state for picture in outbox.pictures([State.LOST])] == [State.LOST]
    assert outbox.oldest_pending() == outbox.at(name(4)).datetime
    assert [picture.path for picture in outbox.named(name(3))] == [name(3)]


# --- one after the other, and at once ----------------------------------------------------------------------------


def child(script, *arguments):
    """Start another process with the packages that this one has."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, env=environment)


CLAIM_AND_HANG = """
import sys, time
from sticky_pi_uploader.outbox import Outbox
with Outbox(sys.argv[1], longest_wait=1800) as outbox:
    print(len(outbox.queue.claim(2)), flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_had_claimed_is_given_back(outbox, path):
    outbox.catalog.record([taken(name(number)) for number in range(3)])
    with child(CLAIM_AND_HANG, path) as process:
        assert process.stdout.readline() == b"2\n"
        process.send_signal(signal.SIGKILL)
    assert outbox.counts()[State.UPLOADING] == 2
    assert outbox.queue.recover() == 2
    assert (outbox.counts()[State.PENDING], outbox.queue.recover()) == (3, 0)
    assert whys(outbox, name(2))[-1] == "broken off while it was being sent"
    assert len(outbox.queue.claim(3)) == 3


RETRY_OFTEN = """
import sys
from sticky_pi_uploader.models import State
from sticky_pi_uploader.outbox import Outbox
for _ in range(20):
    with Outbox(sys.argv[1], longest_wait=1800) as outbox:
        for picture in outbox.pictures([State.PENDING, State.CONFLICT, State.REJECTED, State.LOST]):
            outbox.queue.retry(picture)
        outbox.destinations.end_wait()
"""


def test_pictures_retried_by_another_process_while_they_are_sent_are_sent_once(outbox, path):
    outbox.catalog.record([taken(name(number)) for number in range(40)])
    sent = []
    with child(RETRY_OFTEN, path) as process:
        while process.poll() is None or outbox.queue.next_due() is not None:
            for picture in outbox.queue.claim(3):
                outbox.queue.refuse(picture, "busy", not_before=0)
            for picture in outbox.queue.claim(2):
                assert outbox.queue.confirm(picture, picture.md5, "stored")
                sent.append(picture.path)
    assert process.returncode == 0
    assert sorted(sent) == [name(number) for number in range(40)]
    assert outbox.counts()[State.UPLOADED] == 40


def test_what_another_process_writes_is_noticed_once_and_its_own_writing_is_not(outbox, path):
    assert not outbox.changed_by_another()
    outbox.catalog.record([taken()])
    assert not outbox.changed_by_another()
    with Outbox(path, longest_wait=LONGEST_WAIT) as another:
        another.queue.retry(another.at(NAME))
    assert outbox.changed_by_another()
    assert not outbox.changed_by_another()


def test_threads_share_one_outbox_and_no_step_is_lost(outbox):
    numbers = range(30)
    problems = []
    deadline = time.monotonic() + PATIENCE

    def record():
        for number in numbers:
            outbox.catalog.record([taken(name(number))])
            outbox.catalog.in_folder("")

    def send():
        sent = 0
        while sent < len(numbers):
            assert time.monotonic() < deadline
            for picture in outbox.queue.claim(4):
                sent += outbox.queue.confirm(picture, picture.md5, "stored", accepted_by=HERE)

    def watched(work):
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # it is the test's to tell
            problems.append(error)

    threads = [threading.Thread(target=watched, args=[work]) for work in (record, send)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert outbox.counts()[State.UPLOADED] == len(numbers)


def test_what_was_recorded_is_there_after_closing_and_opening_again(outbox, path):
    bring(outbox, State.UPLOADED)
    before = everything(path)
    outbox.close()
    with Outbox(path, longest_wait=LONGEST_WAIT):
        assert everything(path) == before


# --- durability --------------------------------------------------------------------------------------------------


def synchronous(outbox):
    return outbox.database.connection.execute("PRAGMA synchronous").fetchone()[0]


EXTRA = 3


def test_commits_are_flushed_to_the_disk_after_a_claim_too(outbox):
    assert outbox.database.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert synchronous(outbox) == EXTRA
    outbox.catalog.record([taken()])
    (picture,) = outbox.queue.claim(1)
    assert synchronous(outbox) == EXTRA
    outbox.queue.release(picture)
    assert synchronous(outbox) == EXTRA


SMALL, LARGE = 100, 3000


@pytest.mark.parametrize(
    "verb",
    [
        lambda outbox: [outbox.queue.release(picture) for picture in outbox.queue.claim(20)],
        lambda outbox: outbox.queue.next_due(),
        lambda outbox: outbox.queue.next_due(untried=True),
        lambda outbox: outbox.queue.end_impossible_waits(),
        lambda outbox: outbox.queue.reoffer(),
    ],
    ids=["claim", "next_due", "next_due untried", "end_impossible_waits", "reoffer"],
)
def test_what_is_asked_for_each_batch_costs_no_more_with_many_that_wait(outbox, verb):
    def cost():
        steps = []
        outbox.database.connection.set_progress_handler(lambda: steps.append(1), 10)
        verb(outbox)
        outbox.database.connection.set_progress_handler(None, 0)
        return len(steps)

    outbox.catalog.record([taken(name(number), f"{number:032x}") for number in range(SMALL)])
    few = cost()
    outbox.catalog.record([taken(name(number), f"{number:032x}") for number in range(SMALL, LARGE)])
    assert cost() < 2 * few + 20


EVERY_VERB = """
import sys
from sticky_pi_uploader.models import Fingerprint, Hold, HoldCause, Taken
from sticky_pi_uploader.outbox import Outbox

def taken(minute, md5="a" * 32):
    name, time = f"1b74105a.2020-07-05_10-{minute:02}-00.jpg", f"2020-07-05T10:{minute:02}:00Z"
    return Taken(name, Fingerprint(1, 1, 1), "here", "1b74105a", time, md5)

with Outbox(sys.argv[1], longest_wait=1800) as outbox:
    def say(verb, *results):
        print(verb, flush=True)

    say("begin", outbox.destinations.change("file:///here", lambda _: True))
    say("record", outbox.catalog.record([taken(minute) for minute in range(8)]))
    say("claim", claimed := outbox.queue.claim(8))
    say("release", outbox.queue.release(claimed[0]))
    say("confirm", outbox.queue.confirm(claimed[1], "a" * 32, "stored"))
    say("refuse", outbox.queue.refuse(claimed[2], "no", not_before=0))
    say("clash", outbox.queue.clash(claimed[3], "held"))
    say("postpone", outbox.queue.postpone(claimed[4], "doubt", not_before=0))
    say("recheck", outbox.queue.recheck(claimed[5], "changed", not_before=0))
    say("lose", outbox.catalog.lose(claimed[3]))
    say("unconfirm", outbox.retention.unconfirm(claimed[1], "gone"))
    say("recover", outbox.queue.recover())
    say("record_hold", outbox.queue.record_hold(Hold(HoldCause.BATTERY, "low", 1.0, None)))
"""


def test_what_must_survive_a_power_cut_is_flushed_and_what_need_not_is_not(path, tmp_path):
    calls = flushes(tmp_path / "log", EVERY_VERB, path)
    flushed, seen = {}, False
    for call, what in calls:
        if call == "say":
            flushed[what], seen = seen, False
        seen = seen or (call, what) == ("flush", f"{path}-wal")
    assert {verb for verb, is_flushed in flushed.items() if not is_flushed} == {"claim", "release"}
    assert len(flushed) == 12


def test_a_hold_is_kept_until_another_or_none_is_recorded(outbox, path):
    first, second = (Hold(cause, "why", 1.5, until) for cause, until in zip(HoldCause, (9.0, None), strict=True))
    assert outbox.hold() is None
    for hold in (first, second, second, None, None, first):
        outbox.queue.record_hold(hold)
        assert outbox.hold() == hold
        with OutboxReader.open_readonly(path) as reader:
            assert reader.hold() == hold
    outbox.inspect()


@pytest.mark.parametrize("damage", ["cause = 'rain'", "since = 'now'", "until = x'00'", "reason = x'00'"])
def test_a_hold_that_cannot_be_is_damage(outbox, damage):
    outbox.queue.record_hold(Hold(HoldCause.HOURS, "why", 1.5, 9.0))
    outbox.database.connection.execute(f"UPDATE hold SET {damage}")
    with pytest.raises(OutboxDamagedError):
        outbox.hold()
    with pytest.raises(OutboxDamagedError):
        outbox.inspect()


def test_in_a_hold_only_what_a_person_asked_for_is_due_and_claimed_in_any_order(outbox, clock):
    outbox.catalog.record([taken(name(number)) for number in range(6)])
    outbox.queue.is_held = True
    assert (outbox.queue.next_due(), outbox.queue.claim(9), outbox.queue.claim_canary()) == (None, [], [])
    for number in (1, 3):
        outbox.queue.retry(outbox.at(name(number)))
    outbox.queue.postpone(outbox.queue.claim(1)[0], "later", not_before=clock.now + 30)
    assert outbox.queue.next_due() == 0
    assert [picture.path for picture in outbox.queue.claim_canary()] == [name(1)]
    assert (outbox.queue.next_due(), outbox.queue.claim(9)) == (30, [])
    outbox.queue.confirm(outbox.at(name(1)), outbox.at(name(1)).md5, "stored")
    outbox.queue.is_held = False
    assert len(outbox.queue.claim(9)) == 4


def test_in_a_hold_the_pictures_that_wait_are_not_read(outbox):
    outbox.catalog.record([taken(name(number)) for number in range(500)])
    outbox.queue.is_held, steps = True, []
    outbox.database.connection.set_progress_handler(lambda: steps.append(1), 10)
    try:
        assert outbox.queue.next_due() is None
    finally:
        outbox.database.connection.set_progress_handler(None, 0)
    assert len(steps) < 10


def test_commits_are_flushed_to_the_disk_after_a_claim_that_failed(outbox, path):
    outbox.catalog.record([taken()])
    outbox.database.connection.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON pictures BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    before = everything(path)
    with pytest.raises(sqlite3.IntegrityError):
        outbox.queue.claim(1)
    assert synchronous(outbox) == EXTRA
    assert not outbox.database.connection.in_transaction
    assert everything(path) == before


def test_a_claim_that_cannot_be_read_back_is_undone(outbox, path):
    outbox.catalog.record([taken()])
    outbox.database.connection.execute("UPDATE pictures SET metadata = '{'")
    before = everything(path)
    with pytest.raises(OutboxDamagedError, match="Expecting property name"):
        outbox.queue.claim(1)
    assert (synchronous(outbox), everything(path)) == (EXTRA, before)


def test_rows_that_cannot_be_are_refused_by_the_database(outbox):
    bring(outbox, State.UPLOADED)
    for assignment in (
        "state = 'sent'",
        "receipt_md5 = NULL",
        "receipt_md5 = 'b'",
        "md5 = 'b'",
        "device = NULL, state = 'pending'",
        "md5 = NULL, receipt_md5 = NULL",
        "datetime = NULL",
        "present = 2",
        "recheck = NULL",
        "file_system = NULL",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            outbox.database.connection.execute(f"UPDATE pictures SET {assignment}")
    outbox.catalog.record([taken("other/" + NAME)])
    with pytest.raises(sqlite3.IntegrityError):
        outbox.database.connection.execute("UPDATE pictures SET folder = '', name = 'a.jpg'")
    with pytest.raises(sqlite3.IntegrityError):
        outbox.database.connection.execute(
            "INSERT INTO history (picture_id, at, state, why) VALUES (99, 1, 'lost', '')"
        )


# --- the file itself ---------------------------------------------------------------------------------------------

KILLED_STEP = """
import os, signal, sys
from sticky_pi_api.sqlite import connection as sqlite
from sticky_pi_uploader.outbox.schema import MIGRATIONS
def step(db):
    if sys.argv[2] == "first":
        MIGRATIONS[0](db)
    else:
        db.execute("CREATE TABLE more (x)")
    os.kill(os.getpid(), signal.SIGKILL)
sqlite.migrate(sqlite.connect(sys.argv[1]), (step,) if sys.argv[2] == "first" else (*MIGRATIONS, step))
"""


@pytest.mark.parametrize("step", ["first", "second"])
def test_a_process_killed_within_a_step_of_the_schema_leaves_the_one_before(path, step):
    if step == "second":
        with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
            outbox.catalog.record([taken()])
    with child(KILLED_STEP, path, step) as process:
        process.wait(60)
    assert process.returncode == -signal.SIGKILL
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        assert outbox.counts()[State.PENDING] == (step == "second")
        assert outbox.database.value("SELECT count(*) FROM sqlite_master WHERE name = 'more'") == 0


def test_a_step_of_the_schema_that_fails_leaves_the_one_before(outbox):
    def half(db):
        db.execute("CREATE TABLE more (x)")
        raise KeyError("half-way")

    with pytest.raises(KeyError):
        sqlite.migrate(outbox.database.connection, (*MIGRATIONS, half))
    assert outbox.database.value("PRAGMA user_version") == len(MIGRATIONS)
    assert outbox.database.value("SELECT count(*) FROM sqlite_master WHERE name = 'more'") == 0
    outbox.catalog.record([taken()])


@pytest.mark.parametrize("steps", range(1, len(MIGRATIONS)))
def test_an_outbox_of_an_earlier_release_is_read_as_it_lies_and_keeps_its_pictures(path, steps):
    with closing(sqlite.connect(path)) as connection:
        sqlite.migrate(connection, MIGRATIONS[:steps])
        with connection:
            connection.execute(
                "INSERT INTO pictures (folder, name, device, datetime, md5, state, metadata, size, mtime_ns, inode,"
                " file_system) VALUES ('', ?, '1b74105a', ?, ?, 'pending', '{}', 1000, 1, 7, 'disk')",
                (NAME, "2020-07-05T10:07:16Z", "a" * 32),
            )
    for open_it in (OutboxReader.open_readonly, OutboxReader.open_damaged):
        with open_it(path) as reader:
            (picture,) = [*reader.pictures()]
            assert [*reader.salvage()] == [picture]
            assert picture.fingerprint == Fingerprint(1000, 1, 7, None)
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        assert [*outbox.pictures()] == [picture]
        assert outbox.catalog.at(NAME).is_unchanged(Fingerprint(1000, 1, 7, 5))
        outbox.catalog.note_ctimes({NAME: Fingerprint(1000, 1, 7, 5)})
        assert not outbox.catalog.at(NAME).is_unchanged(Fingerprint(1000, 1, 7, 6))
        outbox.catalog.note_ctimes({NAME: Fingerprint(1000, 2, 7, 6)})
        assert outbox.at(NAME).fingerprint == Fingerprint(1000, 1, 7, 5)


def test_the_outbox_of_a_newer_release_is_put_aside_and_kept(path):
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        outbox.catalog.record([taken()])
        outbox.database.connection.execute("PRAGMA user_version = 99")
    with pytest.raises(OutboxNewerError, match=r"outbox\.db was written by a newer release"):
        Outbox(path, longest_wait=LONGEST_WAIT)
    outbox, aside = open_or_rebuild(path, longest_wait=LONGEST_WAIT)
    with outbox:
        assert outbox.counts()[State.PENDING] == 0
    assert aside.path.startswith(path + ".newer-")
    assert len(everything(aside.path)[0]) == 1


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(5000)], ids=["text", "only a header"]
)
def test_a_file_that_is_no_database_is_put_aside_and_kept(path, content):
    with open(path, "wb") as file:
        file.write(content)
    with pytest.raises(OutboxDamagedError, match=f"the outbox {path} is damaged"):
        Outbox(path, longest_wait=LONGEST_WAIT)
    outbox, aside = open_or_rebuild(path, longest_wait=LONGEST_WAIT)
    with outbox:
        assert outbox.catalog.record([taken()]) == []
    assert aside.path.startswith(path + ".damaged-")
    with open(aside.path, "rb") as file:
        assert file.read() == content


def test_a_database_of_somebody_else_is_put_aside(path):
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE notes (x); PRAGMA user_version = 1;")
    connection.close()
    outbox, aside = open_or_rebuild(path, longest_wait=LONGEST_WAIT)
    with outbox:
        assert outbox.counts()[State.PENDING] == 0
    assert aside is not None


def test_what_was_put_aside_first_is_not_replaced_by_what_is_put_aside_next(path):
    # Whatever second it is when the next one is.
    taken_names = [f"{path}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(time.time() + s))}" for s in range(60)]
    for name in taken_names:
        with open(name, "wb") as file:
            file.write(b"one")
    with open(path, "wb") as file:
        file.write(b"two" * 100)
    outbox, aside = open_or_rebuild(path, longest_wait=LONGEST_WAIT)
    outbox.close()
    with open(aside.path, "rb") as file:
        assert file.read() == b"two" * 100
    assert {os.path.getsize(name) for name in taken_names} == {3}


def test_an_empty_file_is_a_new_outbox_as_after_a_power_cut(path):
    with open(path, "wb"):
        pass
    outbox, aside = open_or_rebuild(path, longest_wait=LONGEST_WAIT)
    with outbox:
        assert (aside, outbox.counts()[State.PENDING]) == (None, 0)


def test_damage_within_a_database_is_said_when_it_is_met(path):
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        outbox.catalog.record([taken(name(number)) for number in range(300)])
    with open(path, "r+b") as file:
        file.seek(file.read().rindex(b'{"temp"') // 4096 * 4096)
        file.write(b"\xa5" * 4096)
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox, pytest.raises(OutboxDamagedError, match="is damaged"):
        list(outbox.pictures())


def test_a_row_that_cannot_be_is_damage_for_those_who_only_read(outbox, path):
    outbox.catalog.record([taken()])
    outbox.database.connection.execute("UPDATE pictures SET metadata = '{'")
    with OutboxReader.open_readonly(path) as reader, pytest.raises(OutboxDamagedError, match="is damaged"):
        reader.at(NAME)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_a_state_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StateError, match="can't be used"):
        Outbox(str(tmp_path / "outbox.db"), longest_wait=LONGEST_WAIT)


def test_a_folder_in_the_outboxs_place_is_a_state_error_and_not_put_aside(tmp_path):
    (tmp_path / "outbox.db").mkdir()
    with pytest.raises(StateError, match="can't be used") as caught:
        open_or_rebuild(str(tmp_path / "outbox.db"), longest_wait=LONGEST_WAIT)
    assert not isinstance(caught.value, OutboxDamagedError)


def test_the_use_of_a_closed_outbox_is_a_bug_and_said_as_one(outbox):
    outbox.close()
    with pytest.raises(sqlite3.ProgrammingError):
        outbox.counts()


def test_the_outbox_lies_in_the_state_folder():
    assert outbox_path("/state") == "/state/outbox.db"


# --- any order of verbs ------------------------------------------------------------------------------------------

UNTRIED = {"attempts": 0, "misses": 0, "failed_since": None, "refused_after": None, "not_before": None}
PATHS = [name(0), name(0, "1B74105A"), "b/" + name(0), os.fsdecode(b"caf\xe9/") + name(0), name(1), name(2)]
CONTENTS = st.sampled_from(["a", "b", None])
NUMBERS = st.integers(0, len(PATHS) - 1)
TO_BE_SENT = (State.PENDING, State.UPLOADING, State.UPLOADED)


@dataclass
class Modelled:
    """What a picture should be."""

    number: int
    path: str
    md5: str | None = None
    state: State = State.PENDING
    attempts: int = 0
    misses: int = 0
    failed_since: int | None = None
    refused_after: int | None = None
    not_before: float | None = None
    receipt: str | None = None
    dismissed: bool = False
    removed: bool = False
    present: bool = True
    recheck: bool = False
    reason: str | None = None
    told: list[State] = field(default_factory=list)

    @property
    def key(self):
        return os.path.basename(self.path).lower()

    @property
    def time(self):
        return self.key.split(".")[1]

    def becomes(self, state, *, told=True, **values):
        self.state = state
        for attribute, value in values.items():
            setattr(self, attribute, value)
        if told:
            self.told.append(state)

    @property
    def claims_its_key(self):
        """Whether no other with its key is sent; what only another destination has is to be read before it is."""
        return self.state in TO_BE_SENT and not (self.state is State.UPLOADED and self.recheck)

    @property
    def needs_attention(self):
        return self.state in (State.CONFLICT, State.REJECTED, State.LOST) and not (self.dismissed or self.removed)

    def is_read_anew(self, state, md5, reason=None):
        fresh = {"receipt": None, "present": True, "recheck": False, "dismissed": False, "removed": False, **UNTRIED}
        if state is self.state is State.PENDING and self.md5:
            # Files stay the same here, whatever is read from them.
            fresh |= {"misses": self.misses, "not_before": self.not_before}
        self.becomes(state, md5=md5, reason=reason, **fresh)


class OutboxMachine(RuleBasedStateMachine):
    """Any verbs in any order, on a few files of which some share a key, beside a model in memory."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.url = HERE
        self.accepted = {HERE: 0, THERE: 0}
        self.model = {}
        self.open()
        self.outbox.destinations.change(HERE, lambda _: True)

    def open(self):
        self.outbox = Outbox(os.path.join(self.folder.name, "outbox.db"), longest_wait=LONGEST_WAIT, clock=self.clock)
        self.is_spread = False

    def teardown(self):
        self.outbox.close()
        self.folder.cleanup()

    def is_in_conflict(self, path, md5):
        key = os.path.basename(path).lower()
        others = (one for one in self.model.values() if one.path != path and one.key == key)
        return any(one.claims_its_key and one.md5 != md5 for one in others)

    def due(self):
        now = self.clock.now
        return [
            one
            for one in self.model.values()
            if one.state is State.PENDING
            and one.present
            and not one.recheck
            and (one.not_before is None or not now < one.not_before <= now + LONGEST_WAIT)
        ]

    def clear_the_way(self, gone):
        for one in sorted(self.model.values(), key=lambda one: one.number):
            if (one.key, one.state) == (gone.key, State.CONFLICT) and not self.is_in_conflict(one.path, one.md5):
                one.becomes(State.PENDING, reason=None, not_before=None)
                return

    def one_of(self, number, *states):
        """Choose a picture, one in these states if there is any; return its row, and what it should be."""
        ones = list(self.model.values())
        ones = [one for one in ones if one.state in states] or ones
        one = ones[number % len(ones)]
        return self.outbox.at(one.path), one

    @initialize(contents=st.lists(CONTENTS, min_size=len(PATHS), max_size=len(PATHS)))
    def record_all(self, contents):
        for path, content in zip(PATHS, contents, strict=True):
            self.record(path, content, "x")

    @rule(path=st.sampled_from(PATHS), content=CONTENTS, reason=st.sampled_from("xy"))
    def record(self, path, content, reason):
        md5 = content and content * 32
        file = taken(path, md5, rejected=None if content else reason)
        waiting = self.outbox.catalog.record([file])
        one = self.model.get(path)
        assert waiting == ([file] if one and one.state is State.UPLOADING else [])
        if waiting:
            return
        fresh = one is None
        if fresh:
            one = self.model[path] = Modelled(len(self.model), path)
        rejected_as_before = one.state is State.REJECTED and one.reason == reason
        if content is None and one.state is not State.UPLOADED and not rejected_as_before:
            one.is_read_anew(State.REJECTED, None, reason)
            if not fresh:
                self.clear_the_way(one)
        elif content and (one.md5 != md5 or one.state is State.LOST or one.recheck):
            one.is_read_anew(State.CONFLICT if self.is_in_conflict(path, md5) else State.PENDING, md5)
        else:
            one.present, one.recheck, one.removed = True, False, False

    @rule(spread=st.booleans())
    def set_order(self, spread):
        self.outbox.queue.set_order(spread=spread)
        self.is_spread = spread

    def is_newest_next(self):
        return not self.is_spread or self.accepted[self.url] % NEWEST_EVERY == 0

    @rule(most=st.integers(1, 4))
    def claim(self, most):
        due = self.due()
        claimed = [self.model[picture.path] for picture in self.outbox.queue.claim(most)]
        assert all(one in due for one in claimed)
        assert bool(due) == bool(claimed)
        assert len(claimed) <= most
        assert len({one.key for one in claimed}) == len(claimed)
        if claimed and self.is_newest_next():
            assert claimed[0].time == max(one.time for one in due)
        for one in claimed:
            one.becomes(State.UPLOADING, told=False)

    @rule()
    def claim_canary(self):
        due = sorted(self.due(), key=lambda one: one.number)
        due.sort(key=lambda one: one.time, reverse=True)
        waits = {one.path: (one.failed_since is not None, one.not_before or 0) for one in due}
        due.sort(key=lambda one: waits[one.path])
        claimed = [self.model[picture.path] for picture in self.outbox.queue.claim_canary()]
        assert [waits[one.path] for one in claimed] == [waits[one.path] for one in due[:1]]
        if self.is_newest_next():
            assert claimed == due[:1]
        for one in claimed:
            one.becomes(State.UPLOADING, told=False)

    @rule(number=NUMBERS)
    def confirm(self, number):
        picture, one = self.one_of(number, State.UPLOADING)
        done = self.outbox.queue.confirm(picture, picture.md5 or "", "stored", accepted_by=self.url)
        assert done == (one.state is State.UPLOADING)
        if done:
            one.becomes(State.UPLOADED, receipt=one.md5, not_before=None, reason=None, dismissed=False)
            self.accepted[self.url] += 1

    def fails(self, one, state, *, missed=True, told=True, **values):
        since = self.accepted[self.url] if one.failed_since is None else one.failed_since
        one.becomes(state, told=told, failed_since=since, misses=one.misses + missed, **values)

    @rule(number=NUMBERS, wait=st.integers(1, 2000), charge=st.integers(0, 2), missed=st.booleans(), last=st.booleans())
    def refuse(self, number, wait, charge, missed, last):
        picture, one = self.one_of(number, State.UPLOADING)
        now = self.clock.now
        charge = charge or int(last)
        done = self.outbox.queue.refuse(
            picture, "no", not_before=now + wait, charge=charge, blames_picture=missed, last=last
        )
        assert done == (one.state is State.UPLOADING)
        if done:
            self.fails(
                one,
                State.REJECTED if last else State.PENDING,
                missed=missed,
                attempts=one.attempts + charge,
                refused_after=self.accepted[self.url],
                not_before=now + (REOFFER_AFTER if last else wait),
                reason="no",
            )

    @rule(number=NUMBERS, missed=st.booleans(), wait=st.none() | st.integers(0, 2000))
    def put_off(self, number, missed, wait):
        picture, one = self.one_of(number, State.UPLOADING)
        until = {} if wait is None else {"not_before": self.clock.now + wait}
        done = self.outbox.queue.put_off(picture, **{"not_before": None} | until, blames_picture=missed)
        assert done == (one.state is State.UPLOADING)
        if done:
            self.fails(one, State.PENDING, missed=missed, told=False, **until)

    @rule(number=NUMBERS)
    def postpone(self, number):
        picture, one = self.one_of(number, State.UPLOADING)
        until = self.clock.now + 30
        done = self.outbox.queue.postpone(picture, "doubt", not_before=until)
        assert done == (one.state is State.UPLOADING)
        if done:
            self.fails(one, State.PENDING, not_before=until, reason="doubt")

    @rule(number=NUMBERS, wait=st.integers(0, 2000))
    def recheck(self, number, wait):
        picture, one = self.one_of(number, State.UPLOADING)
        until = self.clock.now + wait
        done = self.outbox.queue.recheck(picture, "why", not_before=until)
        assert done == (one.state is State.UPLOADING)
        if done:
            one.becomes(State.PENDING, recheck=True, misses=one.misses + 1, not_before=until, reason="why")

    @rule(number=NUMBERS, verb=st.sampled_from(["clash", "release"]))
    def give_back(self, number, verb):
        picture, one = self.one_of(number, State.UPLOADING)
        why = [] if verb == "release" else ["why"]
        done = getattr(self.outbox.queue, verb)(picture, *why)
        assert done == (one.state is State.UPLOADING)
        if done:
            one.becomes(State.CONFLICT if verb == "clash" else State.PENDING, told=bool(why))

    @rule(number=NUMBERS, verb=st.sampled_from(["unconfirm", "contradict"]))
    def take_receipt_back(self, number, verb):
        picture, one = self.one_of(number, State.UPLOADED)
        done = getattr(self.outbox.retention, verb)(picture, "why")
        assert done == (one.state is State.UPLOADED)
        if done:
            untried = UNTRIED if verb == "unconfirm" else {}
            state = State.PENDING if verb == "unconfirm" else State.CONFLICT
            one.becomes(state, receipt=None, recheck=True, reason="why", **untried)

    @rule()
    def forget_refusals(self):
        self.outbox.destinations.forget_refusals()
        for one in self.model.values():
            if one.state is State.PENDING and one.refused_after == self.accepted[self.url]:
                one.refused_after = None

    @rule()
    def end_impossible_waits(self):
        self.outbox.queue.end_impossible_waits()
        for one in self.model.values():
            if one.state is State.PENDING and (one.not_before or 0) > self.clock.now + LONGEST_WAIT:
                one.not_before = None

    @rule()
    def recover(self):
        claimed = [one for one in self.model.values() if one.state is State.UPLOADING]
        assert self.outbox.queue.recover() == len(claimed)
        for one in claimed:
            one.becomes(State.PENDING)

    @rule()
    def reoffer(self):
        now = self.clock.now
        due = [
            one
            for one in self.model.values()
            if one.state is State.REJECTED and one.attempts and not now < one.not_before <= now + REOFFER_AFTER
        ]
        assert self.outbox.queue.reoffer() == len(due)
        for one in due:
            one.becomes(State.PENDING, **UNTRIED)

    @rule(number=NUMBERS)
    def lose(self, number):
        picture, one = self.one_of(number, State.PENDING, State.CONFLICT, State.REJECTED)
        done = self.outbox.catalog.lose(picture)
        assert bool(done) == (one.state in (State.PENDING, State.CONFLICT, State.REJECTED))
        if one.state is State.REJECTED and not one.attempts and set(one.told) == {State.REJECTED}:
            one.becomes(State.REJECTED, recheck=False, removed=True)
        elif done:
            one.becomes(State.LOST, not_before=None, recheck=False, present=False, dismissed=False)
            self.clear_the_way(one)

    @rule(number=NUMBERS)
    def retry(self, number):
        picture, one = self.one_of(number, State.PENDING, State.CONFLICT, State.REJECTED, State.LOST)
        done = self.outbox.queue.retry(picture)
        assert done == (one.state not in (State.UPLOADING, State.UPLOADED))
        if not done:
            return
        if one.state in (State.PENDING, State.CONFLICT):
            recheck = one.recheck or not one.present
            one.becomes(State.PENDING, not_before=None, reason=None, dismissed=False, recheck=recheck)
        else:
            one.becomes(one.state, recheck=True, dismissed=False)

    @rule(number=NUMBERS)
    def dismiss(self, number):
        picture, one = self.one_of(number, State.CONFLICT, State.REJECTED, State.LOST)
        done = self.outbox.catalog.dismiss(picture)
        assert done == (one.needs_attention)
        if done:
            one.becomes(one.state, dismissed=True)

    @rule(path=st.sampled_from(PATHS), present=st.booleans())
    def set_present(self, path, present):
        self.outbox.catalog.set_present(path, present=present)
        self.model[path].present = present

    @rule(url=st.sampled_from([HERE, THERE]), here=st.sets(st.sampled_from(PATHS)))
    def change_destination(self, url, here):
        answered = [
            one
            for one in self.model.values()
            if url != self.url
            and one.path in here
            and (one.state in (State.UPLOADED, State.CONFLICT) or (one.state is State.REJECTED and one.attempts))
        ]
        assert self.outbox.destinations.change(url, here.__contains__) == len(answered)
        if url != self.url:
            for one in self.model.values():
                if one.state is State.PENDING:
                    one.becomes(State.PENDING, told=False, **UNTRIED)
        for one in answered:
            one.becomes(State.PENDING, receipt=None, reason=None, dismissed=False, **UNTRIED)
        for one in self.model.values():
            one.recheck |= url != self.url and one.state is State.UPLOADED
        self.url = url

    @rule(seconds=st.sampled_from([-86400, -60, 1, 60, 1800, REOFFER_AFTER]))
    def wait(self, seconds):
        self.clock.now += seconds

    @rule()
    def open_again(self):
        self.outbox.close()
        self.open()

    @invariant()
    def each_picture_is_what_the_model_says(self):
        shared = ("md5", "state", *UNTRIED)
        found = {
            picture.path: ([getattr(picture, each) for each in shared], picture.receipt_md5)
            for picture in self.outbox.pictures()
        }
        assert found == {
            one.path: ([getattr(one, each) for each in shared], one.receipt) for one in self.model.values()
        }

    @invariant()
    def what_needs_attention_is_known(self):
        needing = sum(one.needs_attention for one in self.model.values())
        assert self.outbox.catalog.count_to_look_at() == needing
        assert sum(picture.needs_attention for picture in self.outbox.pictures()) == needing

    @invariant()
    def the_evidence_is_what_the_model_says(self):
        now = self.accepted[self.url]
        to_be_sent = [one for one in self.model.values() if one.state in (State.PENDING, State.UPLOADING)]
        assert self.outbox.destinations.accepted() == now
        assert self.outbox.destinations.lately_failed() == len(
            {one.key for one in to_be_sent if one.failed_since == now}
        )
        for path, one in self.model.items():
            refused = {other.key for other in to_be_sent if other.refused_after == now} - {one.key}
            if one.state in TO_BE_SENT:
                assert self.outbox.destinations.others_refused(self.outbox.at(path)) == len(refused)

    @invariant()
    def each_picture_has_its_history(self):
        for picture in self.outbox.pictures():
            assert [event.state for event in self.outbox.history(picture)] == self.model[picture.path].told

    @invariant()
    def what_is_due_is_known(self):
        due = self.due()
        assert (self.outbox.queue.next_due() == 0) == bool(due)
        assert (self.outbox.queue.next_due(untried=True) == 0) == any(one.failed_since is None for one in due)


OutboxMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None, derandomize=True)
TestAnyOrderOfVerbs = OutboxMachine.TestCase
