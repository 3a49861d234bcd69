import fcntl
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from api_server import ApiServer
from certificates import Authority
from fault_proxy import Fault, FaultProxy, Rule
from mounted import tmpfs
from program import PATIENCE, eventually
from sticky_pi_api.client import LocalClient
from sticky_pi_uploader import config as config_module
from sticky_pi_uploader.exceptions import LockedError, OutboxDamagedError, StateError
from sticky_pi_uploader.models import Destination, DestinationState, State
from sticky_pi_uploader.outbox import Outbox, OutboxReader, outbox_path
from sticky_pi_uploader.service.drain import drain
from sticky_pi_uploader.state_dir.folder import MARK
from sticky_pi_uploader.state_dir.lock import Locks
from sticky_pi_uploader.upload import cancel as breakoff

DONE, DIED, LOCKED, LEFT = os.EX_OK, os.EX_SOFTWARE, os.EX_CANTCREAT, os.EX_TEMPFAIL
EVERYTHING = {"device": "%", "start_datetime": "2000-01-01_00-00-00", "end_datetime": "2100-01-01_00-00-00"}


class Trap:
    """An image folder, its state, and the store beside it."""

    def __init__(self, folder, make):
        self.folder = folder
        self.images = folder / "images"
        self.state = folder / "state"
        self.store = folder / "store"
        self.images.mkdir()
        self.state.mkdir()
        self._make = make

    def make(self, *parts, **more):
        return self._make(self.images.joinpath(*parts), **more)

    def flags(self, **more):
        flags = {"image_dir": self.images, "state_dir": self.state, "api.url": self.store.as_uri(), **more}
        return {name: str(value) for name, value in flags.items()}

    def config(self, **more):
        return config_module.load(self.flags(**more), {}, default_file="/nonexistent", check_secrets=True)

    def drain(self, deadline=None, progress=None, **more):
        return drain(self.config(**more), deadline=deadline, progress=progress)

    @property
    def outbox(self):
        return outbox_path(self.state)

    def states(self):
        """Map each picture's path to its state, as `list` would."""
        try:
            with OutboxReader.open_readonly(self.outbox) as reader:
                return {picture.path: picture.state for picture in reader.pictures()}
        except FileNotFoundError:
            return {}

    def uploaded(self, *files):
        states = self.states()
        return all(states.get(os.path.relpath(file, self.images)) == State.UPLOADED for file in files)

    def whys(self, file):
        with OutboxReader.open_readonly(self.outbox) as reader:
            return [event.why for event in reader.history(reader.at(os.path.relpath(file, self.images)))]

    def destination(self, store=None):
        with OutboxReader.open_readonly(self.outbox) as reader:
            return reader.destination((store or self.store).as_uri())

    def held(self, store=None):
        """Map the name of each picture in the store to its bytes; each has its row, and nothing else is there."""
        with LocalClient(str(store or self.store)) as client:
            rows = client.get_image_series([EVERYTHING], what="image")
            files = list(Path(client.local_dir, "raw_images").glob("[!.]*/*"))
        assert len(files) == 3 * len(rows)
        return {Path(row["url"]).name: Path(row["url"]).read_bytes() for row in rows}

    def holds(self, *files, store=None):
        return self.held(store) == {file.name: file.read_bytes() for file in files}


@pytest.fixture
def trap(tmp_path, make_trap_picture):
    return Trap(tmp_path, make_trap_picture)


def list_reason(trap, file):
    with OutboxReader.open_readonly(trap.outbox) as reader:
        return reader.at(os.path.relpath(file, trap.images)).reason


def spoil(outbox):
    """Make a bug of the outbox: what is recorded from now on breaks a constraint."""
    connection = sqlite3.connect(outbox)
    connection.execute("CREATE TRIGGER bug BEFORE INSERT ON pictures BEGIN SELECT RAISE(ABORT, 'a bug'); END")
    connection.close()


