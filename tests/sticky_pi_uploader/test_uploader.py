import logging
import os
import sqlite3
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import DamagedImageError, ImageChangedError, StoreError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.types import ImageOutcome, Outcome
from sticky_pi_uploader.exceptions import StateError
from sticky_pi_uploader.hints import Hint, Hints
from sticky_pi_uploader.models import Candidate, Destination, DestinationState, Fingerprint, State, Taken
from sticky_pi_uploader.outbox import REOFFER_AFTER, Outbox
from sticky_pi_uploader.retry import LONGEST_WAIT
from sticky_pi_uploader.scan import fingerprint_of
from sticky_pi_uploader.thumbnails import ThumbnailFolder, Thumbnails
from sticky_pi_uploader.uploader import BATCH, DOUBTFUL_WAIT, PERIOD, Uploader

HERE = "file:///here"
STARTED = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names
THUMBNAILS = Thumbnails(b"\xff\xd8large\xff\xd9", b"\xff\xd8mini\xff\xd9")
OTHER = "f" * 32


def name(number):
    return f"1b74105a.{STARTED + timedelta(minutes=20 * number):%Y-%m-%d_%H-%M-%S}.jpg"


def md5(number):
    return f"{number:032x}"


class FakeClient:
    """Gives the answers that it is told to, one a picture, and then takes every picture.

    An answer is an Outcome, an (Outcome, error or md5) pair, or an exception, which `put_images` raises.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        self.files = []
        self.opened = self.closed = 0

    def open(self):
        self.opened += 1
        return self

    def put_images(self, files, *, on_outcome):
        self.calls.append([os.path.basename(file.path) for file in files])
        self.files += files
        for file in files:
            answer = self.answers.pop(0) if self.answers else Outcome.STORED
            if isinstance(answer, BaseException):
                raise answer
            outcome, more = answer if isinstance(answer, tuple) else (answer, None)
            on_outcome(self.outcome(file, outcome, more))
        return []

    def outcome(self, file, outcome, more):
        error = more if isinstance(more, Exception) else None
        has_row = outcome in (Outcome.STORED, Outcome.HELD, Outcome.CONFLICT) and more != "no row"
        return ImageOutcome(file.path, outcome, {"md5": more or file["md5"]} if has_row else None, error)

    def close(self):
        self.closed += 1


@pytest.fixture
def rig(tmp_path):
    """Put an uploader together; `rig.answer(…)` sets what the client answers, `rig.add(number…)` what is to be sent."""
    rig = SimpleNamespace(now=1_700_000_000.0, stopping=False, images=tmp_path / "images", client=FakeClient())
    rig.images.mkdir()
    rig.hints = Hints()
    rig.thumbnails = ThumbnailFolder(str(tmp_path / "thumbnails"))
    rig.outbox = Outbox(str(tmp_path / "outbox.db"), longest_wait=LONGEST_WAIT, clock=lambda: rig.now)
    rig.outbox.change_destination(HERE, lambda _: True)

    def make(open_client=None, stopping=None):
        return Uploader(
            rig.outbox,
            rig.thumbnails,
            rig.hints,
            image_dir=str(rig.images),
            url=HERE,
            open_client=open_client or rig.client.open,
            give_up_after=3,
            stopping=stopping or (lambda: rig.stopping),
            clock=lambda: rig.now,
        )

    def add(*numbers):
        for number in numbers:
            rig.thumbnails.keep(md5(number), THUMBNAILS)
            taken_at = (STARTED + timedelta(minutes=20 * number)).isoformat() + "Z"
            taken = Taken(name(number), Fingerprint(1, 1, 1), "disk", "1b74105a", taken_at, md5(number), {"temp": 20.5})
            rig.outbox.record([taken])

    def answer(*answers):
        rig.client.answers[:] = answers

    def was_accepted():
        """Have the destination take a picture."""
        add(99)
        rig.uploader.step()
        assert rig.outbox.at(name(99)).state is State.UPLOADED
        rig.client.calls.clear()

    rig.make, rig.add, rig.answer, rig.was_accepted = make, add, answer, was_accepted
    rig.at = lambda number: rig.outbox.at(name(number))
    rig.destination = lambda: rig.outbox.destination(HERE)
    rig.uploader = make()
    yield rig
    rig.uploader.close()
    rig.outbox.close()


@pytest.fixture
def lines(caplog):
    """Return what the uploader logged so far, as (level, message)."""
    caplog.set_level(logging.DEBUG, logger="sticky_pi_uploader.uploader")
    return lambda: [(record.levelno, record.getMessage()) for record in caplog.records]


def wait_of(rig, at):
    return at - rig.now


# --- what is sent ------------------------------------------------------------------------------------------------


def test_nothing_to_send_opens_no_client_and_waits_for_something_new(rig):
    assert rig.uploader.step() is None
    assert rig.client.opened == 0


def test_a_batch_is_sent_at_once_newest_and_oldest_in_turn_and_then_the_next(rig):
    rig.add(*range(BATCH + 2))
    assert [rig.uploader.step(), rig.uploader.step(), rig.uploader.step()] == [0, 0, None]
    first, second = rig.client.calls
    assert first[:4] == [name(BATCH + 1), name(0), name(BATCH), name(1)]
    assert (len(first), len(second)) == (BATCH, 2)
    assert (rig.client.opened, rig.uploader.sent) == (1, BATCH + 2)
    assert rig.outbox.counts()[State.UPLOADED] == BATCH + 2


def test_the_client_gets_each_picture_as_it_was_parsed(rig):
    rig.add(1)
    rig.uploader.step()
    (picture,) = rig.client.files
    assert isinstance(picture, ImageParser)
    assert dict(picture) == {
        "device": "1b74105a",
        "datetime": STARTED + timedelta(minutes=20),
        "md5": md5(1),
        "temp": 20.5,
    }
    assert (picture.path, picture.filename) == (str(rig.images / name(1)), name(1))
    assert Thumbnails(picture.thumbnail_jpeg, picture.thumbnail_mini_jpeg) == THUMBNAILS


def test_the_client_is_closed_once(rig):
    rig.uploader.close()
    rig.add(1)
    rig.uploader.step()
    rig.uploader.close()
    rig.uploader.close()
    assert (rig.client.opened, rig.client.closed) == (1, 1)


# --- the outcomes of a picture -----------------------------------------------------------------------------------


def test_stored_is_uploaded_with_its_receipt_and_one_line_says_so(rig, lines, caplog):
    rig.add(1)
    rig.uploader.step()
    picture = rig.at(1)
    assert (picture.state, picture.receipt_md5, picture.uploaded_at) == (State.UPLOADED, md5(1), rig.now)
    assert rig.outbox.history(picture)[-1].why == "stored: its md5 there is the one here"
    assert rig.outbox.accepted_since(HERE, rig.now)
    assert rig.destination() == Destination(HERE, DestinationState.OK)
    assert lines() == [(logging.INFO, f"{name(1)}: uploaded")]
    (record,) = caplog.records
    fields = {key: value for key, value in vars(record).items() if key.startswith("STICKY_PI_")}
    assert fields == {
        "STICKY_PI_IMAGE": name(1),
        "STICKY_PI_STATE": "uploaded",
        "STICKY_PI_DEVICE": "1b74105a",
        "STICKY_PI_MD5": md5(1),
    }


def test_held_is_uploaded_too_but_nothing_was_accepted_by_that(rig, lines):
    rig.add(10)
    rig.answer((Outcome.HELD, md5(10).upper()))
    rig.uploader.step()
    picture = rig.at(10)
    assert (picture.state, picture.receipt_md5) == (State.UPLOADED, md5(10))
    assert rig.outbox.history(picture)[-1].why == "held there already, with the md5 that it has here"
    assert not rig.outbox.accepted_since(HERE, 0)
    assert rig.uploader.sent == 1
    assert lines() == [(logging.INFO, f"{name(10)}: was uploaded already")]


@pytest.mark.parametrize(
    ("answer", "held"),
    [
        ((Outcome.CONFLICT, OTHER), OTHER),
        ((Outcome.CONFLICT, "no row"), "unknown"),
        ((Outcome.HELD, OTHER), OTHER),
        ((Outcome.HELD, "no row"), "unknown"),
    ],
)
def test_another_picture_under_the_key_is_a_conflict_and_never_sent_again(rig, lines, answer, held):
    rig.add(1)
    rig.answer(answer)
    rig.uploader.step()
    why = f"the destination holds another picture with this device and time (md5 {held})"
    assert (rig.at(1).state, rig.at(1).reason, rig.at(1).receipt_md5) == (State.CONFLICT, why, None)
    assert rig.destination().state is DestinationState.OK
    assert lines() == [(logging.WARNING, f"{name(1)}: not sent: {why}")]
    assert rig.uploader.step() is None
    assert len(rig.client.calls) == 1


@pytest.mark.parametrize("answer", [(Outcome.STORED, OTHER), (Outcome.STORED, "no row")])
def test_a_receipt_that_is_not_of_these_bytes_is_doubted_and_asked_for_again(rig, lines, answer):
    rig.add(1)
    rig.answer(answer)
    rig.uploader.step()
    picture = rig.at(1)
    assert (picture.state, picture.receipt_md5, picture.not_before) == (State.PENDING, None, rig.now + DOUBTFUL_WAIT)
    assert not rig.outbox.accepted_since(HERE, 0)
    assert rig.uploader.sent == 0
    why = f"the destination says that it got other bytes (md5 {OTHER})" if OTHER in answer else "no reason was given"
    assert picture.reason == why
    assert lines()[0] == (logging.WARNING, f"{name(1)}: asked for again in 30 s: {why}")


def test_a_doubtful_end_waits_half_a_minute_and_holds_the_queue(rig, lines):
    rig.add(1)
    rig.answer((Outcome.DOUBTFUL, StoreError("no answer")))
    rig.uploader.step()
    picture, destination = rig.at(1), rig.destination()
    assert (picture.state, picture.attempts, picture.reason) == (State.PENDING, 0, "no answer")
    assert picture.not_before == rig.now + DOUBTFUL_WAIT
    assert (destination.state, destination.failures) == (DestinationState.UNREACHABLE, 1)
    assert rig.uploader.step() == DOUBTFUL_WAIT
    assert [level for level, _ in lines()] == [logging.WARNING, logging.WARNING]
    rig.now += DOUBTFUL_WAIT
    rig.answer((Outcome.HELD, md5(1)))
    rig.uploader.step()
    assert rig.at(1).state is State.UPLOADED


# --- refusals ----------------------------------------------------------------------------------------------------

REFUSAL = (Outcome.REFUSED, DamagedImageError("x.jpg", "too odd"))


def test_a_refusal_is_charged_to_the_picture_when_another_was_taken_lately(rig, lines):
    rig.was_accepted()
    rig.now += PERIOD
    rig.add(1)
    rig.answer(REFUSAL)
    rig.uploader.step()
    picture = rig.at(1)
    assert (picture.state, picture.attempts, picture.reason) == (State.PENDING, 1, "too odd")
    assert 0 <= wait_of(rig, picture.not_before) <= 5
    assert rig.destination() == Destination(HERE, DestinationState.OK)
    ((level, line),) = lines()[1:]
    assert (level, line) == (
        logging.WARNING,
        f"{name(1)}: refused, tried again in {wait_of(rig, picture.not_before):.0f} s: too odd",
    )


def test_a_refusal_is_nobodys_fault_when_nothing_was_taken_lately(rig, lines):
    rig.was_accepted()
    rig.now += PERIOD + 1
    rig.add(1)
    rig.answer(REFUSAL)
    rig.uploader.step()
    picture, destination = rig.at(1), rig.destination()
    assert (picture.state, picture.attempts, picture.reason) == (State.PENDING, 0, "too odd")
    assert (destination.state, destination.reason, destination.failures) == (DestinationState.REFUSING, "too odd", 1)
    assert 0 <= wait_of(rig, destination.retry_at) <= 5
    assert [line for _, line in lines()[1:]] == [
        f"{name(1)}: refused, and no other was taken lately: too odd",
        f"the destination is refusing, tried again in {wait_of(rig, destination.retry_at):.0f} s: too odd",
    ]


def try_again(rig):
    """Let every wait pass, and take a step."""
    rig.now += LONGEST_WAIT
    return rig.uploader.step()


def test_a_picture_that_is_refused_too_often_is_rejected_and_offered_again_after_a_week(rig, lines):
    rig.was_accepted()
    rig.add(1)
    for count in (1, 2, 3):
        rig.answer(REFUSAL)
        rig.now += 60
        rig.uploader.step()
        assert rig.at(1).attempts == count
    assert (rig.at(1).state, rig.at(1).reason) == (State.REJECTED, "too odd")
    assert lines()[-1] == (logging.WARNING, f"{name(1)}: refused, given up for a week: too odd")
    assert rig.uploader.step() is None
    rig.now += REOFFER_AFTER
    assert rig.uploader.step() == 0
    assert (rig.at(1).state, rig.at(1).attempts) == (State.PENDING, 0)
    rig.uploader.step()
    assert rig.at(1).state is State.UPLOADED


def test_when_all_is_refused_one_at_a_time_is_tried_and_never_the_same_one_first(rig):
    rig.add(*range(4))
    rig.answer(*[REFUSAL] * 4)
    rig.uploader.step()
    assert rig.destination().failures == 1
    rig.client.calls.clear()
    for _ in range(5):
        rig.answer(REFUSAL)
        assert try_again(rig) == 0
    assert [len(call) for call in rig.client.calls] == [1] * 5
    assert len({call[0] for call in rig.client.calls[:4]}) == 4
    assert (rig.destination().failures, rig.outbox.counts()[State.PENDING]) == (6, 4)
    assert {picture.attempts for picture in rig.outbox.pictures()} == {0}


def test_one_bad_newest_picture_does_not_hold_up_the_others_when_nothing_was_ever_taken(rig):
    rig.add(1, 2)
    rig.outbox.set_destination(Destination(HERE, DestinationState.UNREACHABLE, "no disk", None, 1))
    rig.answer(REFUSAL)
    rig.uploader.step()
    assert rig.client.calls == [[name(2)]]
    try_again(rig)
    assert (rig.at(1).state, rig.destination().state) == (State.UPLOADED, DestinationState.OK)
    rig.answer(REFUSAL)
    rig.uploader.step()
    assert rig.at(2).attempts == 1


def test_a_picture_that_was_held_proves_nothing_while_all_is_refused(rig):
    rig.outbox.set_destination(Destination(HERE, DestinationState.REFUSING, "full", None, 4))
    rig.add(1)
    rig.answer((Outcome.HELD, md5(1)))
    rig.uploader.step()
    assert rig.at(1).state is State.UPLOADED
    assert (rig.destination().state, rig.destination().failures) == (DestinationState.REFUSING, 4)
    rig.add(2)
    rig.uploader.step()
    assert rig.destination() == Destination(HERE, DestinationState.OK)


def test_a_place_in_the_store_that_one_picture_cannot_have_does_not_hold_the_others(rig):
    rig.was_accepted()
    rig.add(1, 2)
    rig.answer((Outcome.UNSENT, StoreError("permission denied", whole_store=False)))
    rig.uploader.step()
    assert (rig.at(2).state, rig.at(2).attempts, rig.at(2).reason) == (State.PENDING, 1, "permission denied")
    assert rig.at(1).state is State.UPLOADED
    assert rig.destination().state is DestinationState.OK


# --- the destination in trouble ----------------------------------------------------------------------------------

DOWN = (Outcome.UNSENT, StoreError("the disk is full"))


def test_a_destination_that_takes_nothing_holds_the_whole_queue_with_one_wait_and_no_picture_is_touched(rig, lines):
    rig.add(1, 2, 3)
    before = list(rig.outbox.pictures())
    rig.answer(DOWN, DOWN, DOWN)
    rig.uploader.step()
    destination = rig.destination()
    assert list(rig.outbox.pictures()) == before
    assert (destination.state, destination.reason) == (DestinationState.UNREACHABLE, "the disk is full")
    assert (destination.failures, 0 <= wait_of(rig, destination.retry_at) <= 5) == (1, True)
    assert rig.uploader.step() == wait_of(rig, destination.retry_at)
    wait = f"{wait_of(rig, destination.retry_at):.0f} s"
    assert lines() == [
        (logging.WARNING, f"the destination is unreachable, tried again in {wait}: the disk is full"),
    ]


def test_waits_grow_and_one_picture_at_a_time_is_tried_until_it_works(rig):
    rig.add(*range(12))
    for failures in range(1, 5):
        rig.answer(*[DOWN] * 10)
        try_again(rig)
        destination = rig.destination()
        assert destination.failures == failures
        assert 0 <= wait_of(rig, destination.retry_at) <= 5 * 2 ** (failures - 1)
    assert [len(call) for call in rig.client.calls] == [10, 1, 1, 1]
    rig.answer()
    assert try_again(rig) == 0
    assert rig.destination() == Destination(HERE, DestinationState.OK)
    rig.uploader.step()
    assert [len(call) for call in rig.client.calls[4:]] == [1, 10]


def test_the_wait_outlives_the_process(rig):
    rig.add(1)
    rig.answer(DOWN)
    rig.uploader.step()
    anew = rig.make()
    assert anew.step() == wait_of(rig, rig.destination().retry_at) > 0
    rig.outbox.end_wait()
    anew.step()
    assert rig.at(1).state is State.UPLOADED
    anew.close()


def test_a_wait_that_no_wait_can_have_set_is_over(rig):
    rig.add(1)
    rig.outbox.set_destination(Destination(HERE, DestinationState.UNREACHABLE, "", rig.now + LONGEST_WAIT + 1, 1))
    assert rig.uploader.step() == 0
    assert rig.at(1).state is State.UPLOADED


def test_a_pictures_own_wait_counts_where_it_is_longer(rig):
    rig.add(1)
    (picture,) = rig.outbox.claim(1)
    rig.outbox.postpone(picture, "later", not_before=rig.now + 50)
    assert rig.uploader.step() == 50
    rig.outbox.set_destination(Destination(HERE, DestinationState.UNREACHABLE, "", rig.now + 80, 1))
    assert rig.uploader.step() == 80


def test_after_trouble_the_client_is_opened_anew_as_its_disk_may_be_another(rig):
    rig.add(1)
    rig.answer(DOWN)
    rig.uploader.step()
    assert (rig.client.opened, rig.client.closed) == (1, 1)
    try_again(rig)
    assert (rig.client.opened, rig.at(1).state) == (2, State.UPLOADED)


@pytest.mark.parametrize("error", [StoreError("no disk"), OSError(5, "Input/output error")])
@pytest.mark.parametrize("where", ["open", "put_images"])
def test_a_client_that_cannot_be_opened_or_fails_as_a_whole_holds_the_queue(rig, lines, where, error):
    rig.add(1, 2)

    def fail():
        raise error

    if where == "put_images":
        rig.answer(error)
    uploader = rig.make(fail if where == "open" else None)
    assert uploader.step() == 0
    assert rig.destination().state is DestinationState.UNREACHABLE
    assert rig.outbox.counts()[State.PENDING] == 2
    ((level, line),) = lines()
    assert (level, line.split(": ", 1)[1]) == (logging.WARNING, str(error))
    uploader.close()


def test_what_was_sent_before_the_client_failed_stays_sent(rig):
    rig.add(1, 2, 3)
    rig.answer(Outcome.STORED, StoreError("no disk"))
    rig.uploader.step()
    assert (rig.at(3).state, rig.outbox.counts()[State.PENDING]) == (State.UPLOADED, 2)
    assert rig.destination().state is DestinationState.UNREACHABLE


def test_a_destination_that_works_again_within_a_batch_is_no_longer_held(rig):
    rig.add(1, 2, 3)
    rig.answer(DOWN, Outcome.STORED, DOWN)
    rig.uploader.step()
    assert (rig.destination().state, rig.destination().failures) == (DestinationState.UNREACHABLE, 1)
    assert rig.outbox.counts()[State.UPLOADED] == 1


# --- files that aren't what they were ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ImageChangedError("x.jpg", "its bytes are no longer those that were parsed"), "its bytes are no longer"),
        (FileNotFoundError(2, "No such file or directory"), "can't be read: No such file"),
        (OSError(5, "Input/output error"), "can't be read: Input/output error"),
        (OSError("odd"), "odd"),
    ],
)
def test_a_file_that_is_not_what_it_was_is_read_again_before_it_is_sent(rig, lines, error, why):
    rig.add(1)
    rig.answer((Outcome.UNSENT, error))
    rig.uploader.step()
    picture = rig.at(1)
    assert (picture.state, picture.attempts) == (State.PENDING, 0)
    assert picture.reason.startswith(why)
    assert rig.hints.take() == Hint(frozenset({name(1)}))
    assert rig.outbox.known_at(name(1)).fingerprint is None
    assert rig.uploader.step() is None
    assert rig.destination().state is DestinationState.UNKNOWN
    assert lines() == [(logging.INFO, f"{name(1)}: read again before it is sent: {picture.reason}")]


# --- breaking off ------------------------------------------------------------------------------------------------


def test_a_stop_between_two_pictures_gives_back_the_rest(rig):
    rig.add(1, 2, 3)
    told = []
    uploader = rig.make(stopping=lambda: told.append(1) or len(told) == 2)
    uploader.step()
    states = [rig.at(number).state for number in (3, 1, 2)]
    assert states == [State.UPLOADED, State.UPLOADED, State.PENDING]
    assert rig.outbox.counts()[State.UPLOADING] == 0
    assert rig.destination().state is DestinationState.OK
    uploader.close()


class FullOutbox(Outbox):
    """One whose disk is full when it comes to the second receipt."""

    receipts = 0

    def confirm(self, *args, **more):
        self.receipts += 1
        if self.receipts == 2:
            raise StateError("no space left")
        return super().confirm(*args, **more)


def test_when_an_outcome_cannot_be_recorded_nothing_is_lost_and_the_next_step_asks_again(rig, tmp_path):
    rig.outbox.close()
    rig.outbox = FullOutbox(str(tmp_path / "outbox.db"), longest_wait=LONGEST_WAIT, clock=lambda: rig.now)
    rig.add(1, 2, 3)
    uploader = rig.make()
    with pytest.raises(StateError, match="no space left"):
        uploader.step()
    assert [rig.at(number).state for number in (3, 1, 2)] == [State.UPLOADED, State.UPLOADING, State.UPLOADING]
    rig.answer(Outcome.STORED, (Outcome.HELD, md5(1)))
    uploader.step()
    assert rig.client.calls[1] == [name(2), name(1)]
    assert rig.outbox.counts()[State.UPLOADED] == 3
    assert [event.why for event in rig.outbox.history(rig.at(1))] == [
        "taken in",
        "broken off while it was being sent",
        "held there already, with the md5 that it has here",
    ]
    uploader.close()


@pytest.mark.parametrize("error", [KeyError("a bug"), sqlite3.IntegrityError("a bug"), MemoryError()])
def test_a_bug_of_the_client_is_not_taken_for_an_answer(rig, error):
    rig.add(1, 2)
    rig.answer(Outcome.STORED, error)
    with pytest.raises(type(error)):
        rig.uploader.step()
    assert rig.at(2).state is State.UPLOADED
    rig.uploader.step()
    assert rig.at(1).state is State.UPLOADED


# --- with a real store -------------------------------------------------------------------------------------------


@pytest.fixture
def real(rig, tmp_path, make_trap_picture):
    """The same with a real store and real pictures; `real.take_in()` makes one and records it."""
    rig.store = tmp_path / "store"

    def take_in(keep=True):
        file = make_trap_picture(rig.images)
        parser = ImageParser(str(file))
        if keep:
            thumbnails = Thumbnails(parser.thumbnail_jpeg, parser.thumbnail_mini_jpeg)
            rig.thumbnails.keep(parser["md5"], thumbnails)
        fields = {key: value for key, value in parser.items() if key not in ("device", "datetime", "md5")}
        candidate = Candidate(file.name, fingerprint_of(file.stat()))
        rig.outbox.record(
            [
                Taken(
                    *(candidate.path, candidate.fingerprint, "disk"),
                    *(parser["device"], parser["datetime"].isoformat() + "Z", parser["md5"], fields),
                )
            ]
        )
        return file

    rig.take_in = take_in
    rig.uploader = rig.make(lambda: LocalClient(str(rig.store)))
    return rig


def held(real, file, suffix=""):
    return (real.store / "raw_images" / "1b74105a" / f"{file.name}{suffix}").read_bytes()


def test_a_picture_reaches_the_store_byte_for_byte_with_the_thumbnails_that_were_kept(real):
    file = real.take_in()
    real.uploader.step()
    picture = real.outbox.at(file.name)
    assert (picture.state, picture.receipt_md5) == (State.UPLOADED, picture.md5)
    assert held(real, file) == file.read_bytes()
    kept = real.thumbnails.find(picture.md5)
    assert Thumbnails(held(real, file, ".thumbnail"), held(real, file, ".thumbnail_mini")) == kept


def test_thumbnails_that_are_missing_are_made_again_and_kept(real):
    file = real.take_in(keep=False)
    real.uploader.step()
    picture = real.outbox.at(file.name)
    assert picture.state is State.UPLOADED
    assert held(real, file, ".thumbnail_mini") == real.thumbnails.find(picture.md5).mini


def test_thumbnails_that_cannot_be_kept_are_sent_all_the_same(real, tmp_path):
    (tmp_path / "thumbnails").write_bytes(b"")
    file = real.take_in(keep=False)
    real.uploader.step()
    assert real.outbox.at(file.name).state is State.UPLOADED
    assert len(held(real, file, ".thumbnail_mini")) > 0


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("change", ["gone", "cut short", "another"])
def test_a_file_that_changed_since_it_was_taken_in_is_read_again_and_not_stored(real, make_trap_picture, keep, change):
    file, other = real.take_in(keep), real.take_in()
    if change == "gone":
        file.unlink()
    elif change == "cut short":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        file.write_bytes(other.read_bytes())
    real.uploader.step()
    assert real.outbox.at(file.name).state is State.PENDING
    assert real.hints.take().files == {file.name}
    assert real.outbox.at(other.name).state is State.UPLOADED
    assert [row["datetime"].minute for row in rows(real)] == [27]


def rows(real):
    with LocalClient(str(real.store)) as client:
        return client.get_image_series(
            [{"device": "%", "start_datetime": STARTED, "end_datetime": STARTED + timedelta(days=9)}]
        )


def test_what_the_store_holds_already_is_uploaded_and_another_picture_a_conflict(real, make_trap_picture, tmp_path):
    same, other = real.take_in(), real.take_in()
    elsewhere = make_trap_picture(tmp_path / "elsewhere", when=STARTED + timedelta(minutes=20), seed=5)
    with LocalClient(str(real.store)) as client:
        client.put_images([str(same), str(elsewhere)])
    real.uploader.step()
    assert real.outbox.at(same.name).state is State.UPLOADED
    assert real.outbox.at(other.name).state is State.CONFLICT
    assert held(real, other) == elsewhere.read_bytes()


def test_a_store_whose_folder_is_replaced_while_it_is_held_is_used_as_it_is_then(real):
    first = real.take_in()
    real.uploader.step()
    real.uploader.close()
    os.rename(real.store, f"{real.store}.unplugged")
    real.store.write_bytes(b"no folder")
    second = real.take_in()
    real.uploader.step()
    assert real.destination().state is DestinationState.UNREACHABLE
    real.store.unlink()
    os.rename(f"{real.store}.unplugged", real.store)
    try_again(real)
    assert real.outbox.at(second.name).state is State.UPLOADED
    assert len(rows(real)) == len([first, second])
