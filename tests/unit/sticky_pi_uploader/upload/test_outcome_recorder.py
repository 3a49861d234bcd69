import logging

import pytest
from sending_rig import HERE, Rig, md5, name
from sticky_pi_api.exceptions import (
    AccountError,
    CertificateError,
    DoubtfulError,
    ImageChangedError,
    NotAnAPIError,
    RefusedError,
    TooLargeError,
    UnavailableError,
    UnreachableError,
)
from sticky_pi_api.types import Outcome
from sticky_pi_uploader.models import Destination, DestinationState, State
from sticky_pi_uploader.outbox import REOFFER_AFTER
from sticky_pi_uploader.scan_requests import ScanRequest
from sticky_pi_uploader.upload.backoff import LONGEST_WAIT
from sticky_pi_uploader.upload.outcome_policy import DOUBTFUL_WAIT, SEVERAL

OTHER = "f" * 32
REFUSED = (Outcome.REFUSED, RefusedError("status 500"))
UNREACHABLE = UnreachableError("no route to host")
DOWN = (Outcome.UNSENT, UNREACHABLE)
CHANGED = (Outcome.UNSENT, ImageChangedError("x.jpg", "its bytes are no longer those that were parsed"))
YEAR = 365 * 86400.0


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def lines(caplog):
    """Return what was logged so far, as (level, message)."""
    caplog.set_level(logging.DEBUG, logger="sticky_pi_uploader")
    return lambda: [(record.levelno, record.getMessage()) for record in caplog.records]


def refuse_until_held(rig, numbers):
    """Have a destination that took nothing lately refuse everything."""
    rig.add(*numbers)
    rig.step(*[REFUSED] * SEVERAL)
    assert (rig.destination.state, rig.destination.holds_all) == (DestinationState.REFUSING, True)


# --- stored, held, conflict --------------------------------------------------------------------------------------


def test_stored_is_uploaded_with_its_receipt_and_one_line_says_so(rig, lines):
    rig.add(1)
    rig.step()
    picture = rig.at(1)
    assert (picture.state, picture.receipt_md5, picture.uploaded_at) == (State.UPLOADED, md5(1), rig.now)
    assert rig.whys(1)[-1] == "stored: its md5 there is the one here"
    assert rig.outbox.destinations.accepted() == 1
    assert rig.destination == Destination(HERE, DestinationState.OK)
    assert lines() == [(logging.INFO, f"{name(1)}: uploaded")]


def test_held_is_uploaded_too_but_nothing_was_accepted_by_that(rig, lines):
    rig.add(10)
    rig.step((Outcome.HELD, md5(10).upper()))
    assert (rig.at(10).state, rig.at(10).receipt_md5) == (State.UPLOADED, md5(10))
    assert rig.whys(10)[-1] == "held there already, with the md5 that it has here"
    assert (rig.outbox.destinations.accepted(), rig.uploader.sent) == (0, 1)
    assert rig.destination.state is DestinationState.OK
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
    rig.step(answer)
    why = f"the destination holds another picture with this device and time (md5 {held})"
    assert (rig.at(1).state, rig.at(1).reason, rig.at(1).receipt_md5) == (State.CONFLICT, why, None)
    assert rig.destination.state is DestinationState.OK
    assert lines() == [(logging.WARNING, f"{name(1)}: not sent: {why}")]
    assert rig.try_again() is None
    assert len(rig.client.calls) == 1


def take_in(rig, folder, content):
    """Have a file with the key of picture 1 taken in."""
    path = f"{folder}/{name(1)}"
    rig.outbox.catalog.record([rig.taken(1, content)._replace(path=path)])
    return lambda: rig.outbox.at(path)


def test_a_file_with_the_bytes_that_the_destination_holds_is_no_longer_in_conflict_with_one_that_has_others(rig):
    rig.add(1)
    copy = take_in(rig, "copies", 3)
    assert copy().state is State.CONFLICT
    rig.step((Outcome.CONFLICT, md5(3)))
    assert (rig.at(1).state, copy().state, copy().reason) == (State.CONFLICT, State.PENDING, None)
    rig.step(Outcome.HELD)
    assert (rig.at(1).state, copy().state, rig.uploader.step()) == (State.CONFLICT, State.UPLOADED, None)


