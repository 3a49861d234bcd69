import threading
import time

import pytest
from sticky_pi_uploader.exceptions import OutboxDamagedError, OutboxNewerError, StateError
from sticky_pi_uploader.service.crew import Crew
from sticky_pi_uploader.service.liveness import Pulse

PATIENCE = 15.0
DAMAGED = OutboxDamagedError("the outbox is damaged")
NEWER = OutboxNewerError("a newer release wrote it")


@pytest.fixture
def in_trouble():
    """Start a crew of workers each of which is kept from its work by one of some errors; None: by nothing."""
    crew = Crew(lambda: None)

    def start(*errors):
        for number, error in enumerate(errors):
            wake = threading.Event()
            crew.start(f"part {number}", fails(error), wake, after_trouble=lambda: None, pulse=Pulse())
        deadline = time.monotonic() + PATIENCE
        wanted = [error for error in errors if error]
        while [worker.trouble for worker, _ in crew._workers if worker.trouble] != wanted:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return crew

    yield start
    crew.stop()


def fails(error):
    def step():
        if error is not None:
            raise error

    return step


@pytest.mark.parametrize("other", [OSError(28, "No space left on device"), StateError("no space left")])
@pytest.mark.parametrize("damage", [DAMAGED, NEWER])
def test_damage_that_one_worker_finds_is_told_before_what_keeps_another_from_its_work(in_trouble, other, damage):
    assert in_trouble(other, None, damage, other).trouble() is damage


def test_trouble_of_any_worker_is_told(in_trouble):
    error = OSError(5, "Input/output error")
    assert in_trouble(None, error).trouble() is error


def test_without_trouble_there_is_none_to_tell(in_trouble):
    assert in_trouble(None, None).trouble() is None
