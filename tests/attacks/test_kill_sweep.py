"""Kills the program before and after every system call that changes something in a picture's life, and goes on.

A test run kills at some points, of each kind of call at least one. The long run kills at every one, some 700:

    STICKY_PI_EVERY_CALL=1 tests/run -k kill_sweep

A failure names its seed, and each point; STICKY_PI_CALLS_SEED=<seed> chooses the same again.
"""

import sys

import pytest


def test_a_life_that_is_killed_at_any_call_goes_on_to_its_end(attack, some, seed):
    figures = attack("kill", *some(8))
    print(figures, file=sys.stderr)
    assert figures["wrong"] == {}, (seed, figures)
    assert figures["happened"] > 0


@pytest.mark.parametrize(
    ("guard", "life", "calls", "expected"),
    [
        ("together", "next-to-store", "renameat store", "stored is another"),
        ("recover", "next-to-store", "store/raw_images", "not mended"),
        ("ask", "next-to-server", "recvfrom socket", "sent though it was held"),
        ("put-back", "next-to-store", "unlinkat card", "not removed"),
    ],
)
def test_kills_show_a_guard_that_is_taken_out(attack, guard, life, calls, expected):
    figures = attack("kill", f"--without={guard}", f"--life={life}", f"--only={calls}", "--until-wrong")
    assert expected in figures["wrong"], figures
