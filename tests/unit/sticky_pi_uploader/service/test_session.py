import gc
import glob
import logging
import os
import sqlite3
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest
from program import PATIENCE, eventually
from small_files import small_files_only
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import StoreError
from sticky_pi_uploader import config as config_module
from sticky_pi_uploader.cli.commands.pictures.retry import retry
from sticky_pi_uploader.config.model import HoldConfig
from sticky_pi_uploader.exceptions import ConfigError, LockedError, OutboxDamagedError, StateError
from sticky_pi_uploader.models import Destination, DestinationState, State
from sticky_pi_uploader.outbox import Outbox, outbox_path
from sticky_pi_uploader.service.liveness import Limits
from sticky_pi_uploader.service.session import Session, client_opener
from sticky_pi_uploader.service.supervisor import TICK, ReplacedError, Supervisor


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.fixture
def configure(images):
    def configure(**flags):
        flags = {"image_dir": str(images), **{name.replace("__", "."): str(value) for name, value in flags.items()}}
        return config_module.load(flags, {}, default_file="/nonexistent")

    return configure


@pytest.fixture
def config(configure):
    return configure()


@contextmanager
def opened(config, *, wake=lambda: None, stopping=lambda: False):
    with Session(config, wake=wake, stopping=stopping) as session:
        yield session


def start(session):
    """Have all parts of a session at work; return what looks after them."""
    supervisor = Supervisor(session)
    supervisor.start(Limits())
    return supervisor


@contextmanager
def watching(session):
    """Look after a session of which nothing but the watcher runs."""
    supervisor = Supervisor(session)
    supervisor._watcher.start()
    try:
        yield supervisor
    finally:
        supervisor._watcher.stop()


def is_replaced(supervisor):
    try:
        supervisor.raise_fatal()
    except ReplacedError:
        return True
    return False


def uploaded(session):
    return session.outbox.counts()[State.UPLOADED]


# --- from start to end -------------------------------------------------------------------------------------------


def test_until_it_is_started_nothing_runs_and_nothing_is_sent(config, make_trap_picture, images):
    make_trap_picture(images)
    before = threading.active_count()
    with opened(config) as session:
        assert threading.active_count() == before
        assert session.outbox.counts()[State.PENDING] == 0


def test_started_it_sends_what_is_there_and_what_comes_and_leaves_no_thread(config, make_trap_picture, images):
    before = set(threading.enumerate())
    make_trap_picture(images)
    with opened(config) as session:
        start(session)
        eventually(lambda: uploaded(session) == 1)
        make_trap_picture(images / "1b74105a" / "2020-07-05")
        eventually(lambda: uploaded(session) == 2)
        assert session.workers.errors == []
        assert session.workers.trouble() is None
    assert set(threading.enumerate()) == before
    assert not session.workers.is_abandoned()


def test_a_picture_that_is_moved_down_just_before_it_is_sent_is_found_without_a_watcher(
    config, make_trap_picture, images
):
    file = make_trap_picture(images)
    with opened(config) as session:
        session.start_intake()
        session.scan_requests.everything()
        eventually(lambda: session.outbox.counts()[State.PENDING] == 1 and session.intake.idle)
        (images / "1b74105a").mkdir()
        file.rename(images / "1b74105a" / file.name)
        eventually(lambda: session.uploader.step() is None and uploaded(session))
        (picture,) = session.outbox.pictures()
        assert picture.path == f"1b74105a/{file.name}"


def test_the_state_and_the_store_inside_the_image_folder_are_no_pictures(config, make_trap_picture, images):
    make_trap_picture(images)
    with opened(config) as session:
        start(session)
        eventually(lambda: uploaded(session) == 1)
        session.scan_requests.everything()
        eventually(lambda: session.intake.idle and not session.scan_requests)
        assert [picture.path for picture in session.outbox.pictures()] == [
            "1b74105a.2020-07-05_10-07-16.jpg",
        ]
    assert len(list(images.rglob("*.jpg"))) == 2


def test_a_visible_store_inside_the_image_folder_is_ignored_too(configure, make_trap_picture, images):
    make_trap_picture(images)
    with opened(configure(api__url=(images / "store").as_uri())) as session:
        start(session)
        eventually(lambda: uploaded(session) == 1)
        session.scan_requests.everything()
        eventually(lambda: session.intake.idle and not session.scan_requests)
        assert len(list(session.outbox.pictures())) == 1