def damage(outbox, size=4096):
    """Overwrite the last page of pictures, which the start of a run needn't read."""
    with open(outbox, "r+b") as file:
        file.seek(file.read().rindex(b'{"width"') // 4096 * 4096)
        file.write(b"\xa5" * size)


# --- drain -------------------------------------------------------------------------------------------------------


def test_drain_sends_everything_on_disk_in_every_layout_and_does_it_once(trap):
    files = [
        trap.make(),
        trap.make("1b74105a"),
        trap.make("1b74105a", "2020-07-05"),
        trap.make("5c173ff2", "2020-07-05", device="5c173ff2"),
        trap.make("512858f4", device="512858f4", generation=2022),
    ]
    told = []
    assert trap.drain(progress=told.append) == DONE
    assert trap.holds(*files)
    assert trap.uploaded(*files)
    assert (told[-1].recorded, told[-1].sent, told[-1].left, told[-1].bytes_left) == (5, 5, 0, 0)
    assert trap.drain(progress=told.append) == DONE
    assert (told[-1].recorded, told[-1].sent) == (0, 0)


def test_drain_on_an_empty_folder_has_nothing_left_to_send(trap):
    assert trap.drain() == DONE
    assert not trap.store.exists()


def test_drain_takes_second_looks_so_that_what_is_no_picture_is_rejected_before_it_ends(trap):
    right, cut, empty = trap.make(), trap.make(), trap.make()
    cut.write_bytes(cut.read_bytes()[:-200])
    empty.write_bytes(b"")
    assert trap.drain() == DONE
    assert trap.states() == {right.name: "uploaded", cut.name: "rejected", empty.name: "rejected"}
    assert trap.holds(right)


def test_a_file_that_goes_on_changing_is_left_for_the_next_time(trap):
    right, growing = trap.make(), trap.make()
    whole = growing.read_bytes()
    growing.write_bytes(b"")
    stop = threading.Event()

    def grow():
        for size in range(1, len(whole)):
            if stop.wait(0.05):
                return
            growing.write_bytes(whole[:size])

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        assert trap.drain() == LEFT
    finally:
        stop.set()
        writer.join()
    assert trap.states() == {right.name: "uploaded"}
    growing.write_bytes(whole)
    assert trap.drain() == DONE
    assert trap.holds(right, growing)


def test_drain_without_any_time_sends_nothing_and_says_that_something_is_left(trap):
    file = trap.make()
    assert trap.drain(deadline=0) == LEFT
    assert trap.drain() == DONE
    assert trap.holds(file)


def test_drain_with_too_little_time_for_the_backlog_stops_between_two_pictures(trap):
    files = [trap.make() for _ in range(150)]
    assert trap.drain(deadline=0.2) == LEFT
    assert State.UPLOADING not in trap.states().values()
    assert trap.drain() == DONE
    assert trap.holds(*files)


def test_drain_ends_with_its_deadline_and_says_for_what_no_time_was_left(trap, account, caplog, monkeypatch):
    monkeypatch.setattr(breakoff, "GRACE", 1000.0)
    caplog.set_level("INFO")
    files = [trap.make() for _ in range(2)]
    with ApiServer(trap.folder / "server") as server, FaultProxy(server.port) as proxy:
        account(proxy.url)
        (trap.folder / "password").write_text("pollen\n", "ascii")
        flags = {"api.url": proxy.url, "api.username": "trap", "api.password_file": trap.folder / "password"}
        proxy.set(rules=(Rule((Fault("silence"),), path="/_put_new_images"),))
        assert trap.drain(deadline=2, **flags) == LEFT
        assert server.rows() == []
    assert "no time was left for the others before the deadline" in caplog.text
    for file in files:
        assert list_reason(trap, file) == "no time was left for it before the deadline of the last drain"


def test_a_store_whose_disk_is_not_there_is_waited_for_and_filled_once_it_is(trap):
    file = trap.make()
    trap.store = trap.folder / "usb" / "store"
    assert trap.drain(deadline=3) == LEFT
    assert trap.states() == {file.name: State.PENDING}
    destination = trap.destination()
    assert (destination.state, destination.reason) == (
        DestinationState.UNREACHABLE,
        f"{trap.folder}/usb isn't there: is the disk of the store mounted?",
    )
    assert destination.retry_at - time.time() <= 1800
    trap.store.parent.mkdir()
    assert trap.drain() == DONE
    assert trap.holds(file)


def test_drain_waits_for_what_falls_due_before_its_end(trap):
    file = trap.make()
    trap.store = trap.folder / "usb" / "store"
    timer = threading.Timer(0.5, trap.store.parent.mkdir)
    timer.start()
    assert trap.drain(deadline=PATIENCE) == DONE
    timer.join()
    assert trap.holds(file)


def test_drain_tries_the_destination_once_whatever_wait_is_stored(trap):
    file = trap.make()
    with Outbox(trap.outbox, longest_wait=1800) as outbox:
        outbox.destinations.change(trap.store.as_uri(), lambda _: True)
        held = Destination(trap.store.as_uri(), DestinationState.UNREACHABLE, "", time.time() + 1700, 9)
        outbox.destinations.update(held)
    assert trap.drain(deadline=PATIENCE) == DONE
    assert trap.holds(file)
    assert trap.destination() == Destination(trap.store.as_uri(), DestinationState.OK)


def test_another_destination_gets_what_is_still_here_and_the_first_one_nothing_twice(trap):
    kept, gone = trap.make(), trap.make()
    both = {file.name: file.read_bytes() for file in (kept, gone)}
    assert trap.drain() == DONE
    gone.unlink()
    other = trap.folder / "other"
    assert trap.drain(**{"api.url": other.as_uri()}) == DONE
    assert trap.holds(kept, store=other)
    assert trap.uploaded(kept, gone)
    assert trap.drain() == DONE
    assert trap.held() == both
    assert trap.whys(kept)[-1] == "held there already, with the md5 that it has here"


@pytest.mark.parametrize("kind", ["header", "inside"])
def test_a_damaged_outbox_is_put_aside_and_filled_again_and_nothing_is_stored_twice(trap, kind):
    files = [trap.make() for _ in range(12)]
    assert trap.drain() == DONE
    if kind == "header":
        Path(trap.outbox).write_bytes(b"\xa5" * 40_000)
    else:
        damage(trap.outbox)
    damaged = Path(trap.outbox).read_bytes()
    new = trap.make()
    assert trap.drain() == DONE
    assert trap.holds(*files, new)
    assert trap.uploaded(*files, new)
    assert trap.whys(files[0])[-1] == "held there already, with the md5 that it has here"
    (aside,) = trap.state.glob("outbox.db.damaged-*Z")
    assert aside.read_bytes() == damaged


def flip(outbox, change):
    """Change rows as a flipped bit may, whatever the table's rules."""
    connection = sqlite3.connect(outbox)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute(f"UPDATE {change}")
    connection.commit()
    connection.close()


MET_AT_ONCE = [
    "pictures SET state = 'upmoaded'",
    "pictures SET metadata = substr(metadata, 2)",
    "destinations SET state = 'oj'",
]
FLIPPED = [*MET_AT_ONCE, "pictures SET md5 = replace(md5, substr(md5, 1, 1), 'x')", "pictures SET present = 2"]


@pytest.mark.parametrize("change", FLIPPED)
def test_a_flipped_bit_in_a_row_is_healed_by_the_next_round(trap, change):
    files = [trap.make() for _ in range(3)]
    gone = trap.make()
    assert trap.drain() == DONE
    gone.unlink()
    if change.startswith("pictures"):
        change += f" WHERE name = '{files[0].name}'"
    flip(trap.outbox, change)
    files.append(trap.make())
    with OutboxReader.open_beside(trap.outbox) as reader, pytest.raises(OutboxDamagedError):
        reader.inspect()
    # It is met with at once, or by a look at the whole of it, which is due after a crash or a week.
    flip(trap.outbox, "tasks SET at = 0")
    assert trap.drain() == DONE
    assert trap.drain() == DONE
    assert len(list(trap.state.glob("outbox.db.damaged-*Z"))) == 1
    assert trap.uploaded(*files, gone)
    assert len(trap.held()) == 5
    with OutboxReader.open_beside(trap.outbox) as reader:
        reader.inspect()


def test_the_outbox_of_a_newer_release_is_put_aside_and_what_was_sent_is_not_sent_again(trap):
    files = [trap.make() for _ in range(3)]
    assert trap.drain() == DONE
    flip(trap.outbox, "tasks SET at = at")
    connection = sqlite3.connect(trap.outbox)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert trap.drain() == DONE
    assert trap.uploaded(*files)
    assert trap.whys(files[0])[-1] == "held there already, with the md5 that it has here"
    assert len(list(trap.state.glob("outbox.db.newer-*Z"))) == 1


def test_a_log_without_its_outbox_is_no_outbox(trap):
    """As where only the file itself was lost."""
    file = trap.make()
    assert trap.drain() == DONE
    Path(f"{trap.outbox}-wal").write_bytes(Path(trap.outbox).read_bytes())
    Path(trap.outbox).unlink()
    assert trap.drain() == DONE
    assert trap.uploaded(file)
    assert trap.whys(file)[-1] == "held there already, with the md5 that it has here"


def test_an_image_folder_that_is_not_there_is_said_and_none_is_made(trap):
    trap.images.rmdir()
    with pytest.raises(StateError, match="isn't there"):
        trap.drain()
    assert not trap.images.exists()


def test_a_part_that_dies_ends_drain_with_its_own_status(trap, caplog):
    assert trap.drain() == DONE
    spoil(trap.outbox)
    trap.make()
    assert trap.drain() == DIED
    assert "the intake died" in caplog.messages


def test_only_one_process_works_on_a_folder(trap):
    with Locks() as locks:
        locks.take(str(trap.images), str(trap.state))
        with pytest.raises(LockedError, match="is at work on"):
            trap.drain()
    assert trap.drain() == DONE


def test_a_hundred_wrong_files_do_not_disturb_a_right_one(trap):
    right = trap.make("1b74105a")
    blob = right.read_bytes()
    for number in range(100):
        content = [b"", blob[: 40 * number], b"\x89PNG\r\n\x1a\n" + bytes(99), b"text", blob[:-2]][number % 5]
        (trap.images / f"1b74105a.2021-01-01_00-{number // 60:02}-{number % 60:02}.jpg").write_bytes(content)
    (trap.images / os.fsdecode(b"caf\xe9.jpg")).write_bytes(blob)
    (trap.images / "1b74105a.2022-01-01_00-00-00.jpg").mkdir()
    assert trap.drain() == DONE
    assert trap.holds(right)
    states = list(trap.states().values())
    assert (states.count(State.REJECTED), states.count(State.UPLOADED)) == (101, 1)


# --- run, as a process of its own --------------------------------------------------------------------------------


class Daemon:
    """A running `sticky-pi-uploader`, and what it said so far."""

    def __init__(self, arguments, log):
        self._log = log
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SPI_")}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        with log.open("ab") as stderr:
            command = [sys.executable, "-W", "error", "-m", "sticky_pi_uploader", *arguments]
            self.process = subprocess.Popen(command, stderr=stderr, env=environment)

    @property
    def said(self):
        return self._log.read_text(encoding="utf-8")

    def is_watching(self):
        return self.said.count("watching")

    def send(self, number):
        self.process.send_signal(number)

    def hurry(self):
        """Have it look at once at what it looks at every few seconds."""
        self.send(signal.SIGHUP)

    def stop(self, number=signal.SIGTERM):
        """Tell it to stop, and return its status; it has 10 seconds."""
        self.send(number)
        return self.process.wait(10)


@pytest.fixture
def start(trap):
    """Start the command on the trap; what still runs after the test is killed."""
    daemons = []

    def start(command="run", *more, flags=None):
        flags = trap.flags() if flags is None else flags
        options = [part for key, value in flags.items() for part in (FLAGS[key], value)]
        daemons.append(Daemon([command, *options, *more], trap.folder / "log"))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.process.kill()
        daemon.process.wait()


FLAGS = {"image_dir": "--image-dir", "state_dir": "--state-dir", "api.url": "--api-url", "config": "--config"}


def test_run_sends_what_is_there_and_what_arrives_however_it_arrives(trap, start, tmp_path, make_trap_picture):
    there = trap.make("1b74105a", "2020-07-05")
    daemon = start()
    eventually(lambda: trap.uploaded(there))
    renamed = trap.make("1b74105a", "2020-07-05")
    in_new_folder = trap.make("1b74105a", "2020-07-06")
    copied = Path(shutil.copy(make_trap_picture(tmp_path / "elsewhere"), trap.images))
    eventually(lambda: trap.uploaded(renamed, in_new_folder, copied))
    assert daemon.stop() == DONE
    assert trap.holds(there, renamed, in_new_folder, copied)
    assert "stopped" in daemon.said
    assert "Traceback" not in daemon.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_stops_cleanly_at_once_when_nothing_is_to_do(trap, start, number):
    daemon = start()
    eventually(daemon.is_watching)
    assert daemon.stop(number) == DONE
    assert set(os.listdir(trap.state)) <= {MARK, "lock", "outbox.db", "reserve", "reserve-inode"}


def test_run_stops_cleanly_in_the_middle_of_a_backlog(trap, start):
    files = [trap.make() for _ in range(100)]
    daemon = start()
    eventually(lambda: State.UPLOADED in trap.states().values())
    assert daemon.stop() == DONE
    assert State.UPLOADING not in trap.states().values()
    assert trap.drain() == DONE
    assert trap.holds(*files)


def test_run_stops_in_time_even_if_the_store_answers_nothing(trap, start):
    assert trap.drain() == DONE
    first = trap.make()
    assert trap.drain() == DONE
    store = sqlite3.connect(trap.store / "database.db", isolation_level=None)
    store.execute("BEGIN EXCLUSIVE")
    try:
        daemon = start()
        second = trap.make()
        eventually(lambda: State.UPLOADING in trap.states().values())
        assert daemon.stop() == DONE
    finally:
        store.close()
    assert trap.drain() == DONE
    assert trap.holds(first, second)


def test_after_a_kill_everything_is_stored_once(trap, start):
    files = [trap.make() for _ in range(60)]
    for count in (1, 15, 30):
        daemon = start()
        eventually(lambda count=count: list(trap.states().values()).count(State.UPLOADED) >= count)
        daemon.process.kill()
        daemon.process.wait()
    assert trap.drain() == DONE
    assert trap.holds(*files)
    assert trap.uploaded(*files)


def test_drain_stops_at_a_signal_and_says_that_something_is_left(trap, start):
    files = [trap.make() for _ in range(150)]
    daemon = start("drain")
    eventually(lambda: State.UPLOADED in trap.states().values())
    assert daemon.stop() == LEFT
    assert start("drain").process.wait(PATIENCE) == DONE
    assert trap.holds(*files)


@contextmanager
def configured(trap, start, text=""):
    """Run with a configuration file; gives the daemon, and what writes the file anew and has it read."""
    file = trap.folder / "config.toml"

    def write(text):
        flags = trap.flags()
        lines = [f'{key} = "{flags[key]}"' for key in ("image_dir", "state_dir") if f"{key} =" not in text]
        file.write_text("\n".join([*lines, text or f'[api]\nurl = "{flags["api.url"]}"', ""]))

    write(text)
    daemon = start(flags={"config": str(file)})

    def reload(text):
        write(text)
        daemon.send(signal.SIGHUP)

    yield daemon, reload
    assert daemon.stop() == DONE


def test_a_new_configuration_is_taken_at_sighup(trap, start):
    file, other = trap.make(), trap.folder / "other"
    with configured(trap, start) as (daemon, reload):
        eventually(lambda: trap.uploaded(file))
        reload(f'[api]\nurl = "{other.as_uri()}"')
        eventually(lambda: trap.destination(other).state is DestinationState.OK)
        assert trap.holds(file, store=other)
        assert "the configuration was reloaded\n" in daemon.said
        reload(f'[api]\nurl = "{other.as_uri()}"')
        eventually(lambda: "the configuration was reloaded: nothing has changed" in daemon.said)


def test_a_reload_leaves_no_moment_in_which_another_process_can_take_the_folders(trap, start):
    trap.make()
    lock = os.open(trap.images, os.O_RDONLY)
    with configured(trap, start) as (daemon, reload):
        eventually(daemon.is_watching)
        for number in range(1, 6):
            flags = trap.flags()
            reload(f'scan_interval = {600 + number}\n[api]\nurl = "{flags["api.url"]}"')
            while daemon.is_watching() <= number:
                with pytest.raises(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert start("drain", "--deadline", "5").process.wait(PATIENCE) == LOCKED
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)


def test_a_disk_that_is_waited_for_is_not_held_by_its_lock(trap, start):
    daemon = start()
    eventually(daemon.is_watching)
    trap.images.rename(trap.folder / "elsewhere")
    daemon.hurry()
    eventually(lambda: "waiting for it" in daemon.said)
    with Locks() as locks:
        locks.take(str(trap.folder / "elsewhere"), str(trap.folder))
    assert daemon.stop() == DONE


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("scan_interval = 'often'", "scan_interval"),
        ('[api]\nurl = "https://example.org"', "wants an account"),
        ("[[", "config.toml"),
        ('[api]\nurl = ""', "[api] url: not set"),
    ],
    ids=["wrong", "no account", "no toml", "no destination"],
)
def test_a_configuration_that_cannot_be_used_is_said_and_the_old_one_stays(trap, start, text, problem):
    with configured(trap, start) as (daemon, reload):
        eventually(daemon.is_watching)
        reload(text)
        eventually(lambda: "the configuration was not reloaded: the one from before stays in force" in daemon.said)
        assert problem in daemon.said
        file = trap.make()
        eventually(lambda: trap.uploaded(file))