@pytest.mark.parametrize("answer", [Outcome.STORED, Outcome.HELD])
def test_a_copy_of_what_is_uploaded_is_no_longer_in_conflict_with_one_that_has_other_bytes(rig, answer):
    rig.add(1)
    rig.outbox.queue.release(*rig.outbox.queue.claim(1), not_before=rig.now + LONGEST_WAIT)
    one = take_in(rig, "b", 3)
    rig.outbox.queue.retry(one())
    copy = take_in(rig, "c", 3)
    assert (one().state, copy().state) == (State.PENDING, State.CONFLICT)
    rig.step(answer)
    assert (one().state, copy().state) == (State.UPLOADED, State.PENDING)


@pytest.mark.parametrize("answer", [(Outcome.HELD, md5(1)), (Outcome.CONFLICT, OTHER)])
def test_what_only_answers_is_reachable_again_but_may_still_refuse_everything(rig, answer):
    rig.add(5)
    rig.step(DOWN)
    rig.add(1)
    rig.try_again(answer)
    assert rig.destination == Destination(HERE, DestinationState.OK)
    refuse_until_held(rig, range(10, 14))
    held = rig.destination
    rig.add(50)
    rig.outbox.destinations.end_wait()
    rig.step((Outcome.HELD, md5(50)))
    assert rig.at(50).state is State.UPLOADED
    assert (rig.destination.state, rig.destination.failures) == (DestinationState.REFUSING, held.failures)


# --- refused, known to be its fault ------------------------------------------------------------------------------


def test_what_is_known_to_be_the_pictures_fault_rejects_it_at_once(rig, lines):
    rig.add(1, 2)
    rig.step((Outcome.REFUSED, TooLargeError("x.jpg", "over 100 MB")), Outcome.STORED)
    assert (rig.at(2).state, rig.at(2).attempts, rig.at(2).reason) == (State.REJECTED, 1, "over 100 MB")
    assert rig.at(1).state is State.UPLOADED
    assert lines()[0] == (logging.WARNING, f"{name(2)}: refused, given up for a week: over 100 MB")
    assert rig.step() is None
    rig.now += REOFFER_AFTER
    assert rig.step() == 0
    assert (rig.at(2).state, rig.at(2).attempts) == (State.PENDING, 0)


def test_a_destination_that_tells_a_pictures_fault_is_no_longer_unreachable(rig):
    rig.add(1)
    rig.step(DOWN)
    rig.try_again((Outcome.REFUSED, TooLargeError("x.jpg", "over 100 MB")))
    assert rig.destination == Destination(HERE, DestinationState.OK)


# --- refused, without a reason -----------------------------------------------------------------------------------


def test_a_first_refusal_is_nobodys_fault_yet_and_only_that_picture_waits(rig, lines):
    rig.add(1, 2)
    rig.step(REFUSED, Outcome.STORED)
    picture = rig.at(2)
    assert (picture.state, picture.attempts, picture.reason) == (State.PENDING, 0, "status 500")
    assert 0 <= rig.own_wait(2) <= 5
    assert (rig.at(1).state, rig.destination) == (State.UPLOADED, Destination(HERE, DestinationState.OK))
    wait = f"{rig.own_wait(2):.0f} s"
    assert lines()[0] == (logging.WARNING, f"{name(2)}: refused, tried again in {wait}: status 500")


def test_once_another_was_taken_the_first_refusal_and_the_next_are_charged(rig):
    rig.add(1)
    rig.step(REFUSED)
    rig.take()
    rig.try_again(REFUSED)
    assert (rig.at(1).attempts, rig.at(1).state) == (2, State.PENDING)
    assert rig.destination.state is DestinationState.OK


