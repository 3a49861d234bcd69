"""Lets a year of a trap pass: 26,000 pictures, outages of hours to weeks, power cuts, full disks, an unset clock.

Once in each week of it the process and the outbox are looked at: nothing may grow but by what is to be remembered. A
test run lets some weeks pass; the whole year takes a few minutes:

    STICKY_PI_SOAK_WEEKS=52 tests/run -k soak -s

With `-s` the samples are shown. STICKY_PI_SOAK_SEED=<seed> has other things happen.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import soak

WEEKS = int(os.environ.get("STICKY_PI_SOAK_WEEKS", "0"))
SEED = os.environ.get("STICKY_PI_SOAK_SEED", "1")
IN_CI = ["--weeks=2", "--hurry=8", "--traced"]
PATIENCE = 600 + 120 * WEEKS
"""Seconds that it may take on a busy machine"""


@pytest.fixture
def folder():
    """A folder in memory, if there is one: flushes take most of the time elsewhere."""
    path = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    yield path
    shutil.rmtree(path)


def test_a_year_leaves_nothing_behind_but_what_is_to_be_remembered(folder):
    span = [f"--weeks={WEEKS}"] if WEEKS else IN_CI
    paths = [str(Path(soak.__file__).parents[1]), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "soak", folder, f"--seed={SEED}", *span],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=None if WEEKS else subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
