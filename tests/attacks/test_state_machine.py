"""Lets arrivals, sends, all answers of a server, faults, power cuts and damage come in any order, beside a model.

A test run takes some seconds, and is the same each time. The long run draws other ones, as many as it is told:

    STICKY_PI_STATE_MACHINE_RUNS=20000 tests/run -k state_machine -s

It prints its seeds; STICKY_PI_STATE_MACHINE_SEED=<seed> begins with one of them.
"""

import logging
import os
import shutil
import tempfile
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from trap_model.disk import reason_to_skip, small_disk
from trap_model.machine import TrapMachine

RUNS = int(os.environ.get("STICKY_PI_STATE_MACHINE_RUNS", "0"))
SEED = int(os.environ.get("STICKY_PI_STATE_MACHINE_SEED") or time.time_ns() // 1_000_000 % 1_000_000)
IN_CI = 40
AT_ONCE = 500
"""Runs of one seed: Hypothesis keeps what it learns of them in memory"""
STEPS = 40
HAPPENS = ("uploads", "removed", "power cuts", "put aside", "failed")
"""What has to happen at least once, or the steps are too tame"""


@pytest.fixture
def folder():
    """A folder in memory, if there is one: flushes take most of the time elsewhere."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = tempfile.mkdtemp(dir=where)
    yield path
    shutil.rmtree(path)


@contextmanager
def quiet():
    """Keep the daemon's log from a report of millions of lines."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def options(runs, **more):
    checks = list(HealthCheck)
    return settings(
        max_examples=runs, stateful_step_count=STEPS, deadline=None, database=None, suppress_health_check=checks, **more
    )


def let_happen(folder, **more):
    """Run the machine, as often as it is to be; prints the figures of a long run."""
    figures = Counter()

    def machine():
        return TrapMachine(folder, figures, **more)

    if not RUNS:
        run_state_machine_as_test(machine, settings=options(IN_CI, derandomize=True))
        return figures
    begun = time.monotonic()
    for number in range(SEED, SEED + max(1, RUNS // AT_ONCE)):
        print(f"seed {number}: {dict(figures)} in {time.monotonic() - begun:.0f} s", flush=True)
        run_state_machine_as_test(seed(number)(machine), settings=options(min(RUNS, AT_ONCE)))
    print(f"{dict(figures)} in {time.monotonic() - begun:.0f} s")
    return figures


def test_whatever_happens_nothing_is_lost_and_all_comes_right(folder):
    with quiet():
        figures = let_happen(folder)
    assert min(figures[what] for what in HAPPENS) > 0
    assert figures["folders read"] < figures["folders"]


def test_whatever_happens_on_a_disk_that_fills_nothing_is_lost_and_all_comes_right(folder):
    if (reason := reason_to_skip()) is not None:
        pytest.skip(reason)
    with small_disk(folder) as disk, quiet():
        figures = let_happen(folder, disk=disk)
    assert min(figures[what] for what in HAPPENS) > 0
