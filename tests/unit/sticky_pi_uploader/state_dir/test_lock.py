import fcntl
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import mounted
import pytest
from sticky_pi_uploader.exceptions import LockedError, StateError
from sticky_pi_uploader.state_dir.lock import LOCK_FILE, Locks, is_held
from tracing import traced

HOLD = """if True:
    import sys
    from sticky_pi_uploader.state_dir.lock import Locks
    with Locks() as locks:
        locks.take(sys.argv[1], sys.argv[2])
        print("held", flush=True)
        sys.stdin.read()
    """

TRY = """if True:
    import fcntl, os, sys, threading
    descriptors = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
    over = threading.Thread(target=sys.stdin.read)
    over.start()
    print("trying", flush=True)
    got = 0
    while over.is_alive():
        for descriptor in descriptors:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            got += 1
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    print("got", got)
    """


@contextmanager
def locked(image_dir, state_dir):
    """Hold both locks."""
    with Locks() as locks:
        locks.take(image_dir, state_dir)
        yield


@pytest.fixture
def folders(tmp_path):
    for name in ("pictures", "state", "other-pictures", "other-state"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def holder(folders):
    """Another process that holds both folders until it is told to end."""
    command = [sys.executable, "-c", HOLD, folders / "pictures", folders / "state"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("pictures", "state", "common"),
    [("other-pictures", "state", "state folder {}/state"), ("pictures", "other-state", "image folder {}/pictures")],
)
def test_one_of_the_two_folders_alone_excludes(folders, holder, pictures, state, common):
    with pytest.raises(LockedError) as caught, locked(f"{folders}/{pictures}", f"{folders}/{state}"):
        pass
    assert caught.value.exit_status == 73
    said = f"another sticky-pi-uploader (process {holder.pid}) is at work on the {common.format(folders)}"
    assert str(caught.value) == said


def test_a_link_to_the_image_folder_excludes_too(folders, holder):
    (folders / "link").symlink_to("pictures")
    with pytest.raises(LockedError), locked(f"{folders}/link", f"{folders}/other-state"):
        pass


def test_other_folders_are_free(folders, holder):
    with locked(f"{folders}/other-pictures", f"{folders}/other-state"):
        assert (folders / "other-state" / LOCK_FILE).read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_ends_with_its_process_however_that_ends(folders, holder, number):
    holder.send_signal(number)
    holder.wait()
    with locked(f"{folders}/pictures", f"{folders}/state"):
        assert (folders / "state" / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_who_comes_too_late_leaves_the_holders_number_in_the_file(folders, holder):
    with pytest.raises(LockedError), locked(f"{folders}/pictures", f"{folders}/state"):
        pass
    assert (folders / "state" / LOCK_FILE).read_text() == f"{holder.pid}\n"


def test_it_can_be_taken_again_once_it_was_given_back(folders):
    descriptors = len(os.listdir("/proc/self/fd"))
    with Locks() as locks:
        for _ in range(3):
            locks.take(f"{folders}/pictures", f"{folders}/state")
            with pytest.raises(LockedError), locked(f"{folders}/pictures", f"{folders}/state"):
                pass
            locks.release()
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_when_the_image_folder_is_taken_the_state_folder_is_given_back(folders):
    with locked(f"{folders}/pictures", f"{folders}/state"):
        with pytest.raises(LockedError), locked(f"{folders}/pictures", f"{folders}/other-state"):
            pass
        with locked(f"{folders}/other-pictures", f"{folders}/other-state"):
            assert (folders / "other-state" / LOCK_FILE).exists()


def test_a_program_that_is_started_meanwhile_does_not_keep_the_lock(folders):
    with locked(f"{folders}/pictures", f"{folders}/state"):
        command = ["sh", "-c", "echo; read line"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
        child.stdout.readline()
    try:
        with locked(f"{folders}/pictures", f"{folders}/state"):
            assert child.poll() is None
    finally:
        child.communicate()


def test_somebody_elses_lock_file_of_a_longer_number_is_overwritten_whole(folders):
    (folders / "state" / LOCK_FILE).write_text("12345678901234567890\n")
    with locked(f"{folders}/pictures", f"{folders}/state"):
        assert (folders / "state" / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_a_folder_that_is_gone_is_a_plain_message(folders):
    for pair in (("gone", "state"), ("pictures", "gone")):
        with (
            pytest.raises(StateError, match="can't be locked: No such file"),
            locked(*(f"{folders}/{n}" for n in pair)),
        ):
            pass


def test_a_lock_file_that_is_a_folder_is_a_plain_message(folders):
    (folders / "state" / LOCK_FILE).mkdir()
    with pytest.raises(StateError, match="can't be locked: it is a folder, not a file"):
        Locks().take(f"{folders}/pictures", f"{folders}/state")


def test_a_lock_that_waits_elsewhere_is_not_taken_for_the_holder(folders, holder):
    waiting = subprocess.Popen(["flock", folders / "pictures", "true"])
    try:
        with (
            pytest.raises(LockedError, match=f"process {holder.pid}"),
            locked(f"{folders}/pictures", f"{folders}/state"),
        ):
            pass
    finally:
        holder.communicate()
        assert waiting.wait() == 0


def test_an_image_folder_that_can_not_be_locked_is_said_and_the_state_folder_is_relied_on(folders):
    code = f"""if True:
        import logging
        logging.basicConfig(format="%(levelname)s %(message)s")
        from sticky_pi_uploader.state_dir.lock import Locks
        with Locks() as locks:
            locks.take("{folders}/pictures", "{folders}/state")
            print("held")
        """
    fails = ["-e", "trace=flock", "-e", "inject=flock:error=ENOLCK:when=2", "-o", "/dev/null"]
    done = traced(fails, [sys.executable, "-c", code])
    assert done.stdout == "held\n"
    assert done.stderr.startswith(f"WARNING {folders}/pictures can't be locked there")


def test_both_descriptors_are_really_locked_in_the_kernel(folders):
    with locked(f"{folders}/pictures", f"{folders}/state"):
        for path in (folders / "pictures", folders / "state" / LOCK_FILE):
            descriptor = os.open(path, os.O_RDONLY)
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(descriptor)


def test_others_see_whether_a_folder_is_worked_on_and_take_nothing_from_it(folders, holder):
    for _ in range(2):
        assert is_held(f"{folders}/state") is True
    assert is_held(f"{folders}/other-state") is False
    holder.communicate()
    assert is_held(f"{folders}/state") is False
    assert (folders / "state" / LOCK_FILE).exists()


def test_what_is_taken_again_is_free_at_no_moment(folders):
    """Another process tries all the time while the same folders, and then others, are taken."""
    command = [sys.executable, "-c", TRY, folders / "pictures", folders / "state" / LOCK_FILE]
    with Locks() as locks:
        locks.take(f"{folders}/pictures", f"{folders}/state")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout.readline() == "trying\n"
            for _ in range(300):
                locks.take(f"{folders}/pictures", f"{folders}/state")
            said = other.communicate()[0]
        assert said.split() == ["got", "0"]
        assert (folders / "state" / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_of_two_folders_the_one_that_stays_is_kept_and_the_other_is_free_then(folders):
    with Locks() as locks:
        locks.take(f"{folders}/pictures", f"{folders}/state")
        locks.take(f"{folders}/pictures", f"{folders}/other-state")
        with locked(f"{folders}/other-pictures", f"{folders}/state"):
            pass
        for pair in (("pictures", "state"), ("other-pictures", "other-state")):
            with pytest.raises(LockedError), locked(*(f"{folders}/{name}" for name in pair)):
                pass
    with locked(f"{folders}/pictures", f"{folders}/other-state"):
        pass


def test_what_was_held_stays_held_where_the_next_can_not_be_had(folders, holder):
    with Locks() as locks:
        locks.take(f"{folders}/other-pictures", f"{folders}/other-state")
        with pytest.raises(LockedError):
            locks.take(f"{folders}/pictures", f"{folders}/other-state")
        with pytest.raises(LockedError), locked(f"{folders}/other-pictures", f"{folders}/other-state"):
            pass
    with locked(f"{folders}/other-pictures", f"{folders}/other-state"):
        pass


def test_a_folder_that_was_replaced_is_locked_anew(folders):
    with Locks() as locks:
        locks.take(f"{folders}/pictures", f"{folders}/state")
        (folders / "state").rename(folders / "moved")
        (folders / "state").mkdir()
        locks.take(f"{folders}/pictures", f"{folders}/state")
        with locked(f"{folders}/other-pictures", f"{folders}/moved"):
            pass
        with pytest.raises(LockedError), locked(f"{folders}/other-pictures", f"{folders}/state"):
            pass


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_what_lies_in_the_place_of_the_lock_is_named_and_left_alone(folders, kind):
    lock, victim = folders / "state" / LOCK_FILE, folders / "victim"
    victim.write_text("untouched")
    if kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.symlink_to(victim if kind == "link" else folders / "made")
    with pytest.raises(StateError, match=f"lock can't be locked: it is a {kind.split()[-1]}, not a file"):
        Locks().take(f"{folders}/pictures", f"{folders}/state")
    assert is_held(f"{folders}/state") is None
    assert victim.read_text() == "untouched"
    assert not (folders / "made").exists()


@pytest.fixture(params=["overlay", "overlay of two disks", "btrfs"])
def odd_disk(request, tmp_path):
    """A file system whose files show another device than the kernel's list of locks."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    folder = tmp_path / "odd"
    with ExitStack() as stack:
        if request.param == "btrfs":
            if shutil.which("mkfs.btrfs") is None:
                pytest.skip("needs mkfs.btrfs (package btrfs-progs)")
            image = tmp_path / "image"
            with image.open("wb") as file:
                file.truncate(128 << 20)
            subprocess.run(["mkfs.btrfs", "-q", image], check=True)
            stack.enter_context(mounted.mounted(folder, "-o", "loop", image))
            for name in ("pictures", "state"):
                (folder / name).mkdir()
        else:
            upper = stack.enter_context(mounted.tmpfs(tmp_path / "upper"))
            lower = tmp_path / "lower" if request.param == "overlay of two disks" else upper / "lower"
            for each in (upper / "up", upper / "work", lower / "pictures", lower / "state"):
                each.mkdir(parents=True)
            (lower / "state" / LOCK_FILE).touch()
            options = f"lowerdir={lower},upperdir={upper}/up,workdir={upper}/work"
            stack.enter_context(mounted.mounted(folder, "-t", "overlay", "-o", options, "overlay"))
        yield folder


def test_on_file_systems_with_numbers_of_their_own_the_holder_is_found_too(odd_disk):
    state, pictures = odd_disk / "state", odd_disk / "pictures"
    assert is_held(str(state)) is False
    command = [sys.executable, "-c", HOLD, pictures, state]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        for _ in range(2):
            assert is_held(str(state)) is True
        with pytest.raises(LockedError, match=rf"\(process {holder.pid}\) is at work on the state folder"):
            Locks().take(str(pictures), str(state))
        holder.communicate()
    assert is_held(str(state)) is False


def test_another_lock_on_the_same_disk_is_nobodys_at_work(odd_disk):
    state = odd_disk / "state"
    with locked(str(odd_disk / "pictures"), str(state)):
        pass
    (odd_disk / "other").touch()
    descriptor = os.open(odd_disk / "other", os.O_RDONLY)
    try:
        (state / LOCK_FILE).write_text("1\n")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert is_held(str(state)) is False
    finally:
        os.close(descriptor)