def test_twenty_sessions_leave_no_thread_no_descriptor_and_no_memory_behind(config, make_trap_picture, images):
    def run_one():
        make_trap_picture(images)
        with opened(config) as session:
            start(session)
            eventually(lambda: session.outbox.counts()[State.PENDING] == 0 and uploaded(session) == len(made))

    made = []
    for _ in range(5):
        made.append(1)
        run_one()
    threads, descriptors, memory = threading.active_count(), len(os.listdir("/proc/self/fd")), resident()
    for _ in range(20):
        made.append(1)
        run_one()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert resident() - memory < 5_000_000


def resident():
    """Return the bytes that this process holds in memory."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_was_being_sent_when_the_last_run_broke_off_is_asked_for_again(config, make_trap_picture, images, caplog):
    caplog.set_level(logging.INFO)
    make_trap_picture(images)
    with opened(config) as session:
        session.scan_requests.everything()
        session.start_intake()
        eventually(lambda: session.outbox.queue.claim(1))
    with opened(config) as session:
        assert session.outbox.counts()[State.PENDING] == 1
    assert "1 picture was being sent when the last run ended: asked for again" in caplog.messages


@pytest.mark.parametrize("order", ["newest", "spread", "auto"])
def test_pictures_are_sent_in_the_order_that_the_configuration_names(config, make_trap_picture, images, order):
    config = config._replace(api=config.api._replace(order=order))
    pictures = [make_trap_picture(images) for _ in range(8)]
    with opened(config) as session:
        session.scan_requests.everything()
        session.start_intake()
        eventually(lambda: session.outbox.counts()[State.PENDING] == len(pictures))
        claimed = [picture.path for picture in session.outbox.queue.claim(len(pictures))]
    by_time = sorted(picture.name for picture in pictures)
    from_both_ends = [by_time.pop(-1 if place % 2 == 0 else 0) for place in range(len(pictures))]
    assert sorted(claimed) == sorted(from_both_ends)
    assert (claimed != from_both_ends) == (order == "spread")


def test_with_another_destination_what_is_still_here_is_due_again(configure, make_trap_picture, images, tmp_path):
    kept, gone = make_trap_picture(images), make_trap_picture(images)
    with opened(configure()) as session:
        start(session)
        eventually(lambda: uploaded(session) == 2)
    gone.unlink()
    with opened(configure(api__url=(tmp_path / "other").as_uri())) as session:
        assert (session.outbox.at(kept.name).state, session.outbox.at(gone.name).state) == ("pending", "uploaded")
        start(session)
        eventually(lambda: uploaded(session) == 2)
    with LocalClient(str(tmp_path / "other")) as client:
        assert len(client.get_images([{"device": "1b74105a", "datetime": "2020-07-05_10-07-16"}])) == 1


def test_what_can_be_reached_by_two_paths_is_one_folder(configure, make_trap_picture, images, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(images)
    make_trap_picture(images)
    with opened(configure()) as session:
        start(session)
        eventually(lambda: uploaded(session) == 1)
    with opened(configure(image_dir=link, state_dir=images / ".sticky-pi-uploader")) as session:
        start(session)
        eventually(lambda: session.intake.idle)
        assert session.outbox.counts()[State.UPLOADED] == 1
        assert session.intake.recorded == 0


# --- what keeps it from starting ---------------------------------------------------------------------------------


def test_two_sessions_do_not_share_a_folder_and_the_second_leaves_the_first_in_peace(config):
    with opened(config) as session:
        with pytest.raises(LockedError), opened(config):
            pass
        assert session.outbox.counts()[State.PENDING] == 0
    with opened(config):
        pass


def test_a_state_folder_that_cannot_be_made_is_a_state_error_and_leaves_nothing_open(configure, tmp_path):
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StateError, match="can't be made"), opened(configure(state_dir=tmp_path / "no" / "state")):
        pass
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_an_outbox_that_cannot_be_opened_gives_back_the_locks(configure, tmp_path):
    config = configure(state_dir=tmp_path / "state")
    for _ in range(2):
        with small_files_only(), pytest.raises(StateError, match="can't be used"), opened(config):
            pass


def test_a_server_without_an_account_is_a_configuration_error(configure):
    with pytest.raises(ConfigError, match="wants an account"):
        Session(configure(api__url="https://example.org"), wake=lambda: None, stopping=lambda: False)


def test_a_store_is_made_only_where_the_folder_above_it_is(configure, tmp_path):
    open_store = client_opener(configure(api__url=(tmp_path / "usb" / "store").as_uri()))
    with pytest.raises(StoreError, match=f"{tmp_path}/usb isn't there: is the disk of the store mounted"):
        open_store()
    assert not (tmp_path / "usb").exists()
    (tmp_path / "usb").mkdir()
    with open_store() as client:
        assert client.local_dir == str(tmp_path / "usb" / "store")


# --- what is noticed while it runs -------------------------------------------------------------------------------


def test_a_replaced_image_folder_or_outbox_is_noticed(config, images, tmp_path):
    with opened(config) as session:
        supervisor = Supervisor(session)
        assert not is_replaced(supervisor)
        os.rename(outbox_path(config.state_dir), tmp_path / "aside.db")
        assert is_replaced(supervisor)
        os.rename(tmp_path / "aside.db", outbox_path(config.state_dir))
        assert not is_replaced(supervisor)
        os.rename(images, tmp_path / "old")
        assert is_replaced(supervisor)
        images.mkdir()
        assert is_replaced(supervisor)
        images.rmdir()
        os.rename(tmp_path / "old", images)
        assert not is_replaced(supervisor)


@pytest.mark.parametrize("where", ["itself", "above it", "a link behind it"])
def test_an_image_folder_whose_link_is_turned_to_another_card_is_noticed(configure, tmp_path, where):
    cards = [tmp_path / name / "pictures" for name in ("first", "second")]
    for card in cards:
        card.mkdir(parents=True)
    link, turned = tmp_path / "link", tmp_path / "turned"
    leads_to = [card.parent if where == "above it" else card for card in cards]
    link.symlink_to(leads_to[0])
    images = link / "pictures" if where == "above it" else link
    if where == "a link behind it":
        images = tmp_path / "configured"
        images.symlink_to(link)
    with opened(configure(image_dir=images, state_dir=tmp_path / "state")) as session:
        supervisor = Supervisor(session)
        assert not is_replaced(supervisor)
        turned.symlink_to(leads_to[1])
        turned.replace(link)
        assert is_replaced(supervisor)
        turned.symlink_to(leads_to[0])
        turned.replace(link)
        assert not is_replaced(supervisor)


def test_a_store_whose_link_is_turned_to_another_disk_is_noticed(configure, tmp_path, make_trap_picture, images):
    disks = [tmp_path / "first", tmp_path / "second"]
    for disk in disks:
        disk.mkdir()
        with LocalClient(disk / "store"):
            pass
    link, turned = tmp_path / "usb", tmp_path / "turned"
    link.symlink_to(disks[0])
    with opened(configure(api__url=(link / "store").as_uri())) as session:
        supervisor = Supervisor(session)
        assert not is_replaced(supervisor)
        link.unlink()
        assert not is_replaced(supervisor), "it may only be away"
        link.symlink_to(disks[0])
        assert not is_replaced(supervisor)
        turned.symlink_to(disks[1])
        turned.replace(link)
        assert is_replaced(supervisor)


def test_what_another_process_asks_for_wakes_the_intake_and_the_uploader(configure, make_trap_picture, images):
    config = configure(api__url=(images / "usb" / "store").as_uri())
    make_trap_picture(images)
    with opened(config) as session:
        supervisor = start(session)
        eventually(lambda: session.outbox.destination(config.api.url).state is DestinationState.UNREACHABLE)
        far = Destination(config.api.url, DestinationState.UNREACHABLE, "", time.time() + 1700, 9)
        session.outbox.destinations.update(far)
        (images / "usb").mkdir()
        with Outbox(outbox_path(config.state_dir), longest_wait=1800) as another:
            another.destinations.end_wait()
        assert supervisor.tick() <= TICK
        eventually(lambda: uploaded(session) == 1)


def test_a_retry_of_one_file_leads_to_a_look_at_that_file_and_to_no_scan(config, make_trap_picture, images):
    """On a card of many folders; a file that couldn't be seen, as its disk was away, is looked for as well."""
    days = [images / "1b74105a" / f"2020-07-{day:02}" for day in range(1, 31)]
    good, bad, *_ = [make_trap_picture(day) for day in days]
    whole = bad.read_bytes()
    bad.write_bytes(whole[:-100])
    recorder = _Recorder()
    with opened(config) as session, watching(session) as supervisor:
        session.start_intake()
        session.scan_requests.everything()
        eventually(lambda: session.outbox.counts()[State.REJECTED] == 1 and session.intake.idle)
        away = os.path.relpath(good, images)
        session.outbox.catalog.set_present(away, present=False)
        supervisor.tick()
        for file in (good, bad):
            with recorder.recording(images):
                retry(config.state_dir, config.image_dir, [file.name], everything=False)
                assert len(session.outbox.catalog.files_to_recheck()) == 1
                supervisor.tick()
                eventually(lambda: not session.outbox.catalog.files_to_recheck() and session.intake.idle)
            assert recorder.scanned == []
            assert recorder.opened == {file.name}
        assert session.outbox.catalog.at(away).present


