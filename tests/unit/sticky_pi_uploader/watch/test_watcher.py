import ctypes
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from program import eventually, python
from sticky_pi_api.filesystem.mounts import network_file_system
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.journal.events import Kind
from sticky_pi_uploader.scan_requests import ScanRequests
from sticky_pi_uploader.watch.inotify import SELF_END_TIMEOUT
from sticky_pi_uploader.watch.watcher import NEW_FOLDER_DELAY, POLL_INTERVAL, Watcher
from watchdog.observers.api import BaseObserver, EventEmitter

NAME = "1b74105a.2020-07-05_10-07-16.jpg"


class Trap:
    """An image dir under a real watch, with what it hinted at so far; `now` is the watcher's clock."""

    def __init__(self, folder, ignored=(), scan_requests=None, **options):
        self.image_dir = folder
        self.now = 1000.0
        self.scan_requests = ScanRequests() if scan_requests is None else scan_requests
        self.scanner = Scanner(os.fspath(folder), [os.fspath(each) for each in ignored])
        self.watcher = Watcher(
            self.scanner, self.scan_requests, scan_interval=600.0, monotonic=lambda: self.now, **options
        )
        self.files, self.touched, self.folders, self.scans = set(), set(), set(), 0

    def __enter__(self):
        self.watcher.start()
        self.look()
        assert self.scans == 1
        self.scans = 0
        return self

    def __exit__(self, *exception):
        self.watcher.stop()

    def put(self, path):
        full = self.image_dir / path
        full.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{full}~", "wb") as file:
            file.write(b"x")
        os.rename(f"{full}~", full)

    def look(self):
        request = self.scan_requests.take()
        self.files |= request.files
        self.touched |= request.touched
        self.folders |= request.folders
        self.scans += request.everything

    def wait(self, condition):
        eventually(lambda: self.look() or condition())
        self.look()

    def wait_for(self, *paths):
        self.wait(lambda: self.files.issuperset(paths))

    def settle(self):
        """Tick until new folders are settled and watched."""
        self.wait(lambda: self.watcher.tick() <= NEW_FOLDER_DELAY)
        self.wait(self._is_settled)

    def _is_settled(self):
        # On a busy machine the kernel's events come late, and each new folder begins the wait again.
        self.now += NEW_FOLDER_DELAY
        return self.watcher.tick() > NEW_FOLDER_DELAY


