import os
import sys
from contextlib import contextmanager

import pytest
from filled_disk import FilledDisk
from power_cuts import reason_to_skip
from power_cuts.disk import Disk
from sticky_pi_api.sqlite.errors import LEAST_FREE
from sticky_pi_uploader import config as config_module
from sticky_pi_uploader.exceptions import LockedError
from sticky_pi_uploader.service.session import Session
from sticky_pi_uploader.state_dir.mounts import state_dir_problem
from sticky_pi_uploader.state_dir.reserved_space import SIZE, Reserve
from tracing import traced

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

RESERVE = {"reserve", "reserve-inode"}


@pytest.fixture
def disk(tmp_path):
    if (reason := reason_to_skip(tmp_path)) is not None:
        pytest.skip(reason)
    disk = FilledDisk(tmp_path)
    yield disk
    disk.close()


@contextmanager
def as_user(uid):
    """Have the block's file system calls made by another user."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def names(folder):
    return set(os.listdir(folder)) - {".filler", "lost+found"}


def test_some_of_the_disk_is_put_by_once(tmp_path):
    reserve = Reserve(str(tmp_path))
    reserve.fill()
    assert names(tmp_path) == RESERVE
    file = tmp_path / "reserve"
    assert (file.stat().st_size, file.stat().st_blocks * 512 >= SIZE) == (SIZE, True)
    before = file.stat().st_mtime_ns
    reserve.fill()
    assert file.stat().st_mtime_ns == before


def test_where_there_is_plenty_it_is_kept(tmp_path):
    reserve = Reserve(str(tmp_path))
    reserve.fill()
    reserve.release_if_needed()
    assert reserve.is_enough()
    assert names(tmp_path) == RESERVE


def test_on_a_full_disk_it_is_given_up_and_is_enough_to_write_with(disk):
    folder = str(disk.mount)
    reserve = Reserve(folder)
    reserve.fill()
    disk.fill()
    assert reserve.is_enough()
    assert state_dir_problem(folder) is None
    reserve.release_if_needed()
    assert names(folder) == set()
    (disk.mount / "written").write_bytes(os.urandom(LEAST_FREE))


def test_without_one_a_full_disk_is_a_problem_of_the_state_folder_until_there_is_space(disk):
    folder = str(disk.mount)
    disk.fill()
    reserve = Reserve(folder)
    reserve.fill()
    reserve.release_if_needed()
    assert not reserve.is_enough()
    assert state_dir_problem(folder) == f"the state folder {folder} can't be written: no space left on its disk"
    assert names(folder) == set()
    disk.empty()
    assert state_dir_problem(folder) is None


def test_little_that_is_enough_is_enough_and_nothing_is_put_by_of_it(disk):
    disk.fill(left=4 * LEAST_FREE)
    reserve = Reserve(str(disk.mount))
    assert reserve.is_enough()
    reserve.fill()
    assert names(disk.mount) == set()


def test_a_folder_that_is_not_there_is_somebody_elses_problem(tmp_path):
    reserve = Reserve(str(tmp_path / "none"))
    reserve.fill()
    reserve.release_if_needed()
    assert reserve.is_enough()


@pytest.mark.parametrize("kind", ["link to a file", "link to nothing", "pipe"])
@pytest.mark.parametrize("name", ["reserve", ".reserve-trial"])
def test_where_space_is_scarce_nothing_that_lies_there_is_followed_or_waited_for(disk, tmp_path, name, kind):
    victim, made = tmp_path / "victim", tmp_path / "made"
    victim.write_text("not to be overwritten")
    if kind == "pipe":
        os.mkfifo(disk.mount / name)
    else:
        (disk.mount / name).symlink_to(victim if kind == "link to a file" else made)
    for left in (8 * LEAST_FREE, LEAST_FREE // 4):
        disk.fill(left=left)
        reserve = Reserve(str(disk.mount))
        assert reserve.is_enough() == (left > LEAST_FREE)
        reserve.fill()
        assert names(disk.mount) == {name}
        disk.empty()
    reserve.fill()
    assert victim.read_text() == "not to be overwritten"
    assert not made.exists()


@needs_root
def test_root_asks_for_the_space_in_another_users_folder_and_makes_nothing_there(disk, tmp_path):
    disk.fill(left=4 * LEAST_FREE)
    os.chown(disk.mount, 65000, 65000)
    log = tmp_path / "log"
    code = f"""if True:
        from sticky_pi_uploader.state_dir.mounts import state_dir_problem
        print("asked", state_dir_problem({str(disk.mount)!r}))
        """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    options = ["-y", "-e", "trace=open,openat,creat,fallocate,unlink", "-o", log]
    assert traced(options, [sys.executable, "-c", code], env=environment).stdout == "asked None\n"
    assert str(disk.mount) not in log.read_text()


@needs_root
def test_what_the_system_keeps_for_root_is_roots(tmp_path, open_trap):
    if (reason := reason_to_skip(tmp_path)) is not None:
        pytest.skip(reason)
    disk = Disk(open_trap.folder, size=48 << 20, options=("-b", "4096", "-m", "40"))
    try:
        filler = (disk.mount / "filler").open("wb")
        with filler:
            os.posix_fallocate(filler.fileno(), 0, os.statvfs(disk.mount).f_bavail * 4096)
        assert os.statvfs(disk.mount).f_bavail == 0
        reserve = Reserve(str(disk.mount))
        assert reserve.is_enough()
        disk.mount.chmod(0o777)
        for folder in (disk.mount, disk.mount / "state"):
            folder.mkdir(exist_ok=True)
            os.chown(folder, 65000, 65000)
            with as_user(65000):
                assert not Reserve(str(folder)).is_enough()
    finally:
        disk.close()


def test_the_reserve_of_a_process_at_work_is_left_to_it_by_one_that_comes_too_late(disk, tmp_path):
    (disk.mount / "pictures").mkdir()
    state = disk.mount / "state"
    flags = {"image_dir": str(disk.mount / "pictures"), "state_dir": str(state)}
    config = config_module.load(flags, {}, default_file="/nonexistent")
    with Session(config, wake=lambda: None, stopping=lambda: False):
        Reserve(str(state)).fill()
        disk.fill()
        late = Session(config, wake=lambda: None, stopping=lambda: False)
        with pytest.raises(LockedError), late:
            pass
        assert names(state) > RESERVE
    with Session(config, wake=lambda: None, stopping=lambda: False):
        assert RESERVE.isdisjoint(names(state))
