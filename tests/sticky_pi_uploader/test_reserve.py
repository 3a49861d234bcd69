import os

import pytest
from filled_disk import FilledDisk
from power_cuts import reason_to_skip
from sticky_pi_uploader.folders import state_dir_problem
from sticky_pi_uploader.reserve import LEAST, SIZE, Reserve

RESERVE = {"reserve", "reserve-inode"}


@pytest.fixture
def disk(tmp_path):
    if (reason := reason_to_skip(tmp_path)) is not None:
        pytest.skip(reason)
    disk = FilledDisk(tmp_path)
    yield disk
    disk.close()


def names(folder):
    return set(os.listdir(folder)) - {".filler", "lost+found"}


def test_some_of_the_disk_is_put_by_once(tmp_path):
    reserve = Reserve(str(tmp_path))
    reserve.put_by()
    assert names(tmp_path) == RESERVE
    file = tmp_path / "reserve"
    assert (file.stat().st_size, file.stat().st_blocks * 512 >= SIZE) == (SIZE, True)
    before = file.stat().st_mtime_ns
    reserve.put_by()
    assert file.stat().st_mtime_ns == before


def test_where_there_is_plenty_it_is_kept(tmp_path):
    reserve = Reserve(str(tmp_path))
    reserve.put_by()
    reserve.use_if_needed()
    assert reserve.is_enough()
    assert names(tmp_path) == RESERVE


def test_on_a_full_disk_it_is_given_up_and_is_enough_to_write_with(disk):
    folder = str(disk.mount)
    reserve = Reserve(folder)
    reserve.put_by()
    disk.fill()
    assert reserve.is_enough()
    assert state_dir_problem(folder) is None
    reserve.use_if_needed()
    assert names(folder) == set()
    (disk.mount / "written").write_bytes(os.urandom(LEAST))


def test_without_one_a_full_disk_is_a_problem_of_the_state_folder_until_there_is_space(disk):
    folder = str(disk.mount)
    disk.fill()
    reserve = Reserve(folder)
    reserve.put_by()
    reserve.use_if_needed()
    assert not reserve.is_enough()
    assert state_dir_problem(folder) == f"the state folder {folder} can't be written: no space left on its disk"
    assert names(folder) == set()
    disk.empty()
    assert state_dir_problem(folder) is None


def test_little_that_is_enough_is_enough_and_nothing_is_put_by_of_it(disk):
    disk.fill(left=4 * LEAST)
    reserve = Reserve(str(disk.mount))
    assert reserve.is_enough()
    reserve.put_by()
    assert names(disk.mount) == set()


def test_a_folder_that_is_not_there_is_somebody_elses_problem(tmp_path):
    reserve = Reserve(str(tmp_path / "none"))
    reserve.put_by()
    reserve.use_if_needed()
    assert reserve.is_enough()
