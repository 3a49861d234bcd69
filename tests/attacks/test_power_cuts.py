"""Cuts the power while pictures arrive, are sent and are removed; the program goes on with what the disk then has.

A test run cuts some thirty times. The long run, of 1000 cuts or more, takes a quarter of an hour:

    STICKY_PI_POWER_CUTS=1000 tests/run -k power_cut

A failure names its seed; STICKY_PI_POWER_SEED=<seed> takes it again. The moments depend on the machine as well.
"""

import os
import sys
import time

import pytest
from power_cuts import cut_power, reason_to_skip

CUTS = int(os.environ.get("STICKY_PI_POWER_CUTS", "20"))
SEED = int(os.environ.get("STICKY_PI_POWER_SEED") or time.time_ns() // 1_000_000 % 1_000_000)
ENOUGH = 100
"""Cuts within which a flush that is left out must show"""
LONGEST = 300 + 20 * max(CUTS, ENOUGH)
"""Seconds that a run may take on a busy machine"""

FLUSHES_LEFT_OUT = {
    "row": ("row gone", "--without=row"),
    "picture": ("bytes gone", "--without=picture"),
    # On ext4, flushing a new file makes its name durable, too: a camera that flushes leaves only the folder's to count.
    "folder": ("picture gone", "--without=picture,folder", "--camera-flushes", "--settled=400"),
}
"""What each of them makes good for, and how it is left out"""


@pytest.fixture
def cut(tmp_path):
    """Cut the power of disks in an empty folder."""
    if (reason := reason_to_skip(tmp_path)) is not None:
        pytest.skip(reason)
    folder = tmp_path / "cuts"
    folder.mkdir()
    return lambda *options: cut_power(folder, f"--seed={SEED}", *options, timeout=LONGEST)


def test_a_power_cut_takes_nothing_that_was_recorded(cut):
    figures = cut(f"--cuts={CUTS}")
    print(figures, file=sys.stderr)
    assert figures["wrong"] == {}, (SEED, figures)
    assert figures["cuts"] == CUTS
    assert figures["taken_in"] > 0


def test_a_power_cut_takes_nothing_that_was_on_its_way_to_a_server(cut):
    figures = cut("--cuts=6", "--server")
    assert figures["wrong"] == {}, (SEED, figures)
    assert figures["cuts"] == 6


@pytest.mark.parametrize("flush", FLUSHES_LEFT_OUT)
def test_cuts_show_a_flush_that_is_left_out(cut, flush):
    expected, *options = FLUSHES_LEFT_OUT[flush]
    figures = cut(f"--cuts={ENOUGH}", "--until-loss", *options)
    assert expected in figures["wrong"], (SEED, figures)


def test_a_folders_flush_keeps_the_names_in_it_alone(cut):
    """What the one before leaves out, but for the folder's flush: so it is that one which is missed there."""
    _, _, *options = FLUSHES_LEFT_OUT["folder"]
    figures = cut("--cuts=8", "--without=picture", *options)
    assert figures["wrong"] == {}, (SEED, figures)
