import logging
import threading
import time
from contextlib import contextmanager

import pytest
from sticky_pi_uploader.exceptions import StateError
from sticky_pi_uploader.service.liveness import Pulse
from sticky_pi_uploader.service.worker import Worker

PATIENCE = 20.0


class Impatient(threading.Event):
    """A stop that nobody waits for, so that a test needn't wait for what comes after trouble."""

    def wait(self, timeout=None):
        self.waited = timeout
        return super().wait(0)


class Steps:
    """A step that answers what it is told to, one after the other, and then waits for a wake-up."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.count = 0
        self.finished = threading.Event()

    def __call__(self):
        self.count += 1
        if not self.answers:
            self.finished.set()
            return None
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@contextmanager
def working(steps, stop=None, pulse=None):
    """Run a worker on `steps` until the end of the block; it counts what it tells others."""
    wake, stop = threading.Event(), stop or threading.Event()
    counts = {"trouble": 0, "notice": 0}

    def count(what):
        counts[what] += 1

    worker = Worker(
        "intake",
        steps,
        wake=wake,
        stop=stop,
        after_trouble=lambda: count("trouble"),
        notice=lambda: count("notice"),
        pulse=pulse or Pulse(),
    )
    worker.wake, worker.stop, worker.counts = wake, stop, counts
    worker.start()
    try:
        yield worker
    finally:
        stop.set()
        wake.set()
        worker.join(PATIENCE)
    assert not worker.is_alive()


def test_steps_that_say_so_follow_one_another_at_once():
    steps = Steps(0, 0.0, 0)
    with working(steps):
        assert steps.finished.wait(PATIENCE)
    assert steps.count == 4


def test_after_a_wait_the_next_step_comes_by_itself():
    steps = Steps(0.01, 0.01)
    with working(steps):
        assert steps.finished.wait(PATIENCE)


def test_a_step_that_does_not_end_is_heard_of_and_a_wait_between_two_is_none():
    begun, end, pulse = threading.Event(), threading.Event(), Pulse()

    def step():
        begun.set()
        assert end.wait(PATIENCE)

    with working(step, pulse=pulse):
        assert begun.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while pulse.silence() < 0.2:
            assert time.monotonic() < deadline
        end.set()
        while pulse.silence() > 0:
            assert time.monotonic() < deadline


@pytest.mark.parametrize("wait", [None, 3600.0])
def test_a_wake_up_ends_the_wait(wait):
    steps = Steps(wait)
    with working(steps) as worker:
        worker.wake.set()
        assert steps.finished.wait(PATIENCE)


def test_a_clean_stop_is_an_end_that_is_told_and_nothing_is_logged(caplog):
    steps = Steps()
    with working(steps) as worker:
        assert steps.finished.wait(PATIENCE)
        assert not worker.ended
    assert (worker.ended, worker.trouble, worker.counts) == (True, None, {"trouble": 0, "notice": 2})
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StateError("no space left"), "no space left"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(5, "Input/output error", "/card/a"), "/card/a: Input/output error"),
    ],
)
def test_trouble_with_the_state_folder_is_said_once_waited_for_and_over_when_a_step_works(caplog, error, said):
    caplog.set_level(logging.INFO)
    steps, stop = Steps(error, error, 0), Impatient()
    with working(steps, stop) as worker:
        assert steps.finished.wait(PATIENCE)
        assert worker.trouble is None
    assert caplog.messages == [f"{said}; tried again every 10 s", "that is over: the intake works again, after 0 s"]
    assert [record.exc_info for record in caplog.records] == [None, None]
    assert (stop.waited, worker.counts) == (10, {"trouble": 2, "notice": 4})


def test_while_there_is_trouble_it_can_be_asked_for():
    error = StateError("no space left")
    steps = Steps(error)
    noticed = threading.Event()
    stop = threading.Event()
    pulse = Pulse()
    worker = Worker(
        "uploader",
        steps,
        wake=threading.Event(),
        stop=stop,
        after_trouble=lambda: None,
        notice=noticed.set,
        pulse=pulse,
    )
    worker.start()
    assert noticed.wait(PATIENCE)
    assert (worker.trouble, worker.ended, pulse.silence()) == (error, False, 0)
    stop.set()
    worker.join(PATIENCE)
    assert (steps.count, worker.ended) == (1, True)


@pytest.mark.parametrize("error", [ValueError("a bug"), MemoryError(), SystemExit(3), KeyboardInterrupt()])
def test_anything_else_is_its_death_which_is_told_with_a_traceback_and_hidden_from_nobody(caplog, error):
    with working(Steps(error)) as worker:
        worker.join(PATIENCE)
        assert worker.ended
        assert worker.counts == {"trouble": 0, "notice": 1}
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.CRITICAL, "the intake died")
    assert record.exc_info[1] is error