def test_a_refusal_with_none_taken_since_the_last_is_charged_to_nobody(rig):
    rig.take(98)
    rig.add(1)
    for _ in range(20):
        rig.try_again(REFUSED)
    assert (rig.at(1).attempts, rig.at(1).state, rig.at(1).misses) == (0, State.PENDING, 20)
    rig.take(99)
    rig.try_again(REFUSED)
    rig.try_again(REFUSED)
    assert rig.at(1).attempts == 2


def test_a_picture_refused_too_often_while_others_are_taken_is_rejected_with_its_history(rig, lines):
    rig.uploader = rig.make(give_up_after=5)
    rig.add(1)
    for count, number in zip((0, 2, 3, 4, 5), range(90, 95), strict=True):
        rig.try_again(REFUSED)
        assert rig.at(1).attempts == count
        rig.take(number)
    assert (rig.at(1).state, rig.at(1).reason) == (State.REJECTED, "status 500")
    assert rig.whys(1) == ["taken in", *["status 500"] * 5]
    assert lines()[-1] == (logging.WARNING, f"{name(1)}: refused, given up for a week: status 500")
    assert rig.step() is None


@pytest.mark.parametrize("count", [1, 2])
def test_few_refused_pictures_alone_hold_up_nobody_and_are_never_rejected_without_evidence(rig, count):
    rig.add(*range(count))
    for _ in range(30):
        rig.try_again(*[REFUSED] * count)
        assert (rig.destination.failures, rig.destination.retry_at) == (0, None)
    assert [(rig.at(number).state, rig.at(number).attempts) for number in range(count)] == [(State.PENDING, 0)] * count
    assert rig.step() > 0
    rig.add(50)
    rig.step()
    assert rig.at(50).state is State.UPLOADED


def test_refusals_of_one_picture_come_ever_more_seldom_after_a_reboot_too(rig):
    rig.add(1)
    for misses in range(12):
        assert rig.at(1).misses == misses
        rig.try_again(REFUSED)
        assert 0 <= rig.own_wait(1) <= min(LONGEST_WAIT, 5 * 2**misses)
        rig.reboot()


# --- refuses everything ------------------------------------------------------------------------------------------


def test_several_different_pictures_refused_and_none_taken_hold_the_queue_and_spare_the_rest_of_the_batch(rig, lines):
    refuse_until_held(rig, range(8))
    assert (rig.destination.reason, rig.destination.failures) == ("status 500", 1)
    assert rig.step() == rig.held_for <= 5
    assert {picture.attempts for picture in rig.outbox.pictures()} == {0}
    assert len([line for _, line in lines() if "refused" in line]) == SEVERAL
    wait = f"{rig.held_for:.0f} s"
    assert lines()[-1] == (logging.WARNING, f"the destination is refusing, tried again in {wait}: status 500")


def test_copies_of_one_picture_are_not_several(rig):
    rig.add(1)
    (original,) = rig.outbox.pictures()
    for number in range(4):
        rig.outbox.catalog.record([copy_of(original, f"copy{number}/{name(1)}")])
    for _ in range(6):
        rig.try_again(*[REFUSED] * 5)
    assert rig.destination.failures == 0


def copy_of(picture, path):
    from sticky_pi_uploader.models import Taken

    about = (picture.device, picture.datetime, picture.md5, picture.metadata)
    return Taken(path, picture.fingerprint, picture.file_system, *about)


def test_while_all_is_refused_one_at_a_time_is_tried_and_none_twice_before_the_others(rig):
    refuse_until_held(rig, range(6))
    rig.client.calls.clear()
    for failures in range(2, 14):
        assert rig.try_again(REFUSED) == 0
        assert (rig.destination.failures, rig.destination.holds_all) == (failures, True)
        assert rig.held_for <= min(LONGEST_WAIT, 5 * 2 ** (failures - 1))
    assert [len(call) for call in rig.client.calls] == [1] * 12
    order = [call[0] for call in rig.client.calls]
    assert len(set(order[:6])) == 6
    assert order[6:] == order[:6]
    assert {(picture.attempts, picture.state) for picture in rig.outbox.pictures()} == {(0, State.PENDING)}