@pytest.fixture
def account(trap):
    """Write the configuration of a server's account; its password is a wrong one."""

    def write(url, more=""):
        password = trap.folder / "password"
        password.touch(mode=0o600)
        password.write_text("nectar\n", "ascii")
        return f'[api]\nurl = "{url}"\nusername = "trap"\npassword_file = "{password}"\n{more}'

    return write


def far_off(trap, url):
    """Have the destination wait for longer than the test does."""
    with Outbox(trap.outbox, longest_wait=1800) as outbox:
        outbox.destinations.update(outbox.destination(url)._replace(retry_at=time.time() + 1000))


def test_a_password_that_was_set_right_is_taken_at_sighup_and_ends_the_wait(trap, start, account):
    file = trap.make()
    with ApiServer(trap.folder / "server") as server:
        text = account(server.url)
        with configured(trap, start, text) as (daemon, reload):
            eventually(lambda: "doesn't accept the account" in daemon.said)
            far_off(trap, server.url)
            (trap.folder / "password").write_text("pollen\n", "ascii")
            reload(text)
            eventually(lambda: trap.uploaded(file))
            assert "the configuration was reloaded\n" in daemon.said
            reload(text)
            eventually(lambda: "the configuration was reloaded: nothing has changed" in daemon.said)


def test_certificates_that_were_set_right_are_taken_at_sighup_and_end_the_wait(trap, start, account, tmp_path_factory):
    right, wrong = (Authority(tmp_path_factory.mktemp("authority")) for _ in range(2))
    file, trusted = trap.make(), trap.folder / "ca.pem"
    shutil.copyfile(wrong.ca_file, trusted)
    with (
        ApiServer(trap.folder / "server") as server,
        FaultProxy(server.port, certificate=right.certificate()) as front,
    ):
        text = account(front.url, f'ca_file = "{trusted}"')
        (trap.folder / "password").write_text("pollen\n", "ascii")
        with configured(trap, start, text) as (daemon, reload):
            eventually(lambda: "can't be trusted, so nothing was sent" in daemon.said)
            far_off(trap, front.url)
            shutil.copyfile(right.ca_file, trusted)
            reload(text)
            eventually(lambda: trap.uploaded(file))
            assert "the configuration was reloaded\n" in daemon.said


