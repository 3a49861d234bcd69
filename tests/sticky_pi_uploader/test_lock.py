import fcntl
import os
import signal
import subprocess
import sys

import pytest
from sticky_pi_uploader.exceptions import LockedError, StateError
from sticky_pi_uploader.lock import LOCK_FILE, Lock, is_held
from tracing import traced

HOLD = """if True:
    import sys
    from sticky_pi_uploader.lock import Lock
    with Lock(sys.argv[1], sys.argv[2]):
        print("held", flush=True)
        sys.stdin.read()
    """


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


def test_the_state_folder_alone_excludes(folders, holder):
    with pytest.raises(LockedError) as caught, Lock(f"{folders}/other-pictures", f"{folders}/state"):
        pass
    assert caught.value.exit_status == 73
    said = f"another sticky-pi-uploader (process {holder.pid}) is at work on the state folder {folders}/state"
    assert str(caught.value) == said


def test_the_image_folder_alone_excludes(folders, holder):
    with pytest.raises(LockedError) as caught, Lock(f"{folders}/pictures", f"{folders}/other-state"):
        pass
    said = f"another sticky-pi-uploader (process {holder.pid}) is at work on the image folder {folders}/pictures"
    assert str(caught.value) == said


def test_a_link_to_the_image_folder_excludes_too(folders, holder):
    (folders / "link").symlink_to("pictures")
    with pytest.raises(LockedError), Lock(f"{folders}/link", f"{folders}/other-state"):
        pass


def test_other_folders_are_free(folders, holder):
    with Lock(f"{folders}/other-pictures", f"{folders}/other-state"):
        assert (folders / "other-state" / LOCK_FILE).read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_ends_with_its_process_however_that_ends(folders, holder, number):
    holder.send_signal(number)
    holder.wait()
    with Lock(f"{folders}/pictures", f"{folders}/state"):
        assert (folders / "state" / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_who_comes_too_late_leaves_the_holders_number_in_the_file(folders, holder):
    with pytest.raises(LockedError), Lock(f"{folders}/pictures", f"{folders}/state"):
        pass
    assert (folders / "state" / LOCK_FILE).read_text() == f"{holder.pid}\n"


def test_it_can_be_taken_again_once_it_was_given_back(folders):
    descriptors = len(os.listdir("/proc/self/fd"))
    lock = Lock(f"{folders}/pictures", f"{folders}/state")
    for _ in range(3):
        with lock, pytest.raises(LockedError), Lock(f"{folders}/pictures", f"{folders}/state"):
            pass
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_when_the_image_folder_is_taken_the_state_folder_is_given_back(folders):
    with Lock(f"{folders}/pictures", f"{folders}/state"):
        with pytest.raises(LockedError), Lock(f"{folders}/pictures", f"{folders}/other-state"):
            pass
        with Lock(f"{folders}/other-pictures", f"{folders}/other-state"):
            assert (folders / "other-state" / LOCK_FILE).exists()


def test_a_program_that_is_started_meanwhile_does_not_keep_the_lock(folders):
    with Lock(f"{folders}/pictures", f"{folders}/state"):
        command = ["sh", "-c", "echo; read line"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
        child.stdout.readline()
    try:
        with Lock(f"{folders}/pictures", f"{folders}/state"):
            assert child.poll() is None
    finally:
        child.communicate()


def test_somebody_elses_lock_file_of_a_longer_number_is_overwritten_whole(folders):
    (folders / "state" / LOCK_FILE).write_text("12345678901234567890\n")
    with Lock(f"{folders}/pictures", f"{folders}/state"):
        assert (folders / "state" / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_a_folder_that_is_gone_is_a_plain_message(folders):
    for pair in (("gone", "state"), ("pictures", "gone")):
        with pytest.raises(StateError, match="can't be locked: No such file"), Lock(*(f"{folders}/{n}" for n in pair)):
            pass


def test_a_lock_file_that_is_a_folder_is_a_plain_message(folders):
    (folders / "state" / LOCK_FILE).mkdir()
    with pytest.raises(StateError, match="can't be locked: Is a directory"):
        Lock(f"{folders}/pictures", f"{folders}/state").__enter__()


def test_a_lock_that_waits_elsewhere_is_not_taken_for_the_holder(folders, holder):
    waiting = subprocess.Popen(["flock", folders / "pictures", "true"])
    try:
        with pytest.raises(LockedError, match=f"process {holder.pid}"), Lock(f"{folders}/pictures", f"{folders}/state"):
            pass
    finally:
        holder.communicate()
        assert waiting.wait() == 0


def test_an_image_folder_that_can_not_be_locked_is_said_and_the_state_folder_is_relied_on(folders):
    code = f"""if True:
        import logging
        logging.basicConfig(format="%(levelname)s %(message)s")
        from sticky_pi_uploader.lock import Lock
        with Lock("{folders}/pictures", "{folders}/state"):
            print("held")
        """
    fails = ["-e", "trace=flock", "-e", "inject=flock:error=ENOLCK:when=2", "-o", "/dev/null"]
    done = traced(fails, [sys.executable, "-c", code])
    assert done.stdout == "held\n"
    assert done.stderr.startswith(f"WARNING {folders}/pictures can't be locked there")


def test_both_descriptors_are_really_locked_in_the_kernel(folders):
    with Lock(f"{folders}/pictures", f"{folders}/state"):
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