def test_a_destination_that_takes_again_gets_the_rest_at_once_and_what_it_refused_is_not_held_against_it(rig):
    refuse_until_held(rig, range(6))
    for _ in range(8):
        rig.try_again(REFUSED)
    rig.try_again()
    assert rig.destination == Destination(HERE, DestinationState.OK)
    rig.step(REFUSED)
    assert rig.outbox.counts() == dict.fromkeys(State, 0) | {State.UPLOADED: 5, State.PENDING: 1}
    assert [picture.attempts for picture in rig.outbox.pictures([State.PENDING])] == [0]


def test_storage_that_is_full_again_and_again_makes_no_picture_guilty(rig):
    rig.add(*range(100))
    for _ in range(12):
        rig.try_again()
        for _ in range(20):
            rig.step(*[REFUSED] * 20)
    assert rig.outbox.counts()[State.REJECTED] == 0
    assert {picture.attempts for picture in rig.outbox.pictures()} == {0}


def test_pictures_refused_before_while_others_were_taken_hold_no_new_one(rig):
    refuse_until_held(rig, range(5))
    rig.try_again(*[REFUSED] * 2)
    rig.take()
    for _ in range(3):
        rig.try_again(*[REFUSED] * 5)
    assert (rig.destination.state, rig.destination.holds_all) == (DestinationState.REFUSING, False)
    assert rig.step() == rig.held_for > 0
    rig.add(50)
    rig.client.calls.clear()
    rig.step()
    assert (rig.client.calls, rig.at(50).state) == ([[name(50)]], State.UPLOADED)
    assert rig.destination.state is DestinationState.OK


def test_new_pictures_are_held_as_well_once_several_of_them_are_refused(rig):
    rig.take()
    rig.add(*range(3))
    rig.step(*[REFUSED] * 3)
    rig.take(98)
    rig.try_again(*[REFUSED] * 3)
    rig.try_again(*[REFUSED] * 3)
    assert not rig.destination.holds_all
    rig.add(*range(50, 60))
    for _ in range(SEVERAL):
        assert rig.step(REFUSED) == 0
    assert rig.destination.holds_all
    assert rig.step() == rig.held_for
    attempts = [picture.attempts for picture in rig.outbox.pictures()]
    rig.take(97)
    rig.try_again(*[REFUSED] * 20)
    assert [picture.attempts for picture in rig.outbox.pictures() if picture.path != name(97)] == attempts


# --- doubtful ----------------------------------------------------------------------------------------------------


def doubtful(end=UNREACHABLE, retry_after=30.0):
    return Outcome.DOUBTFUL, DoubtfulError("no answer", end, retry_after=retry_after)


def test_a_doubtful_end_is_asked_for_again_after_the_time_it_says_and_holds_the_queue(rig, lines):
    rig.add(1)
    rig.step(doubtful(retry_after=27.5))
    assert (rig.at(1).state, rig.at(1).attempts, rig.at(1).reason) == (State.PENDING, 0, "no answer")
    assert rig.own_wait(1) == 27.5
    assert (rig.destination.state, rig.destination.failures) == (DestinationState.UNREACHABLE, 1)
    assert rig.step() == 27.5
    assert [level for level, _ in lines()] == [logging.WARNING, logging.WARNING]
    rig.now += 27.5
    rig.step((Outcome.HELD, md5(1)))
    assert rig.at(1).state is State.UPLOADED


def test_a_wait_that_the_destination_asked_for_counts_at_a_doubtful_end_too(rig):
    rig.add(1)
    rig.step(doubtful(UnavailableError("503", retry_after=600)))
    assert 600 <= rig.held_for <= 1200