def test_a_sighup_ends_the_wait_for_a_destination_though_nothing_changed(trap, start):
    file = trap.make()
    trap.store.write_text("in the way", "ascii")
    with configured(trap, start) as (daemon, reload):
        eventually(lambda: "the destination is unreachable" in daemon.said)
        far_off(trap, trap.store.as_uri())
        trap.store.unlink()
        reload("")
        eventually(lambda: trap.uploaded(file))
        assert "the configuration was reloaded: nothing has changed" in daemon.said


def test_an_image_folder_that_is_not_there_is_waited_for_and_not_made(trap, start):
    trap.images.rmdir()
    daemon = start()
    eventually(lambda: f"the image folder {trap.images} isn't there; waiting for it" in daemon.said)
    assert not trap.images.exists()
    file = trap.make()
    daemon.hurry()
    eventually(lambda: trap.uploaded(file))
    assert daemon.stop() == DONE


def test_a_configuration_that_names_another_folder_ends_the_wait_for_the_first(trap, start):
    file = trap.make()
    with configured(trap, start, f'image_dir = "{trap.folder}/wrong"') as (daemon, reload):
        eventually(lambda: "waiting for it" in daemon.said)
        reload("")
        eventually(lambda: trap.uploaded(file))


def test_a_destination_that_is_still_to_be_set_is_waited_for_and_said_once(trap, start):
    file = trap.make()
    with configured(trap, start, '[api]\nurl = ""') as (daemon, reload):
        eventually(lambda: "[api] url: not set" in daemon.said)
        assert not trap.states()
        reload(f'[api]\nurl = "{trap.store.as_uri()}"')
        eventually(lambda: trap.uploaded(file))
        assert daemon.said.count("[api] url: not set") == 1
        assert "machine; waiting for it" in daemon.said


