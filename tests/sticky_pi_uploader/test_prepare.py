import os
import pwd
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest
from sticky_pi_uploader.commands import prepare
from sticky_pi_uploader.exceptions import StateError

NOBODY = "nobody"
PATIENCE = 20.0

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def owner():
    return prepare.owner(NOBODY)


@pytest.fixture
def run(trap):
    """Run the command to its end."""

    def run(*arguments):
        done = trap.run("prepare", *arguments, text=True)
        return done.returncode, done.stderr

    return run


@contextmanager
def started(flags):
    """Start the command where it has to wait; gives the process."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "sticky_pi_uploader", *flags, "prepare"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def owners(folder):
    """Map each path in a folder, and itself, to the name of its owner."""
    return {
        path.relative_to(folder).as_posix(): pwd.getpwuid(path.lstat().st_uid).pw_name
        for path in (folder, *folder.rglob("*"))
    }


def test_the_state_folder_is_made_and_nothing_in_it(trap, run):
    assert run() == (0, "")
    assert list(trap.state.iterdir()) == []
    assert stat.S_IMODE(trap.state.stat().st_mode) == 0o755
    assert run() == (0, "")


@needs_root
def test_the_folder_and_what_is_in_it_belong_to_the_user_afterwards(trap, run, taken):
    trap.record(taken("a.jpg"))
    (trap.state / "lock").touch()
    deep = trap.state / "thumbnails" / "5c"
    deep.mkdir(parents=True)
    (deep / "one").touch()
    assert run("--user", NOBODY) == (0, "")
    assert set(owners(trap.state).values()) == {NOBODY}
    assert len(owners(trap.state)) == 6
    assert trap.images.stat().st_uid == 0


@needs_root
def test_what_root_left_there_later_is_given_away_too(trap, run):
    assert run("--user", NOBODY) == (0, "")
    (trap.state / "new").touch()
    (trap.state / "folder").mkdir()
    assert run("--user", NOBODY) == (0, "")
    assert owners(trap.state) == {".": NOBODY, "new": NOBODY, "folder": NOBODY}


@needs_root
def test_no_link_is_followed_and_no_file_with_another_name_is_given_away(trap, run):
    elsewhere = trap.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "passwd").touch()
    (elsewhere / "shadow").touch()
    assert run("--user", NOBODY) == (0, "")
    (trap.state / "file").symlink_to(elsewhere / "passwd")
    (trap.state / "folder").symlink_to(elsewhere)
    os.link(elsewhere / "shadow", trap.state / "shadow")
    os.mkfifo(trap.state / "pipe")
    assert run("--user", NOBODY) == (0, "")
    assert set(owners(elsewhere).values()) == {"root"}
    assert owners(trap.state) == {".": NOBODY, "file": "root", "folder": "root", "shadow": "root", "pipe": "root"}


@needs_root
def test_another_file_system_in_the_folder_is_left_as_it_is(trap, run):
    assert run("--user", NOBODY) == (0, "")
    disk = trap.state / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        (disk / "file").touch()
        assert run("--user", NOBODY) == (0, "")
        assert owners(disk) == {".": "root", "file": "root"}
    finally:
        subprocess.run(["umount", disk], check=True)


@needs_root
def test_a_folder_full_of_other_things_is_named_and_stays_as_it_is(trap, run, owner):
    trap.state.mkdir()
    (trap.state / "important").touch()
    status, said = run("--user", NOBODY)
    assert status == 74
    assert f"the state folder {trap.state} holds other things: it was not given to nobody" in said
    assert set(owners(trap.state).values()) == {"root"}
    with pytest.raises(StateError, match="can't be given to nobody: No such file"):
        prepare._give(str(trap.folder / "nothing"), owner)


def test_an_unknown_user_is_wrong_usage(run):
    status, said = run("--user", "nobody-of-that-name")
    assert status == 2
    assert said.startswith("sticky-pi-uploader: there is no user 'nobody-of-that-name'; see `")


def test_an_image_folder_that_is_not_there_is_waited_for_and_nothing_is_made_above_it(trap):
    trap.images.rmdir()
    with started(trap.flags) as process:
        assert f"the image folder {trap.images} isn't there; waiting for it" in process.stderr.readline()
        assert not trap.images.exists()
        assert not trap.state.exists()
        trap.images.mkdir()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
    assert trap.state.is_dir()


def test_a_wait_that_is_stopped_ends_with_75(trap):
    trap.images.rmdir()
    with started(trap.flags) as process:
        assert "waiting for it" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 75
    assert not trap.state.exists()


def test_a_destination_that_is_still_to_be_set_is_no_hindrance(trap):
    file = trap.folder / "config.toml"
    file.write_text(f'image_dir = "{trap.images}"\nstate_dir = "{trap.state}"\n[api]\nurl = ""\n')
    done = trap.run("prepare", flags=["--config", str(file)])
    assert (done.returncode, done.stderr) == (0, b"")
    assert trap.state.is_dir()


def test_a_wrong_configuration_is_78_and_nothing_is_made(trap):
    done = trap.run("prepare", "--api-url", "gopher://x")
    assert done.returncode == 78
    assert not trap.state.exists()


@needs_root
def test_a_card_that_is_read_only_is_waited_for(trap):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", trap.images], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    state = trap.images / ".sticky-pi-uploader"
    try:
        with started(["--image-dir", str(trap.images), "--api-url", trap.url]) as process:
            line = process.stderr.readline()
            assert f"the state folder {state} can't be written: its file system is read-only; waiting for it" in line
            subprocess.run(["mount", "-o", "remount,rw", trap.images], check=True)
            assert process.wait(PATIENCE) == 0
        assert state.is_dir()
    finally:
        subprocess.run(["umount", "-l", trap.images], check=True)