def test_an_upload_that_always_ends_in_doubt_is_repeated_ever_more_seldom(rig):
    rig.add(1)
    waits = []
    for _ in range(40):
        rig.try_again(doubtful())
        waits.append(rig.own_wait(1))
        rig.take()
    assert all(DOUBTFUL_WAIT <= wait <= LONGEST_WAIT for wait in waits)
    assert max(waits) > LONGEST_WAIT / 2
    assert (rig.at(1).attempts, rig.at(1).state) == (0, State.PENDING)


# --- unsent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (AccountError("the account 'x' isn't accepted"), DestinationState.UNAUTHORIZED),
        (NotAnAPIError("answers with HTML"), DestinationState.NOT_AN_API),
        (UNREACHABLE, DestinationState.UNREACHABLE),
    ],
)
def test_what_is_wrong_with_the_destination_is_said_once_and_no_picture_is_touched(rig, lines, error, state):
    rig.add(*range(5))
    rig.step(*[(Outcome.UNSENT, error)] * 5)
    destination = rig.destination
    assert (destination.state, destination.reason, destination.failures) == (state, str(error), 1)
    assert destination.holds_all
    assert 0 <= rig.held_for <= 5
    assert rig.step() == rig.held_for
    assert lines() == [
        (logging.WARNING, f"the destination is {state.value}, tried again in {rig.held_for:.0f} s: {error}")
    ]
    for number in range(5):
        assert (rig.at(number).state, rig.at(number).attempts, rig.at(number).misses) == (State.PENDING, 0, 0)
        assert (rig.at(number).reason, rig.whys(number)) == (None, ["taken in"])


def test_waits_grow_up_to_the_cap_with_one_picture_at_a_time(rig):
    rig.add(*range(12))
    for failures in range(1, 15):
        rig.try_again(*[DOWN] * 12)
        assert rig.destination.failures == failures
        assert 0 <= rig.held_for <= min(LONGEST_WAIT, 5 * 2 ** (failures - 1))
    assert [len(call) for call in rig.client.calls] == [12, *[1] * 13]
    assert len({call[0] for call in rig.client.calls[1:12]}) == 11


def test_after_the_trouble_everything_goes_straight_on(rig):
    rig.add(*range(12))
    for _ in range(14):
        rig.try_again(*[DOWN] * 12)
    rig.try_again()
    rig.step()
    assert rig.outbox.counts()[State.UPLOADED] == 12


@pytest.mark.parametrize("asked", [1.0, 60.0, 700.0, 5000.0])
def test_a_retry_after_is_honoured_up_to_the_longest_wait(rig, asked):
    rig.add(1)
    for _ in range(10):
        rig.try_again((Outcome.UNSENT, UnavailableError("503", retry_after=asked)))
        assert min(asked, LONGEST_WAIT) - 0.001 <= rig.held_for <= LONGEST_WAIT
        assert rig.destination.holds_all


def test_a_retry_after_is_honoured_for_a_refused_picture_and_for_a_destination_that_refuses_everything(rig):
    busy = (Outcome.REFUSED, RefusedError("status 500", retry_after=700))
    rig.add(1)
    rig.step(busy)
    assert 700 <= rig.own_wait(1) <= 1400
    rig.add(2, 3)
    rig.step(busy, busy)
    assert 700 <= rig.held_for <= 1400


def test_one_picture_whose_upload_always_breaks_off_holds_up_no_new_one(rig):
    rig.add(1)
    for number in range(50, 60):
        for _ in range(4):
            rig.try_again(DOWN)
        rig.add(number)
        rig.client.calls.clear()
        assert rig.step() == 0
        assert rig.client.calls[0] == [name(number)]
        assert (rig.at(number).state, rig.destination.state) == (State.UPLOADED, DestinationState.OK)
    assert (rig.at(1).attempts, rig.at(1).state) == (0, State.PENDING)


def test_one_picture_whose_upload_breaks_off_while_others_are_taken_waits_alone_and_ever_longer(rig):
    rig.add(100)
    for misses in range(10):
        rig.add(misses)
        assert rig.at(100).misses == misses
        rig.try_again(DOWN, Outcome.STORED)
        assert rig.destination == Destination(HERE, DestinationState.OK)
        assert 0 <= rig.own_wait(100) <= min(LONGEST_WAIT, 5 * 2**misses)