def test_a_configuration_that_is_changed_while_the_service_waits_for_a_destination_is_read_by_itself(trap, start):
    file = trap.make()
    with configured(trap, start, '[api]\nurl = ""') as (daemon, _):
        eventually(lambda: "waiting for it" in daemon.said)
        config = trap.folder / "config.toml"
        config.write_text(config.read_text().replace('url = ""', f'url = "{trap.store.as_uri()}"'))
        eventually(lambda: trap.uploaded(file))


def test_run_can_be_stopped_while_it_waits_for_the_folder(trap, start):
    trap.images.rmdir()
    daemon = start()
    eventually(lambda: "waiting for it" in daemon.said)
    assert daemon.stop() == DONE


def test_an_image_folder_that_is_replaced_is_watched_again_and_nothing_in_the_first_is_forgotten(trap, start):
    first = trap.make()
    daemon = start()
    eventually(lambda: trap.uploaded(first))
    os.rename(trap.images, trap.folder / "old")
    trap.images.mkdir()
    second = trap.make()
    daemon.hurry()
    eventually(lambda: trap.uploaded(first, second))
    third = trap.make("1b74105a")
    eventually(lambda: trap.uploaded(third))
    assert daemon.stop() == DONE


@pytest.mark.parametrize("what", ["outbox", "state folder"])
def test_state_that_is_deleted_is_made_again_and_nothing_is_stored_twice(trap, start, what):
    first = trap.make()
    daemon = start()
    eventually(lambda: trap.uploaded(first))
    if what == "outbox":
        for file in trap.state.glob("outbox.db*"):
            file.unlink()
    else:
        shutil.rmtree(trap.state)
    daemon.hurry()
    eventually(lambda: trap.uploaded(first))
    second = trap.make()
    eventually(lambda: trap.uploaded(second))
    assert daemon.stop() == DONE
    assert trap.holds(first, second)


