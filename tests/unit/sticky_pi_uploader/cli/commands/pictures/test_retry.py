import time

from flushes import flushes
from sticky_pi_uploader.models import Destination, DestinationState

RETRY_ALL = """
import sys
from sticky_pi_uploader.cli.commands.pictures.retry import retry
print("begin", flush=True)
assert retry(sys.argv[1], sys.argv[1], [], everything=True) == (1200, [])
"""


def numbered(number):
    """Name a picture by its number, as `taken` has it."""
    return f"5c173ff2.2020-06-20_00-00-{number:02}.jpg"


def test_retry_gives_pictures_back_by_name_and_names_unknown_ones(trap, taken):
    with trap.open() as outbox:
        outbox.catalog.record(
            [taken(f"a/{numbered(1)}", 1), taken("b.jpg", rejected="it is empty", device=None, datetime=None, md5=None)]
        )
        [picture] = outbox.queue.claim(1)
        outbox.queue.refuse(picture, "it says 500", not_before=time.time() + 900)
        outbox.destinations.update(Destination(trap.url, DestinationState.UNREACHABLE, "off", time.time() + 900, 3))
    done = trap.run("retry", numbered(1), "nowhere.jpg", "b.jpg")
    assert done.returncode == 1
    assert done.stdout == b"2 pictures to be looked at again.\n"
    assert done.stderr == b"sticky-pi-uploader: nowhere.jpg: nothing is known of it, and there is no such file\n"
    with trap.open() as outbox:
        assert outbox.at(f"a/{numbered(1)}").not_before is None
        assert [event.why for event in outbox.history(outbox.at("b.jpg"))] == ["it is empty", "asked for by hand"]
        assert outbox.destination(trap.url).retry_at is None


def test_retry_all_takes_every_picture_that_waits_for_something(trap, taken):
    with trap.open() as outbox:
        outbox.catalog.record([taken(numbered(n), n) for n in range(4)])
        outbox.queue.confirm(outbox.queue.claim(1)[0], f"{3:032x}", "stored")
        outbox.queue.refuse(outbox.queue.claim(1)[0], "it says 500", not_before=time.time() + 900)
        outbox.catalog.lose(outbox.at(numbered(0)))
    done = trap.run("retry", "--all")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"2 pictures to be looked at again.\n", b"")
    assert trap.json("explain", numbered(1))["history"][-1]["why"] == "taken in"
    assert [picture["not_before"] for picture in trap.json("list", "--state", "pending")] == [None, None]


def test_retry_all_waits_for_the_disk_a_few_times_not_once_a_picture(trap, taken, tmp_path):
    nothing = {"device": None, "datetime": None, "md5": None, "rejected": "it is empty"}
    trap.record(*(taken(f"{number}.jpg", number, **nothing) for number in range(1200)))
    calls = flushes(tmp_path / "log", RETRY_ALL, str(trap.state))
    assert 4 <= sum(call == "flush" for call, _ in calls) <= 20
    with trap.open() as outbox:
        assert {len(outbox.history(picture)) for picture in outbox.pictures()} == {2}


def test_retry_before_anything_is_recorded_has_nothing_to_do(trap):
    done = trap.run("retry", "--all")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"Nothing to retry: no picture has been taken in yet.\n"
    assert not trap.state.exists()


def test_retry_on_a_damaged_outbox_is_74(trap, taken):
    trap.record(taken("a.jpg"))
    trap.outbox.write_text("hello" * 1000)
    done = trap.run("retry", "--all")
    assert done.returncode == 74
    assert b"is damaged" in done.stderr
