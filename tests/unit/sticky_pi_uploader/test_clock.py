import time

from sticky_pi_uploader.clock import PLATFORM_START, is_synchronised


def test_the_platform_began_in_november_2019():
    assert time.gmtime(PLATFORM_START)[:6] == (2019, 11, 1, 0, 0, 0)


def test_what_systemd_says_of_the_clock_is_believed(tmp_path):
    folder = tmp_path / "timesync"
    assert is_synchronised(str(folder)) is None
    folder.mkdir()
    assert is_synchronised(str(folder)) is False
    (folder / "synchronized").touch()
    assert is_synchronised(str(folder)) is True