def test_an_outbox_found_damaged_while_running_is_put_aside_and_filled_again(trap, start):
    files = [trap.make() for _ in range(12)]
    assert trap.drain() == DONE
    daemon = start()
    eventually(daemon.is_watching)
    damage(trap.outbox)
    with Outbox(trap.outbox, longest_wait=1800) as outbox:
        outbox.destinations.update(Destination(trap.store.as_uri(), DestinationState.OK, "another process was here"))
    daemon.hurry()
    eventually(lambda: list(trap.state.glob("outbox.db.damaged-*")))
    daemon.hurry()
    new = trap.make()
    eventually(lambda: trap.uploaded(*files, new))
    assert daemon.stop() == DONE
    assert trap.holds(*files, new)


@pytest.mark.parametrize("change", MET_AT_ONCE)
def test_a_flipped_bit_in_a_row_is_healed_by_the_service_while_it_runs(trap, start, change):
    file = trap.make()
    assert trap.drain() == DONE
    daemon = start()
    eventually(daemon.is_watching)
    flip(trap.outbox, change)
    daemon.hurry()
    new = trap.make()
    eventually(lambda: list(trap.state.glob("outbox.db.damaged-*")))
    daemon.hurry()
    eventually(lambda: trap.uploaded(file, new))
    assert daemon.stop() == DONE
    assert trap.holds(file, new)


