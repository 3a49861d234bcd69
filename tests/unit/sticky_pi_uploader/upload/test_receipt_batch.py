import logging

import pytest
from sending_rig import FakeClient, Rig, md5
from sticky_pi_api.exceptions import UnreachableError
from sticky_pi_api.types import Outcome
from sticky_pi_uploader.exceptions import StateError
from sticky_pi_uploader.models import DestinationState, State
from sticky_pi_uploader.outbox import Queue
from sticky_pi_uploader.upload.receipt_batch import SHORTLY, Receipt, ReceiptBatch

A_MOMENT = SHORTLY / 10


class Recorded:
    """Where receipts are recorded, unless its disk is full, on a clock that the test moves."""

    def __init__(self):
        self.now, self.full, self.steps = 1000.0, False, []
        self.receipts = ReceiptBatch(self.record, lambda: self.now)

    def record(self, receipts):
        if self.full:
            raise StateError("no space left")
        self.steps.append([receipt.picture for receipt in receipts])

    def add(self, number, after=A_MOMENT):
        self.now += after
        self.receipts.add(Receipt(number, stored=True))


@pytest.fixture
def recorded():
    return Recorded()


def test_a_receipt_that_comes_alone_is_recorded_at_once(recorded):
    for number in range(3):
        recorded.add(number, after=SHORTLY)
        assert recorded.steps[number:] == [[number]]


def test_receipts_in_a_row_are_recorded_together_the_first_of_them_no_later_than_shortly(recorded):
    for number in range(14):
        recorded.add(number)
    assert recorded.steps == [[0], list(range(1, 12))]
    recorded.receipts.settle()
    assert recorded.steps[2:] == [[12, 13]]
    recorded.receipts.settle()
    assert len(recorded.steps) == 3


def test_what_cannot_be_recorded_goes_on_waiting_until_it_is_dropped(recorded):
    recorded.full = True
    for number in range(2):
        with pytest.raises(StateError):
            recorded.add(number, after=SHORTLY)
    recorded.full = False
    recorded.receipts.settle()
    assert recorded.steps == [[0, 1]]
    recorded.add(2)
    recorded.receipts.drop()
    recorded.receipts.settle()
    assert recorded.steps == [[0, 1]]


# --- in an uploader ----------------------------------------------------------------------------------------------


class Counting(Queue):
    """Counts the steps that receipts are recorded in."""

    steps = 0

    def together(self):
        self.steps += 1
        return super().together()


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    rig.exchange_queue(Counting)
    yield rig
    rig.close()


def test_a_batch_has_two_steps_and_each_picture_its_receipt(rig):
    numbers = range(1, 11)
    rig.add(*numbers)
    rig.step(*[Outcome.STORED] * 4, *[(Outcome.HELD, None)] * 6)
    assert rig.outbox.queue.steps == 2
    assert all(
        (rig.at(number).state, rig.at(number).receipt_md5) == (State.UPLOADED, md5(number)) for number in numbers
    )
    assert (rig.outbox.destinations.accepted(), rig.uploader.sent) == (4, 10)


def test_receipts_are_recorded_before_anything_else_is_judged(rig, caplog):
    caplog.set_level(logging.INFO, logger="sticky_pi_uploader")
    rig.add(1, 2, 3, 4)
    rig.step(Outcome.STORED, Outcome.STORED, (Outcome.CONFLICT, "f" * 32), Outcome.STORED)
    assert rig.outbox.destinations.accepted() == 3
    said = [record.getMessage().split(": ")[1] for record in caplog.records]
    assert said == ["uploaded", "uploaded", "not sent", "uploaded"]


def test_a_failure_after_receipts_ends_no_trouble_that_came_later(rig):
    rig.add(1, 2, 3)
    rig.step(Outcome.STORED, Outcome.STORED, (Outcome.UNSENT, UnreachableError("no route to host")))
    assert (rig.outbox.counts()[State.UPLOADED], rig.destination.failures) == (2, 1)


class BreaksOff(FakeClient):
    """Takes some pictures, and then fails as a whole."""

    def put_images(self, files, *, on_outcome):
        super().put_images(files[:3], on_outcome=on_outcome)
        raise UnreachableError("no route to host")


@pytest.mark.parametrize("reboots", [False, True])
def test_a_client_that_fails_after_receipts_is_in_trouble_though_they_wait_to_be_recorded(tmp_path, reboots):
    rig = Rig(tmp_path, BreaksOff())
    rig.add(1, 2, 3, 4, 5)
    rig.step(Outcome.STORED, Outcome.STORED, Outcome.STORED)
    assert (rig.outbox.counts()[State.UPLOADED], rig.outbox.destinations.accepted()) == (3, 3)
    if reboots:
        rig.reboot()
    assert (rig.destination.state, rig.destination.failures) == (DestinationState.UNREACHABLE, 1)
    assert rig.step() == rig.held_for
    rig.close()


class FullQueue(Queue):
    """Has no room for receipts while it is `full`."""

    full = False

    def together(self):
        if self.full:
            raise StateError("no space left")
        return super().together()


def test_of_a_batch_that_could_not_be_recorded_nothing_is_held_against_the_next(tmp_path):
    rig = Rig(tmp_path)
    rig.exchange_queue(FullQueue)
    rig.add(1, 2, 3)
    rig.outbox.queue.full = True
    with pytest.raises(StateError):
        rig.step((Outcome.UNSENT, UnreachableError("no route to host")), Outcome.STORED)
    rig.outbox.queue.full = False
    rig.step(*[(Outcome.HELD, None)] * 3)
    assert (rig.outbox.counts()[State.UPLOADED], rig.destination.state) == (3, DestinationState.OK)
    rig.close()