def test_a_destination_that_is_down_is_not_asked_anew_for_every_new_picture(rig):
    rig.add(0)
    rig.step(DOWN)
    tried = 0
    for number in range(1, 30):
        rig.add(number)
        calls = len(rig.client.calls)
        rig.step(DOWN)
        tried += len(rig.client.calls) - calls
    assert tried == SEVERAL - 1


BUSY = UnavailableError("it can't just now", retry_after=600.0)


@pytest.mark.parametrize(
    ("answers", "is_tried"),
    [
        ([DOWN], True),
        ([UNREACHABLE], True),
        ([CertificateError("another's certificate: a login page's")], True),
        ([NotAnAPIError("the network wants a login first")], True),
        ([(Outcome.DOUBTFUL, DoubtfulError("it broke off", UNREACHABLE, retry_after=30.0))], True),
        ([BUSY], False),
        ([(Outcome.UNSENT, BUSY)], False),
        ([UnavailableError("it can't just now")], False),
        ([UnreachableError("the proxy on the way wants a password", retry_after=600.0)], False),
        ([NotAnAPIError("the network wants a login first", retry_after=600.0)], False),
        ([AccountError("status 401")], False),
        ([(Outcome.DOUBTFUL, DoubtfulError("it broke off", BUSY, retry_after=30.0))], False),
        ([REFUSED] * SEVERAL, False),
    ],
)
def test_a_network_that_is_back_ends_no_wait_that_the_destination_asked_for(rig, answers, is_tried):
    rig.add(*range(9))
    rig.step(*answers * 9)
    rig.add(50)
    rig.outbox.destinations.update(rig.destination._replace(retry_at=rig.now + 60, holds_all=True))
    calls = len(rig.client.calls)
    rig.reboot()
    assert rig.step() > 0
    rig.uploader.network_is_back()
    rig.step(UNREACHABLE)
    assert len(rig.client.calls) == calls + is_tried
    rig.outbox.destinations.update(rig.destination._replace(retry_at=rig.now + 60, holds_all=True))
    assert rig.step() > 0  # it ends one wait, and not those after it


# --- files that aren't what they were ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "why", "wanted"),
    [
        (CHANGED[1], "its bytes are no longer", ScanRequest(frozenset({name(1)}))),
        # It may be in its folder under another name.
        (
            FileNotFoundError(2, "No such file or directory"),
            "can't be read: No such file",
            ScanRequest(folders=frozenset({""})),
        ),
        (OSError(5, "Input/output error"), "can't be read: Input/output error", ScanRequest(frozenset({name(1)}))),
    ],
)
def test_a_file_that_is_not_what_it_was_is_read_again_before_it_is_sent(rig, lines, error, why, wanted):
    rig.add(1)
    rig.step((Outcome.UNSENT, error))
    picture = rig.at(1)
    assert (picture.state, picture.attempts) == (State.PENDING, 0)
    assert picture.reason.startswith(why)
    assert rig.scan_requests.take() == wanted
    assert rig.outbox.catalog.at(name(1)).known_fingerprint is None
    assert rig.step() is None
    assert rig.destination.state is DestinationState.UNKNOWN
    assert lines() == [(logging.INFO, f"{name(1)}: read again before it is sent: {picture.reason}")]


def test_a_card_that_reads_the_same_file_as_other_bytes_each_time_has_it_wait_longer_and_longer(rig):
    rig.add(1)
    for tries in range(1, 9):
        rig.step(CHANGED)
        rig.read_again(1, 100 + tries)
        assert (rig.at(1).misses, rig.at(1).attempts) == (tries, 0)
        assert 0 < rig.own_wait(1) <= 5 * 2 ** (tries - 1)
        rig.now += rig.own_wait(1)
    rig.step()
    assert rig.at(1).state is State.UPLOADED


