"""Let each system call of a picture's life fail once, with each of four errors, and see that nothing comes of it.

And limit the descriptors that the program may have, to any number. A test run lets some calls fail, of each kind at
least one, and tries some numbers. The long run lets all fail, 11,760, and tries all numbers from 4 to 29:

    STICKY_PI_EVERY_CALL=1 tests/run -k nth_failure

A failure names its seed, and each point; STICKY_PI_CALLS_SEED=<seed> chooses the same again.
"""

import sys

import pytest

FOUND = {
    "first-to-store": (
        "EIO at getdents64 card #1",
        "EIO at statfs card/5c173ff2/<time> #1",
        "EMFILE at pipe2 pipe #1",
        "ENOMEM at getcwd waiting #1",
        "ENOMEM at clone3 thread #1",
        "ENOSPC at mkdir state/thumbnails #1",
        "ENOSPC at write state/thumbnails/<md5>.thumbnail.<unique>.part #1",
        "EIO at fsync card #1",
        "EIO at write log #1",
        "EIO at lseek log #1",
    ),
    "next-to-store": ("EIO at pread64 state/outbox.db #4", "EMFILE at pread64 state/outbox.db-wal #5"),
    "first-to-server": tuple(f"ENOMEM at clone3 thread #{nth}" for nth in (2, 3, 4, 9, 12)),
}
"""What has gone wrong, by the kind of life"""


@pytest.mark.parametrize(("harm", "number"), [("fail", 6), ("limit", 4)], ids=["a failing call", "few descriptors"])
def test_what_fails_once_loses_nothing_and_is_made_good_by_the_next_run(attack, some, seed, harm, number):
    figures = attack(harm, *some(number))
    print(figures, file=sys.stderr)
    assert figures["wrong"] == {}, (seed, figures)
    assert figures["happened"] > 0


@pytest.mark.parametrize("life", FOUND)
def test_what_was_found_is_mended(attack, life):
    figures = attack("fail", f"--life={life}", *(f"--at={point}" for point in FOUND[life]))
    assert (figures["wrong"], figures["happened"]) == ({}, len(FOUND[life])), figures


def test_failures_show_a_guard_that_is_taken_out(attack):
    figures = attack("fail", "--without=missed", "--life=next-to-store", "--only=getdents64 card", "--until-wrong")
    assert "exit status" in figures["wrong"], figures
