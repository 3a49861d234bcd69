"""What the attacks at system calls have in common: where they work, and at how many calls."""

import os
import time

import each_call
import pytest

EVERY = bool(os.environ.get("STICKY_PI_EVERY_CALL"))
SEED = int(os.environ.get("STICKY_PI_CALLS_SEED") or time.time_ns() // 1_000_000 % 1_000_000)
LONGEST = 4 * 3600 if EVERY else 900
"""Seconds that an attack may take on a busy machine"""


@pytest.fixture
def seed():
    """What the choice of points follows from."""
    return SEED


@pytest.fixture
def some(seed):
    """Return the options of an attack at some points of each kind of life; at all of them in a long run."""
    return lambda number: () if EVERY else (f"--some={number}", f"--seed={seed}")


@pytest.fixture
def attack(tmp_path):
    """Attack the program as the options say; returns the figures."""
    if (reason := each_call.reason_to_skip()) is not None:
        pytest.skip(reason)
    folder = tmp_path / "trap"
    folder.mkdir()
    return lambda kind, *options: each_call.attack(kind, folder, *options, timeout=LONGEST)