@pytest.fixture
def image_dir(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


# Files


def test_it_asks_for_a_scan_at_the_start_and_then_at_each_interval(image_dir):
    with Trap(image_dir) as trap:
        assert trap.watcher.tick() == 600
        trap.now += 599
        assert trap.watcher.tick() == 1
        trap.look()
        assert trap.scans == 0
        trap.now += 1
        assert trap.watcher.tick() == 600
        trap.look()
        assert trap.scans == 1


def rename_into_place(trap, path):
    trap.put(path)


def write_in_place(trap, path):
    (trap.image_dir / path).write_bytes(b"x")


def copy(trap, path):
    source = trap.image_dir.parent / "source"
    source.write_bytes(b"x")
    shutil.copy2(source, trap.image_dir / path)


def move_in(trap, path):
    source = trap.image_dir.parent / "source"
    source.write_bytes(b"x")
    os.rename(source, trap.image_dir / path)


def link(trap, path):
    source = trap.image_dir.parent / "source"
    source.write_bytes(b"x")
    os.link(source, trap.image_dir / path)


@pytest.mark.parametrize("how", [rename_into_place, write_in_place, copy, move_in, link])
@pytest.mark.parametrize("folder", ["", "1b74105a", "1b74105a/2020-07-05", "a/b/c/d/e"])
def test_a_picture_is_hinted_at_however_it_comes(image_dir, how, folder):
    (image_dir / folder).mkdir(parents=True, exist_ok=True)
    with Trap(image_dir) as trap:
        path = os.path.join(folder, NAME)
        how(trap, path)
        trap.wait_for(path)
        assert trap.files == {path}
        assert trap.scans == 0


def test_a_renamed_picture_is_hinted_at_under_both_names(image_dir):
    with Trap(image_dir) as trap:
        trap.put("old.jpg")
        trap.wait_for("old.jpg")
        os.rename(image_dir / "old.jpg", image_dir / "new.jpg")
        trap.wait_for("old.jpg", "new.jpg")


def test_a_name_that_is_not_utf8_is_hinted_at_as_a_scan_finds_it(image_dir):
    with Trap(image_dir) as trap:
        path = os.fsdecode(b"caf\xe9.jpg")
        trap.put(path)
        trap.wait_for(path)
        assert trap.scanner.look(path) is not None


def stamp(file):
    os.utime(file.fileno(), ns=(1, 1))


def forbid(file):
    os.fchmod(file.fileno(), 0o600)


@pytest.mark.parametrize("change", [stamp, forbid])
def test_a_change_of_attributes_alone_is_told_of(image_dir, change):
    """The file stays open: closing it is another event."""
    path = f"1b74105a/{NAME}"
    (image_dir / "1b74105a").mkdir()
    (image_dir / path).write_bytes(b"x")
    with open(image_dir / path, "r+b") as file, Trap(image_dir) as trap:
        change(file)
        trap.wait(lambda: path in trap.touched)
        assert (trap.files, trap.folders, trap.scans) == (set(), set(), 0)


@pytest.mark.parametrize("closed", ["closed", ""], ids=["a folder", "the image folder itself"])
def test_a_folder_that_could_not_be_read_is_looked_at_and_watched_once_its_rights_change(image_dir, closed):
    (image_dir / "closed").mkdir()
    (image_dir / "open").mkdir()
    with Trap(image_dir) as trap:
        trap.scanner.missed.add(closed)
        (image_dir / "open").chmod(0o700)
        (image_dir / closed).chmod(0o755)
        trap.wait(lambda: trap.folders)
        assert (trap.folders, trap.scans) == ({closed}, 0)
        trap.settle()
        trap.look()
        assert trap.scans > 0


def test_what_a_camera_does_is_told_of_once_and_not_as_a_change_of_attributes(image_dir):
    with Trap(image_dir) as trap:
        trap.put(NAME)
        trap.wait_for(NAME)
        assert (trap.files, trap.touched) == ({NAME}, set())


# Folders


def test_nothing_is_missed_in_date_folders_that_are_filled_as_they_are_made(image_dir):
    paths = [f"1b74105a/2020-07-{day:02}/{number}.jpg" for day in range(50) for number in range(3)]
    with Trap(image_dir) as trap:
        for path in paths:
            trap.put(path)
        trap.settle()
        # After that, the scan asked for finds what was missed; and every folder is watched.
        assert trap.scans >= 1
        later = [path.replace(".jpg", "_later.jpg") for path in paths[::3]]
        for path in later:
            trap.put(path)
        trap.wait_for(*later)


def test_a_folder_that_is_moved_in_is_hinted_at_and_so_are_later_files_in_it(tmp_path, image_dir):
    outside = tmp_path / "outside"
    (outside / "deeper").mkdir(parents=True)
    (outside / "deeper" / NAME).touch()
    with Trap(image_dir) as trap:
        os.rename(outside, image_dir / "moved")
        trap.wait(lambda: "moved" in trap.folders)
        trap.settle()
        trap.put(f"moved/deeper/later_{NAME}")
        trap.wait_for(f"moved/deeper/later_{NAME}")


def test_a_folder_that_is_renamed_is_hinted_at_under_its_new_name_and_so_are_later_files_in_it(image_dir):
    (image_dir / "a" / "b").mkdir(parents=True)
    with Trap(image_dir) as trap:
        os.rename(image_dir / "a", image_dir / "z")
        trap.wait(lambda: "z" in trap.folders)
        trap.settle()
        trap.put(f"z/b/{NAME}")
        trap.wait_for(f"z/b/{NAME}")


def test_folders_that_come_without_end_are_settled_all_the_same(image_dir):
    with Trap(image_dir) as trap:
        for number in range(15):
            (image_dir / f"{number}").mkdir()
            trap.wait(lambda number=number: f"{number}" in trap.folders)
            trap.now += 0.9
            trap.watcher.tick()
        trap.look()
        assert trap.scans == 1


# What is none of its business


@pytest.mark.parametrize(
    "path",
    [f".{NAME}", f"{NAME}~", "metadata.json", f".hidden/{NAME}", f"1b74105a/.hidden/x/{NAME}", f"state/store/{NAME}"],
)
def test_hidden_temporary_and_foreign_files_are_not_hinted_at(image_dir, path):
    for folder in ("1b74105a/.hidden/x", ".hidden", "state/store"):
        (image_dir / folder).mkdir(parents=True)
    with Trap(image_dir, [image_dir / "state"]) as trap:
        (image_dir / path).write_bytes(b"x")
        trap.put("end.jpg")
        trap.wait_for("end.jpg")
        assert (trap.files, trap.folders, trap.scans) == ({"end.jpg"}, set(), 0)
        assert trap.watcher.tick() == 600


BUSY = """
import os, sqlite3, sys
state = sys.argv[1]
connection = sqlite3.connect(os.path.join(state, "outbox.db"), isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE pictures (id)")
for number in range(100):
    connection.execute("INSERT INTO pictures VALUES (1)")
    folder = os.path.join(state, "thumbnails", f"{number:02x}")
    os.makedirs(folder)
    for name in ("x.thumbnail", "x.jpg"):
        with open(os.path.join(folder, name + ".part"), "wb") as file:
            file.write(b"x")
        os.replace(file.name, os.path.join(folder, name))
connection.close()
"""


@pytest.mark.parametrize("state", [".sticky-pi-uploader", "state"])
def test_a_busy_state_folder_in_the_image_dir_causes_no_hint_at_all(image_dir, state):
    (image_dir / state).mkdir()
    with Trap(image_dir, [image_dir / state]) as trap:
        python(BUSY, image_dir / state, check=True)
        trap.put("end.jpg")
        trap.wait_for("end.jpg")
        assert (trap.files, trap.folders, trap.scans) == ({"end.jpg"}, set(), 0)
        assert trap.watcher.tick() == 600


def test_nothing_is_hinted_at_when_nothing_happens_or_pictures_are_only_read(image_dir):
    with Trap(image_dir) as trap:
        trap.put(NAME)
        trap.wait_for(NAME)
        trap.files.clear()
        for _ in range(20):
            (image_dir / NAME).read_bytes()
            os.listdir(image_dir)
            os.stat(image_dir / NAME)
        trap.put("end.jpg")
        trap.wait_for("end.jpg")
        assert (trap.files, trap.folders, trap.scans) == ({"end.jpg"}, set(), 0)


# Doubt


def watching_threads():
    return {thread for thread in threading.enumerate() if type(thread).__module__.startswith("watchdog.")}


def watched_anew(trap):
    """Tell whether one tick brings a scan, and requests for what comes after it."""
    trap.look()
    trap.scans = 0
    trap.watcher.tick()
    trap.look()
    trap.put("after.jpg")
    trap.wait_for("after.jpg")
    return trap.scans == 1


class FailingScanRequests(ScanRequests):
    """ScanRequests that fail at one file: the observer's thread dies of that."""

    def file(self, path):
        if path == "fatal.jpg":
            raise SystemExit
        super().file(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_observer_whose_thread_died_is_replaced_at_the_next_tick(image_dir):
    with Trap(image_dir, scan_requests=FailingScanRequests()) as trap:
        before = watching_threads()
        trap.put("fatal.jpg")
        trap.wait(lambda: not all(thread.is_alive() for thread in before))
        assert watched_anew(trap)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_of_events_that_died_behind_a_living_observer_is_replaced_at_the_next_tick(image_dir):
    with Trap(image_dir) as trap:
        (reader,) = (thread for thread in watching_threads() if not isinstance(thread, EventEmitter | BaseObserver))
        # As an error in it would; it notices when an event wakes it up.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(reader.ident), ctypes.py_object(SystemExit))
        trap.put("wake.jpg")
        trap.wait(lambda: not reader.is_alive())
        assert watched_anew(trap)


def test_a_watch_that_is_to_be_restarted_is_replaced_once(image_dir):
    with Trap(image_dir) as trap:
        before = watching_threads()
        trap.watcher.request_restart("the clock was set back")
        assert watched_anew(trap)
        after = watching_threads()
        assert not after & before
        trap.watcher.tick()
        assert watching_threads() == after


def test_an_emitter_that_ended_as_the_folder_was_deleted_is_replaced_at_the_next_tick(image_dir):
    with Trap(image_dir) as trap:
        (emitter,) = (thread for thread in watching_threads() if isinstance(thread, EventEmitter))
        os.rmdir(image_dir)
        trap.wait(lambda: not emitter.is_alive())
        image_dir.mkdir()
        assert watched_anew(trap)


def test_an_image_dir_that_is_deleted_and_made_again_time_after_time_is_watched_each_time(image_dir):
    with Trap(image_dir) as trap:
        for number in range(50):
            shutil.rmtree(image_dir)
            image_dir.mkdir()
            trap.scans = 0
            # At once, while the old watch's threads are about to end.
            trap.wait(lambda: trap.watcher.tick() == 600 and trap.scans)
            trap.put(f"{number}.jpg")
            trap.wait_for(f"{number}.jpg")


def test_an_image_dir_in_whose_place_there_is_another_one_is_watched_anew(tmp_path, image_dir):
    with Trap(image_dir) as trap:
        os.rename(image_dir, tmp_path / "aside")
        image_dir.mkdir()
        assert watched_anew(trap)
        trap.files.clear()
        (tmp_path / "aside" / "aside.jpg").touch()
        trap.put("end.jpg")
        trap.wait_for("end.jpg")
        assert trap.files == {"end.jpg"}


def test_a_tick_on_a_vanished_image_dir_raises_nothing_leaks_nothing_and_goes_on_when_it_is_back(image_dir, caplog):
    with Trap(image_dir) as trap:
        os.rmdir(image_dir)
        trap.wait(lambda: trap.watcher.tick() == 600 and trap.scans)
        threads, files = len(watching_threads()), len(os.listdir("/proc/self/fd"))
        for _ in range(30):
            trap.now += 8
            assert trap.watcher.tick() <= 600
        assert (len(watching_threads()), len(os.listdir("/proc/self/fd"))) == (threads, files)
        assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
        assert trap.watcher.polling is None
        image_dir.mkdir()
        trap.now += 8
        trap.watcher.tick()
        trap.put(NAME)
        trap.wait_for(NAME)


def test_that_a_folder_is_watched_again_is_told_with_how_long_it_was_not(image_dir, caplog):
    caplog.set_level(logging.INFO)
    with Trap(image_dir) as trap:
        os.rmdir(image_dir)
        trap.wait(lambda: trap.watcher.tick() == 600 and trap.scans)
        image_dir.mkdir()
        trap.now += 90
        for _ in range(3):
            trap.watcher.tick()
    (unwatched, watched) = caplog.records
    assert (unwatched.levelno, unwatched.MESSAGE_ID) == (logging.WARNING, Kind.UNWATCHED.value)
    fields = vars(watched)
    assert (watched.levelno, fields["MESSAGE_ID"]) == (logging.INFO, Kind.WATCHED.value)
    assert watched.getMessage() == f"{image_dir} is watched again, after 1.5 min"
    assert fields["STICKY_PI_FOLDER"] == str(image_dir)


def test_a_watch_in_order_ends_at_once(image_dir):
    def seconds():
        with Trap(image_dir) as trap:
            begins = time.monotonic()
            trap.watcher.stop()
            return time.monotonic() - begins

    # The quickest of some, as a machine may be busy: what is in doubt waits for that long each time.
    assert min(seconds() for _ in range(5)) < SELF_END_TIMEOUT


def test_a_watch_that_is_stopped_leaves_no_thread_and_no_file_open_however_often(image_dir):
    (image_dir / "a" / "b").mkdir(parents=True)
    for cycle in range(31):
        with Trap(image_dir) as trap:
            trap.put(f"a/b/{cycle}.jpg")
            trap.wait_for(f"a/b/{cycle}.jpg")
            assert watching_threads()
        assert not watching_threads()
        if cycle == 0:
            files = len(os.listdir("/proc/self/fd"))
    assert len(os.listdir("/proc/self/fd")) == files


def test_stopping_twice_or_before_the_start_does_nothing(image_dir):
    trap = Trap(image_dir)
    trap.watcher.stop()
    with trap:
        trap.watcher.stop()
    assert not watching_threads()


# Where there are no events


def test_a_network_file_system_is_polled_and_that_is_said_once(tmp_path, image_dir, caplog):
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / {image_dir} rw - nfs4 server:/x rw\n", "utf-8")
    kind = partial(network_file_system, mountinfo=os.fspath(mountinfo))
    with Trap(image_dir, network_file_system=kind) as trap:
        assert not watching_threads()
        assert trap.watcher.polling == "it is on a network file system (nfs4)"
        for _ in range(3):
            assert trap.watcher.tick() == POLL_INTERVAL
            trap.now += POLL_INTERVAL
            trap.scans = 0
            trap.watcher.tick()
            trap.look()
            assert trap.scans == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"{image_dir} is looked at every 10 s, as it is on a network file system (nfs4)"
    ]


WATCH = """
import logging, os, sys, time
from sticky_pi_uploader.scan_requests import ScanRequests
from sticky_pi_uploader.watch.inotify import SELF_END_TIMEOUT
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.watch.watcher import Watcher
logging.basicConfig(stream=sys.stdout, format="%(name)s: %(levelname)s %(message)s", level=logging.WARNING)
scan_requests = ScanRequests()
watcher = Watcher(Scanner(sys.argv[1]), scan_requests, scan_interval=600.0)
watcher.start()
scan_requests.take()
print("watching", flush=True)
if not sys.stdin.readline():
    sys.exit(1)
scans, deadline = 0, time.monotonic() + 20
while time.monotonic() < deadline and not (scans or watcher.polling):
    watcher.tick()
    scans += scan_requests.take().everything and sys.argv[2] == "until a scan"
    time.sleep(0.02)
print("scans", scans, "polling", watcher.polling, flush=True)
for _ in range(3):
    watcher.tick()
watcher.stop()
"""


def test_events_that_overflow_the_kernels_queue_lead_to_a_scan(image_dir):
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
        limit = int(file.read())
    if limit > 50_000:
        pytest.skip(f"it would take long to overflow a queue of {limit} events")
    with subprocess.Popen(
        [sys.executable, "-c", WATCH, image_dir, "until a scan"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "watching\n"
        process.send_signal(signal.SIGSTOP)
        for number in range(limit // 2 + 100):
            open(image_dir / f"{number}.jpg", "wb").close()
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate("go on\n")
    assert process.returncode == 0
    assert said.splitlines()[-1] == "scans 1 polling None"


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("watches", 0, "inotify watch limit reached: raise fs.inotify.max_user_watches"),
        ("watches", 3, "not every folder could be watched|inotify watch limit reached"),
        ("instances", 0, "inotify instance limit reached: raise fs.inotify.max_user_watches or max_user_instances"),
    ],
)
def test_where_inotifys_limits_are_reached_it_polls_and_says_so_once(image_dir, limit, value, why):
    # A user namespace has limits of its own, so that no other process feels them.
    lower = f"echo {value} > /proc/sys/user/max_inotify_{limit}"
    unshare = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*unshare, lower], check=False, capture_output=True).returncode:
        pytest.skip("needs a user namespace, to lower inotify's limits in")
    for number in range(10):
        (image_dir / f"{number}").mkdir()
    with subprocess.Popen(
        [*unshare, f'{lower}; exec "$@"', "sh", sys.executable, "-c", WATCH, image_dir, "until it polls"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        said, _ = process.communicate("go on\n")
    assert process.returncode == 0
    warnings = [line for line in said.splitlines() if "sticky_pi_uploader.journal.events: WARNING" in line]
    assert len(warnings) == 1
    assert re.search(f"is looked at every 10 s, as ({why})", warnings[0])
    assert "polling None" not in said


def test_a_folder_that_cannot_be_read_is_left_out_and_the_others_are_watched(tmp_path, image_dir):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give its rights up")
    for folder in ("lost+found", "closed", "1b74105a"):
        (image_dir / folder).mkdir()
    for folder in ("lost+found", "closed"):
        os.chmod(image_dir / folder, 0o700)
    for folder in (tmp_path.parent.parent, tmp_path.parent, tmp_path, image_dir, image_dir / "1b74105a"):
        os.chmod(folder, 0o755)
    os.chown(image_dir / "1b74105a", 65534, 65534)
    os.seteuid(65534)
    try:
        with Trap(image_dir) as trap:
            for _ in range(5):
                trap.now += 20
                trap.watcher.tick()
            assert trap.watcher.polling is None
            trap.look()
            assert trap.scans == 0
            trap.put(f"1b74105a/{NAME}")
            trap.wait_for(f"1b74105a/{NAME}")
    finally:
        os.seteuid(0)


def test_for_how_long_a_folder_could_not_be_watched_is_told(image_dir):
    with Trap(image_dir) as trap:
        trap.now += 50
        trap.watcher.tick()
        assert trap.watcher.unwatched_for() == 0
        image_dir.rename(image_dir.parent / "away")
        for _ in range(3):
            trap.now += 10
            trap.watcher.tick()
        assert trap.watcher.unwatched_for() == 30
        (image_dir.parent / "away").rename(image_dir)
        trap.watcher.tick()  # lays the watch
        trap.watcher.tick()
        assert trap.watcher.unwatched_for() == 0


def test_a_folder_that_is_looked_at_often_instead_counts_as_watched(image_dir):
    with Trap(image_dir, network_file_system=lambda _: "nfs") as trap:
        trap.now += 1000
        trap.watcher.tick()
        assert trap.watcher.unwatched_for() == 0
