"""Tests of what lets the tests kill the program at each of its calls: it counts what the program really does."""

import json
import shutil
import sys

import each_call
import pytest
from power_cuts import in_private

COUNT = """
import collections, json, os, subprocess, sys
from pathlib import Path
from each_call.trap import Trap

folder, how, calls = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
trap = Trap(folder, fresh=how == "fresh")
trap.begin()
trap.arrive()
if how == "strace":
    # Without -c, each call is a line; with it, calls of threads that are killed at the end are left out.
    tracing = ["strace", "-f", "-qq", "-e", f"trace={calls}", "-e", "signal=none", "-o", folder / "calls"]
    program = [sys.executable, "-m", "sticky_pi_uploader", *trap.program.flags, "drain"]
    subprocess.run([*tracing, *program], env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, check=True)
    lines = [line.split(maxsplit=1)[1] for line in (folder / "calls").read_text().splitlines()]
    counts = collections.Counter(line.partition("(")[0] for line in lines if "resumed>" not in line)
else:
    run = trap.program.run("drain")
    assert run.status == 0, run.said
    counts = run.changing
trap.close()
print(json.dumps(counts))
"""
CALLS = ("fsync", "fdatasync", "renameat", "unlink", "mkdir", "pwrite64", "ftruncate", "fchown")
"""Such that nobody but the program makes, at places that count"""


@pytest.fixture
def count(tmp_path):
    """Count the calls that change something in a first picture's life, of a program that is run in some way."""
    if (reason := each_call.reason_to_skip()) is not None:
        pytest.skip(reason)

    def run(how):
        folder = tmp_path / how
        folder.mkdir()
        done = in_private([sys.executable, "-c", COUNT, str(folder), how, ",".join(CALLS)], timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_forked_program_changes_what_one_does_that_is_started(count):
    assert count("forked") == count("fresh")


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace here: apt-get install strace")
def test_the_calls_that_are_counted_are_those_that_strace_sees(count):
    counts = count("forked")
    by_name = {name: sum(n for call, n in counts.items() if call.split()[0] == name) for name in CALLS}
    assert by_name == count("strace")