class _Recorder:
    """Record which folders are listed and which pictures are opened, by the audit events of the interpreter."""

    def __init__(self):
        self._below = None
        sys.addaudithook(self._hear)

    @contextmanager
    def recording(self, folder):
        self.scanned, self.opened, self._below = [], set(), os.path.join(folder, "")
        yield
        self._below = None

    def _hear(self, event, arguments):
        if self._below is not None and event in ("os.scandir", "os.listdir", "open"):
            path = os.fspath(arguments[0]) if isinstance(arguments[0], str | os.PathLike) else ""
            if event == "open" and path.endswith(".jpg"):
                self.opened.add(os.path.basename(path))
            elif event != "open" and os.path.join(path, "").startswith(self._below):
                self.scanned.append(path)


def test_a_tick_comes_soon_enough_for_what_people_ask(config):
    with opened(config) as session:
        supervisor = start(session)
        assert 0 <= supervisor.tick() <= TICK < 10


def test_a_worker_that_died_is_noticed_and_its_end_told(config, make_trap_picture, images, caplog):
    woken = threading.Event()
    with opened(config, wake=woken.set) as session:
        session.outbox.database.connection.execute(
            "CREATE TRIGGER bug BEFORE INSERT ON pictures BEGIN SELECT RAISE(ABORT, 'a bug'); END"
        )
        make_trap_picture(images)
        start(session)
        eventually(lambda: session.workers.errors)
        assert woken.wait(PATIENCE)
    assert "the intake died" in caplog.messages