def test_an_outbox_that_cannot_be_opened_once_the_service_was_at_work_is_waited_for(trap, start):
    first = trap.make()
    daemon = start()
    eventually(lambda: trap.uploaded(first))
    outbox = Path(trap.outbox)
    limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    # Enough for what it says, and not for a new outbox.
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (8192, limits[1]))
    outbox.rename(trap.folder / "elsewhere.db")
    daemon.hurry()
    eventually(lambda: "tried again every 10 s" in daemon.said)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, limits)
    second = trap.make()
    eventually(lambda: daemon.hurry() or (outbox.exists() and trap.uploaded(first, second)))
    assert "that is over: the service works again" in daemon.said
    assert daemon.stop() == DONE
    assert trap.holds(first, second)


def test_a_part_that_dies_ends_the_process_with_its_own_status(trap, start):
    daemon = start()
    eventually(daemon.is_watching)
    spoil(trap.outbox)
    trap.make()
    assert daemon.process.wait(PATIENCE) == DIED
    assert "the intake died" in daemon.said
    assert "IntegrityError: a bug" in daemon.said


@pytest.mark.parametrize("command", ["run", "drain"])
def test_a_second_process_on_the_same_folder_says_who_is_there_and_leaves(trap, start, command):
    first = start()
    eventually(first.is_watching)
    second = start(command)
    assert second.process.wait(PATIENCE) == LOCKED
    assert re.search(rf"another sticky-pi-uploader \(process {first.process.pid}\) is at work on", second.said)
    assert first.stop() == DONE


