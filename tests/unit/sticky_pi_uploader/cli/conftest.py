"""A trap for the tests of several commands."""

import pytest
from sticky_pi_uploader.models import Destination, DestinationState


@pytest.fixture
def busy(trap, taken):
    """A trap with a picture in each state that a reader can meet."""
    with trap.open(clock=lambda: 1_600_000_000.0) as outbox:
        outbox.catalog.record([taken(f"5c173ff2/5c173ff2.2020-06-20_00-00-0{n}.jpg", n) for n in range(4)])
        outbox.catalog.record([taken("copy/5c173ff2.2020-06-20_00-00-09.jpg", 9, suspect="a hole in it")])
        outbox.catalog.record(
            [taken("notes.jpg", rejected="it is a PNG picture", device=None, datetime=None, md5=None)]
        )
        newest, oldest = outbox.queue.claim(2)
        outbox.queue.confirm(newest, newest.md5, "stored", accepted_by=trap.url)
        outbox.queue.refuse(oldest, "it says 500", not_before=1_600_000_060.5, charge=1)
        outbox.catalog.lose(outbox.at("5c173ff2/5c173ff2.2020-06-20_00-00-01.jpg"))
        outbox.destinations.update(Destination(trap.url, DestinationState.UNREACHABLE, "disk full", 1_600_000_030.0, 2))
    return trap


@pytest.fixture
def sent(trap, make_trap_picture):
    """A trap of which one picture was taken in and sent by `drain`."""
    make_trap_picture(trap.images / "1b74105a")
    assert trap.run("drain").returncode == 0
    return trap