def test_trouble_of_a_worker_is_to_be_had(config, make_trap_picture, images):
    with opened(config) as session:
        (images / ".sticky-pi-uploader" / "thumbnails").symlink_to("thumbnails")
        make_trap_picture(images)
        start(session)
        assert isinstance(eventually(session.workers.trouble), OSError)
        assert session.workers.errors == []


def test_once_it_is_to_stop_no_further_picture_is_begun(config, make_trap_picture, images):
    for _ in range(5):
        make_trap_picture(images)
    asked = []

    def stopping():
        asked.append(1)
        return len(asked) > 3

    with opened(config, stopping=stopping) as session:
        session.scan_requests.everything()
        session.start_intake()
        eventually(lambda: session.intake.idle)
        assert session.is_stopping()
        assert session.intake.recorded == 3


def test_the_status_line_says_that_pictures_are_held_and_that_it_lasts_too_long(config, make_trap_picture, images):
    make_trap_picture(images)
    hold = HoldConfig(hours=("00:00-24:00",))
    line = "1 picture waiting; held: nothing is sent in these hours ([hold] hours); file://"
    with opened(config._replace(hold=hold)) as session:
        supervisor = start(session)
        eventually(lambda: supervisor.status().startswith(line))
        session.outbox.queue.record_hold(session.hold._replace(since=time.time() - 3 * 86400))
        assert uploaded(session) == 0
    with opened(config._replace(hold=hold)) as session:
        supervisor = start(session)
        problem = "held for 3 days: nothing is sent in these hours ([hold] hours); "
        eventually(lambda: supervisor.status().startswith(f"{problem}{line}"))
    with opened(config) as session:
        supervisor = start(session)
        eventually(lambda: uploaded(session) == 1)
        assert "held" not in supervisor.status()


