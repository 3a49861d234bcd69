import time

import pytest
from sticky_pi_uploader.clock import PLATFORM_START, is_synchronised, span, utc_text


def test_the_platform_began_in_november_2019():
    assert time.gmtime(PLATFORM_START)[:6] == (2019, 11, 1, 0, 0, 0)


def test_what_systemd_says_of_the_clock_is_believed(tmp_path):
    folder = tmp_path / "timesync"
    assert is_synchronised(str(folder)) is None
    folder.mkdir()
    assert is_synchronised(str(folder)) is False
    (folder / "synchronized").touch()
    assert is_synchronised(str(folder)) is True


def test_times_that_are_none_become_null():
    assert [utc_text(seconds) for seconds in (None, 1e300, float("nan"), float("inf"))] == [None] * 4
    assert utc_text(0.9) == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0, "0 s"), (59.0, "59 s"), (90.0, "1.5 min"), (5400.0, "1.5 h"), (3 * 86400.0, "3.0 days")]
)
def test_a_span_is_said_in_the_unit_that_suits_it(seconds, said):
    assert span(seconds) == said