def test_a_file_that_was_replaced_by_another_is_due_at_once(rig):
    rig.add(1)
    rig.step(CHANGED)
    rig.read_again(1, 2, version=2)
    assert (rig.at(1).misses, rig.at(1).not_before) == (0, None)


# --- several outcomes in one batch -------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [DOWN, doubtful(), REFUSED], ids=["unsent", "doubtful", "refused"])
def test_what_takes_another_picture_afterwards_is_in_no_trouble(rig, trouble):
    rig.add(1, 2, 3)
    rig.step(trouble, trouble, Outcome.STORED)
    assert rig.destination == Destination(HERE, DestinationState.OK)
    assert rig.outbox.counts()[State.UPLOADED] == 1


@pytest.mark.parametrize("trouble", [DOWN, doubtful()], ids=["unsent", "doubtful"])
def test_what_fails_after_it_took_another_is_in_trouble(rig, trouble):
    rig.add(1, 2, 3)
    rig.step(trouble, Outcome.STORED, trouble)
    assert (rig.destination.state, rig.destination.failures) == (DestinationState.UNREACHABLE, 1)


def test_an_answer_within_a_batch_that_fails_is_no_proof_that_the_destination_works(rig):
    rig.add(1, 2)
    rig.step(DOWN, (Outcome.HELD, md5(1)))
    assert rig.at(1).state is State.UPLOADED
    assert rig.destination.state is DestinationState.UNREACHABLE


# --- the clock ---------------------------------------------------------------------------------------------------

JUMPS = [-30 * YEAR, -86400.0, -3000.0, -600.0, 600.0, 86400.0, 30 * YEAR]


def wait_until_tried(rig):
    """Let the time pass that the uploader wants to wait, and return how long that took."""
    waited = 0.0
    calls = len(rig.client.calls)
    while len(rig.client.calls) == calls:
        wait = rig.uploader.step()
        rig.now += wait
        waited += wait
    return waited


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("trouble", [DOWN, REFUSED, doubtful()], ids=["unsent", "refused", "doubtful"])
@pytest.mark.parametrize("count", [1, 2, 6])
def test_a_clock_that_jumps_delays_nothing_by_more_than_the_cap(rig, jump, trouble, count):
    rig.add(*range(count))
    for _ in range(12):
        rig.try_again(*[trouble] * count)
    rig.now += jump
    rig.reboot()
    rig.answer()
    assert wait_until_tried(rig) <= LONGEST_WAIT
    waited = 0.0
    while rig.outbox.counts()[State.PENDING]:
        waited += wait_until_tried(rig)
    assert waited <= LONGEST_WAIT


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_jumps_changes_nothing_of_whose_fault_it_is(rig, jump):
    rig.take(98)
    rig.add(1)
    rig.step(REFUSED)
    rig.now += jump
    rig.try_again(REFUSED)
    assert rig.at(1).attempts == 0
    rig.take(99)
    rig.now += jump
    rig.try_again(REFUSED)
    assert rig.at(1).attempts == 2
    rig.add(*range(10, 16))
    for failures in range(1, 7):
        rig.now += jump
        rig.answer(*[REFUSED] * 20)
        wait_until_tried(rig)
        assert (rig.destination.state, rig.destination.failures) == (DestinationState.REFUSING, failures)


# --- a reboot ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [DOWN, REFUSED], ids=["unsent", "refused"])
def test_nothing_of_the_schedule_is_lost_by_reboots(rig, trouble):
    rig.add(*range(6))
    rig.step(*[trouble] * 6)
    rig.client.calls.clear()
    for failures in range(2, 12):
        rig.reboot()
        assert rig.step() == rig.held_for
        rig.try_again(trouble)
        assert (rig.destination.failures, rig.destination.holds_all) == (failures, True)
    assert [len(call) for call in rig.client.calls] == [1] * 10
    first, then = ([call[0] for call in rig.client.calls[part]] for part in (slice(0, 4), slice(6, 10)))
    assert len(set(first)) == 4
    assert then == first
