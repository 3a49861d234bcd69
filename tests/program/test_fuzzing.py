"""Feeds mutated pictures, EXIF, names, configurations, answers and outbox files to the program: nothing comes of it.

A test run tries some 2,000 inputs, always the same. The long run tries as many as it is told, those among them:

    STICKY_PI_FUZZ=100000 tests/run -k fuzzing --basetemp=/dev/shm/fuzzing

A failure names its input, which `python -m fuzzing TARGET FOLDER --first=NUMBER --inputs=1` takes again.
"""

import os
import sys

import pytest
from fuzzing import SHARES, fuzz

INPUTS = int(os.environ.get("STICKY_PI_FUZZ", "2000"))
LONGEST = 300 + INPUTS
"""Seconds that one target may take on a busy machine"""

EVERY_END = {
    "pictures": {"taken in", "rejected"},
    "exif": {"read", "doubtful", "refused"},
    "names": {"taken in", "rejected", "ignored"},
    "configurations": {"understood", "refused", "refused for several reasons"},
    "answers": {"answered", "NotAnAPIError", "UnavailableError", "UnreachableError"},
    "outboxes": {"as it was", "put aside"},
}
"""What has to come of some inputs at least, or the mutations would be too wild, or too tame"""


@pytest.mark.parametrize("target", SHARES)
def test_mutated_input_has_only_the_ends_that_are_documented(target, tmp_path):
    figures = fuzz(target, tmp_path, inputs=round(INPUTS * SHARES[target]), timeout=LONGEST)
    print(target, {name: value for name, value in figures.items() if name != "examples"}, file=sys.stderr)
    assert figures["wrong"] == {}, "\n\n".join(figures["examples"])
    assert figures["ends"].keys() >= EVERY_END[target]
