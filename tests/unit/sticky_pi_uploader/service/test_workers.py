import logging
import threading
from contextlib import contextmanager

import pytest
from program import PATIENCE, eventually
from sticky_pi_uploader.clock import Heartbeat
from sticky_pi_uploader.exceptions import OutboxDamagedError, OutboxNewerError, StateError
from sticky_pi_uploader.service.workers import WorkerDiedError, Workers


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
def working(steps, stop=None, **options):
    """Run a worker on `steps` until the end of the block; it notes when it tells others of itself."""
    notices = []
    crew = Workers(lambda: notices.append(1))
    crew.stopping = stop or crew.stopping
    crew.start("intake", steps, **options)
    (worker,) = crew._workers
    worker.notices = notices
    worker.errors = crew.errors
    try:
        yield worker
    finally:
        crew.stop()
    assert not worker.is_alive()


@pytest.mark.parametrize("waits", [(0, 0.0, 0), (0.01, 0.01)])
def test_steps_follow_one_another_at_once_or_after_the_wait_that_they_say(waits):
    steps = Steps(*waits)
    with working(steps):
        assert steps.finished.wait(PATIENCE)
    assert steps.count == len(waits) + 1


def test_a_step_that_does_not_end_is_heard_of_and_a_wait_between_two_is_none():
    begun, end, heartbeat = threading.Event(), threading.Event(), Heartbeat()

    def step():
        begun.set()
        assert end.wait(PATIENCE)

    with working(step, heartbeat=heartbeat):
        assert begun.wait(PATIENCE)
        eventually(lambda: heartbeat.silence() >= 0.2)
        end.set()
        eventually(lambda: heartbeat.silence() == 0)


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
        assert worker.is_alive()
    assert (worker.errors, worker.trouble_log.error, len(worker.notices)) == ([], None, 2)
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
        assert worker.trouble_log.error is None
    assert caplog.messages == [f"{said}; tried again every 10 s", "that is over: the intake works again, after 0 s"]
    assert [record.exc_info for record in caplog.records] == [None, None]
    assert (stop.waited, len(worker.notices)) == (10, 4)


def test_while_there_is_trouble_it_can_be_asked_for():
    error = StateError("no space left")
    steps = Steps(error)
    heartbeat = Heartbeat()
    with working(steps, heartbeat=heartbeat) as worker:
        eventually(lambda: worker.notices)
        assert (worker.trouble_log.error, worker.errors, heartbeat.silence()) == (error, [], 0)
    assert (steps.count, worker.errors) == (1, [])


@pytest.mark.parametrize("error", [ValueError("a bug"), MemoryError(), SystemExit(3), KeyboardInterrupt()])
def test_anything_else_is_its_death_which_is_told_with_a_traceback_and_hidden_from_nobody(caplog, error):
    with working(Steps(error)) as worker:
        worker.join(PATIENCE)
        assert list(map(type, worker.errors)) == [WorkerDiedError]
        assert len(worker.notices) == 1
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.CRITICAL, "the intake died")
    assert record.exc_info[1] is error


@pytest.mark.parametrize("error", [StateError("no space left"), OSError(28, "no space left")])
def test_where_trouble_is_not_to_be_waited_out_it_is_fatal_and_left_to_others_to_tell(caplog, error):
    with working(Steps(error), retries=False) as worker:
        worker.join(PATIENCE)
    assert [(type(error), str(error)) for error in worker.errors] == [(StateError, "no space left")]
    assert len(worker.notices) == 1
    assert caplog.messages == []


# --- several ------------------------------------------------------------------------------------------------------

DAMAGED = OutboxDamagedError("the outbox is damaged")
NEWER = OutboxNewerError("a newer release wrote it")
DISK_ERROR = OSError(5, "Input/output error")


@pytest.fixture
def failing():
    """Start workers each of whose steps fails with one of some errors; None: with none."""
    workers = Workers(lambda: None)

    def start(*errors):
        for number, error in enumerate(errors):
            workers.start(f"part {number}", Steps(*filter(None, [error])))
        fail = [worker for worker, error in zip(workers._workers, errors, strict=True) if error]
        eventually(lambda: all(worker.trouble_log.error or not worker.is_alive() for worker in fail))
        return workers

    yield start
    workers.stop()


@pytest.mark.parametrize("other", [DISK_ERROR, StateError("no space left"), ValueError("a bug")])
@pytest.mark.parametrize("damage", [DAMAGED, NEWER])
def test_damage_that_one_worker_finds_is_told_before_what_ends_or_keeps_another_from_its_work(failing, other, damage):
    workers = failing(other, None, damage, other)
    with pytest.raises(OutboxDamagedError) as raised:
        workers.raise_fatal()
    assert raised.value is damage


def test_trouble_of_any_worker_is_told_and_not_fatal(failing):
    workers = failing(None, DISK_ERROR)
    assert workers.trouble() is DISK_ERROR
    workers.raise_fatal()


def test_without_trouble_there_is_none_to_tell(failing):
    workers = failing(None, None)
    workers.raise_fatal()
    assert (workers.trouble(), workers.errors) == (None, [])


def test_a_worker_that_died_is_fatal(failing):
    with pytest.raises(WorkerDiedError, match="the part 0 died"):
        failing(ValueError("a bug"), None).raise_fatal()
