"""Things of the wrong kind in the state folder: each drain must go on as if the right ones had been missing."""

import os
import resource
import shutil
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from flushes import flushes
from sticky_pi_uploader.exceptions import StateError
from sticky_pi_uploader.state_dir.folder import MARK
from sticky_pi_uploader.state_dir.obstacles import clear_obstacle_of_lock, clear_obstacles

FIRST = datetime(2020, 6, 20, 21, 33)  # noqa: DTZ001  # UTC, as in the file names
FILES = ("lock", "outbox.db", "outbox.db-wal", "outbox.db-shm", "reserve", "reserve-inode")

TAKE_OVER = """
import os, sys
from sticky_pi_uploader.state_dir.obstacles import clear_obstacles
os.setresuid(65534, 65534, 65534)
print("begin", flush=True)
clear_obstacles(sys.argv[1])
"""


@pytest.fixture
def drained(trap, make_trap_picture):
    """Have another picture taken and sent; returns what the command said."""

    def drain():
        number = len(list(trap.images.rglob("*.jpg")))
        make_trap_picture(trap.images / "5c173ff2", "5c173ff2", FIRST + timedelta(minutes=number))
        done = trap.run("drain", text=True)
        assert done.returncode == 0, done.stderr
        assert sum(each["state"] == "uploaded" for each in trap.json("list")) == number + 1
        return done.stderr

    return drain


def replace(path, kind, to=None):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
        (path / "found").write_text("what somebody may want")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(to)
    else:
        path.write_text("what somebody may want")


@pytest.mark.parametrize("kind", ["folder", "fifo"])
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_is_put_aside(trap, drained, name, kind):
    drained()
    replace(trap.state / name, kind)
    said = drained()
    (aside,) = trap.state.glob(f"{name}.misfit-*")
    assert aside.is_dir() == (kind == "folder")
    assert f"WARNING {trap.state / name} was in the way, and lies in {aside} now\n" in said
    assert "was in the way" not in drained()


def test_thumbnails_that_are_a_file_are_put_aside(trap, drained):
    drained()
    (trap.state / "thumbnails").rename(trap.state / "elsewhere")
    replace(trap.state / "thumbnails", "file")
    assert "thumbnails was in the way" in drained()
    assert (trap.state / "thumbnails").is_dir()


def test_it_knows_everything_that_is_made_in_a_state_folder(trap, drained):
    """But the mark: without it, it goes on."""
    drained()
    with trap.open():
        found = {entry.name for entry in trap.state.iterdir()}
    assert found == {*FILES, "thumbnails", MARK}


@pytest.mark.parametrize("to", ["lock", "nowhere", "../victim", "itself"])
@pytest.mark.parametrize("name", [*FILES, "thumbnails"])
def test_a_link_is_put_aside_wherever_it_leads_and_nothing_is_changed_there(trap, drained, name, to):
    drained()
    (trap.folder / "victim").write_text("not to be touched")
    replace(trap.state / name, "link", to=name if to == "itself" else to)
    assert f"{name} was in the way" in drained()
    (aside,) = trap.state.glob(f"{name}.misfit-*")
    assert aside.is_symlink()
    assert (trap.folder / "victim").read_text() == "not to be touched"
    assert not (trap.state / "nowhere").exists()
    assert "was in the way" not in drained()


@pytest.mark.parametrize("of", ["all", "one"])
def test_a_folder_of_thumbnails_elsewhere_is_left_as_it_is(trap, tmp_path, drained, of):
    drained()
    folder = trap.state / "thumbnails" if of == "all" else next((trap.state / "thumbnails").iterdir())
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").rglob("*"))
    assert f"{folder.name} was in the way" in drained()
    assert sorted((tmp_path / "elsewhere").rglob("*")) == before
    assert not folder.is_symlink()
    assert (trap.state / "thumbnails").is_dir()
    assert "was in the way" not in drained()


@pytest.mark.parametrize(("name", "look"), [("lock", clear_obstacle_of_lock), ("outbox.db", clear_obstacles)])
def test_one_that_cannot_be_renamed_is_named(tmp_path, monkeypatch, name, look):
    (tmp_path / name).mkdir()
    monkeypatch.setattr("time.time_ns", lambda: "y" * 300)
    with pytest.raises(StateError, match=rf"{name} is in the way, and can't be renamed: File name too long"):
        look(str(tmp_path))


@pytest.fixture
def left_outbox(tmp_path):
    """An outbox in another user's folder that root left there."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to leave a file that the folder's user can't write")
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65534, 65534)
    # Nobody may enter pytest's own folders.
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    outbox = state / "outbox.db"
    outbox.write_bytes(b"all that is known")
    return outbox


def test_an_outbox_that_another_user_left_is_copied_durably(tmp_path, left_outbox):
    calls = flushes(tmp_path / "log", TAKE_OVER, left_outbox.parent)
    copy = f"{left_outbox}.copy"
    wanted = [("flush", copy), ("rename", str(left_outbox)), ("flush", str(left_outbox.parent))]
    assert [call for call in calls if call[0] in ("flush", "rename")] == wanted
    assert (left_outbox.read_bytes(), left_outbox.stat().st_uid) == (b"all that is known", 65534)


def test_a_copy_that_finds_no_room_is_taken_away(left_outbox):
    done = subprocess.run(
        [sys.executable, "-c", TAKE_OVER, left_outbox.parent],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{left_outbox} belongs to another user, and can't be copied: File too large" in done.stderr
    assert os.listdir(left_outbox.parent) == [left_outbox.name]
    assert left_outbox.read_bytes() == b"all that is known"