def test_pictures_that_are_retried_by_hand_are_noticed(trap, start):
    file = trap.make()
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    status = file.stat()
    daemon = start()
    eventually(lambda: trap.states().get(file.name) == State.REJECTED)
    with file.open("r+b") as opened:
        opened.write(b"")
    with Outbox(trap.outbox, longest_wait=1800) as outbox:
        assert outbox.queue.retry(outbox.at(file.name))
    assert os.path.samestat(status, file.stat())
    daemon.hurry()
    eventually(lambda: trap.whys(file)[1:] == ["asked for by hand"])
    file.write_bytes(whole)
    eventually(lambda: trap.uploaded(file))
    assert daemon.stop() == DONE


@pytest.fixture
def small_disk(trap):
    """Put the state on a small disk; return it."""
    with tmpfs(trap.state, "size=1m,mode=755") as place:
        yield place


def test_a_full_disk_is_said_and_waited_for_and_nothing_is_lost(trap, small_disk, start):
    first = trap.make()
    daemon = start()
    eventually(lambda: trap.uploaded(first))
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        file.write(bytes(2**20))
    files = [trap.make() for _ in range(5)]
    eventually(lambda: "tried again every 10 s" in daemon.said)
    assert daemon.process.poll() is None
    ballast.unlink()
    eventually(lambda: trap.uploaded(*files))
    assert "that is over: the intake works again" in daemon.said
    assert daemon.stop() == DONE
    assert trap.holds(first, *files)