def test_a_hold_that_ends_is_looked_at_when_it_is_due_though_nothing_else_happens(config):
    with opened(config._replace(hold=HoldConfig(hours=("00:00-24:00",)))) as session:
        assert session.send() is None
    now = time.gmtime(time.time() + 7200)
    later = f"{now.tm_hour:02}:{now.tm_min:02}"
    end = time.strftime("%H:%M", time.gmtime(time.time() + 14400))
    with opened(config._replace(hold=HoldConfig(hours=(f"{later}-{end}",)))) as session:
        assert 7000 < session.send() <= 7200
    with opened(config) as session:
        assert session.send() is None


# --- trouble with the outbox in the main loop --------------------------------------------------------------------


@contextmanager
def locked(session):
    """Have another process hold the outbox, as `retry` may for long, and have nobody wait for it."""
    session.outbox.database.connection.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(outbox_path(session.config.state_dir), isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        yield


def held(config):
    return Destination(config.api.url, DestinationState.UNREACHABLE, "", time.time() + 1700, 9)


def set_clock(supervisor):
    supervisor._clock_offset -= 1000


@pytest.mark.parametrize("asks", [set_clock, Supervisor.end_wait])
def test_an_outbox_that_cannot_be_written_ends_no_session_and_the_wait_ends_once_it_can(config, caplog, asks):
    caplog.set_level(logging.INFO)
    with opened(config) as session, watching(session) as supervisor:
        session.outbox.destinations.update(held(config))
        with locked(session):
            asks(supervisor)
            for _ in range(3):
                assert supervisor.tick() <= TICK
            assert "can't be used: database is locked" in supervisor.status()
        assert session.outbox.destination(config.api.url).retry_at is not None
        assert supervisor.tick() > 0
        assert session.outbox.destination(config.api.url).retry_at is None
        assert "can't be used" not in supervisor.status()
    said = [message for message in caplog.messages if "tried again every" in message or "that is over" in message]
    assert len(said) == 2
    assert said[0].endswith("database is locked; tried again every 10 s")
    assert said[1].startswith("that is over: the service works again")
    assert sum("the clock was set" in message for message in caplog.messages) == (asks is set_clock)


class FailingConnection:
    """An outbox's connection on a disk that fails, at once or after the first question."""

    def __init__(self, sound, *, answers):
        self._sound, self._answers = sound, answers

    def execute(self, *arguments):
        if self._answers:
            self._answers -= 1
            return self._sound.execute(*arguments)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error


@pytest.mark.parametrize("answers", [0, 1])
def test_an_outbox_that_cannot_be_read_ends_no_session_and_what_was_asked_for_meanwhile_is_done(
    config, images, answers
):
    (images / "5c173ff2.2020-06-20_21-33-00.jpg").write_bytes(b"no picture")
    with opened(config) as session, watching(session) as supervisor:
        session.start_intake()
        session.scan_requests.everything()
        (picture,) = eventually(lambda: list(session.outbox.pictures()))
        session.workers.stop()
        with Outbox(outbox_path(config.state_dir), longest_wait=1800) as another:
            assert another.queue.retry(picture)
        sound = session.outbox.database.connection
        session.outbox.database.connection = FailingConnection(sound, answers=answers)
        assert supervisor.tick() <= TICK
        session.outbox.database.connection = sound
        supervisor.tick()
        assert session.scan_requests.take().files == {picture.path}


def put_aside(config):
    return glob.glob(f"{glob.escape(config.state_dir)}/outbox.db.damaged-*Z")


def test_damage_that_the_main_loop_finds_has_the_outbox_put_aside(config):
    def find_it():
        with opened(config) as session:
            session.outbox.database.connection.execute("DROP TABLE destinations")
            Supervisor(session).end_wait()

    with pytest.raises(OutboxDamagedError):
        find_it()
    assert len(put_aside(config)) == 1


def test_damage_that_a_worker_finds_has_the_outbox_put_aside_whatever_else_ends_the_session(config):
    def end_otherwise():
        with opened(config) as session:
            session.outbox.database.connection.execute("DROP TABLE folders")
            session.start_intake()
            session.scan_requests.everything()
            eventually(lambda: session.workers.errors)
            raise StateError("no space left")

    with pytest.raises(StateError, match="no space"):
        end_otherwise()
    assert len(put_aside(config)) == 1
