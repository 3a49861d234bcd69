"""What the real service tells systemd: this test is its service manager."""

import json
import os
import queue
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from api_server import ApiServer
from fault_proxy import FaultProxy
from mounted import remount, tmpfs
from padding import padded
from program import PATIENCE, eventually
from short_paths import short_path
from sticky_pi_uploader.models import Destination, DestinationState, State
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.service.trouble import read_trouble

WATCHDOG = 0.6
"""Seconds after which a sign of life would be missed; one comes after every third of it."""

SERVICE = """if True:
    import json, os, sys
    from sticky_pi_uploader import config
    from sticky_pi_uploader.journal import setup as logs
    from sticky_pi_uploader.service import service
    from sticky_pi_uploader.service.liveness import Limits
    logs.set_up()
    flags, limits = map(json.loads, sys.argv[1:])
    load = lambda: config.load(flags, os.environ, default_file="/nonexistent")
    sys.exit(service.run(load, limits=Limits(**limits)))
    """


class Manager:
    """What systemd is to the service: hears what it tells, and sends signals."""

    def __init__(self, folder, address):
        self.address = address
        self.heard = []
        self.runtime = folder / "runtime"
        self.runtime.mkdir()
        self.environment = {"RUNTIME_DIRECTORY": str(self.runtime)}
        self._log = folder / "log"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._told = queue.SimpleQueue()
        # A few messages fill the socket, whatever the test is at; the next ones would be lost.
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.process = None

    def _read(self):
        while message := self._socket.recv(10_000):
            self._told.put(message.decode())

    def start(self, *arguments, watchdog=None, env=()):
        """Start Python with these arguments as the service."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SPI_")}
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "NOTIFY_SOCKET": self.address}
        environment |= self.environment
        if watchdog is not None:
            environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        with self._log.open("ab") as stderr:
            command = [sys.executable, "-W", "error", *arguments]
            self.process = subprocess.Popen(command, stderr=stderr, env=environment | dict(env))

    def listen(self):
        """Return all that was told so far, the oldest first."""
        with suppress(queue.Empty):
            while True:
                self.heard.append(self._told.get_nowait())
        return self.heard

    def hear(self, *messages):
        """Wait until these were told, in this order and with anything between them; forget them and what was before."""
        for message in messages:
            eventually(lambda message=message: message in self.listen())
            del self.heard[: self.heard.index(message) + 1]

    @property
    def statuses(self):
        return [one.removeprefix("STATUS=") for one in self.listen() if one.startswith("STATUS=")]

    @property
    def said(self):
        return self._log.read_text(encoding="utf-8")

    def signs_of_life(self):
        return self.listen().count("WATCHDOG=1")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self._socket.shutdown(socket.SHUT_RD)
        self._reader.join()
        self._socket.close()


@pytest.fixture
def manager(tmp_path):
    with short_path(tmp_path) as short:
        manager = Manager(tmp_path, f"{short}/notify")
        yield manager
        manager.close()


@pytest.fixture
def configured(trap, manager):
    """Run the command with a configuration file; return what writes it anew."""
    file = trap.folder / "config.toml"

    def write(api):
        file.write_text(f'image_dir = "{trap.images}"\nstate_dir = "{trap.state}"\n[api]\n{api}\n')

    def configured(api, watchdog=None):
        write(api)
        manager.start("-m", "sticky_pi_uploader", "run", "--config", str(file), watchdog=watchdog)
        return write

    return configured


@pytest.fixture
def work(trap, manager):
    """Start the service with limits, and with a watchdog."""

    def work(url=None, env=(), scan_interval=None, **limits):
        flags = {"image_dir": str(trap.images), "state_dir": str(trap.state), "api.url": url or trap.url}
        flags |= {"api.username": "trap"} if url else {}
        manager.start("-c", SERVICE, json.dumps(flags), json.dumps(limits), watchdog=WATCHDOG, env=env)
        manager.hear("READY=1")

    return work


def uploaded(trap):
    return trap.json("status")["counts"][State.UPLOADED]


def told(manager, text):
    """Wait until the service tells how things stand in a line that begins so; return it."""
    return eventually(lambda: next((one for one in manager.statuses if one.startswith(text)), None))


# --- from start to end -------------------------------------------------------------------------------------------


def test_it_is_ready_once_it_watches_and_the_outbox_is_open_and_tells_when_it_stops(trap, manager, configured):
    configured(f'url = "{trap.url}"')
    manager.hear("READY=1", f"STATUS=no pictures waiting; {trap.url} hasn't taken a picture yet")
    assert trap.outbox.exists()
    assert manager.stop() == 0
    manager.hear("STOPPING=1")
    assert manager.heard == []


def test_the_status_is_one_line_that_is_told_when_it_changes(trap, manager, configured, make_trap_picture):
    make_trap_picture(trap.images)
    (trap.images / "notes.jpg").write_text("no picture")
    trap.store.write_text("in the way")
    configured(f'url = "{trap.url}"')
    waiting = f"1 picture waiting; 1 to be looked at; {trap.url} is unreachable, tried again at "
    assert told(manager, waiting).endswith(" UTC")
    trap.store.unlink()
    now = f"no pictures waiting; 1 to be looked at; {trap.url} takes pictures"
    assert told(manager, now) == now
    before = len(manager.statuses)
    manager.process.send_signal(signal.SIGHUP)
    eventually(lambda: "nothing has changed" in manager.said)
    assert manager.stop() == 0
    assert len(manager.statuses) == before


def test_without_a_destination_it_is_ready_and_tells_what_it_waits_for_and_then_goes_on(trap, manager, configured):
    write = configured('url = ""')
    (status,) = eventually(lambda: manager.statuses)
    manager.hear("READY=1")
    assert "[api] url: not set: expected where the pictures go" in status
    assert status.endswith("; waiting for it")
    assert not trap.outbox.exists()
    write(f'url = "{trap.url}"')
    manager.hear(f"STATUS=no pictures waiting; {trap.url} hasn't taken a picture yet")
    assert manager.stop() == 0


@pytest.mark.parametrize("url", [None, ""], ids=["with", "without a destination"])
def test_without_a_folder_it_is_ready_and_ends_once_that_is_there_so_that_it_is_prepared(
    trap, manager, configured, url
):
    trap.images.rmdir()
    write = configured(f'url = "{trap.url if url is None else url}"')
    if url is not None:
        manager.hear("READY=1")
        write(f'url = "{trap.url}"')
        manager.process.send_signal(signal.SIGHUP)
    manager.hear(f"STATUS=the image folder {trap.images} isn't there; waiting for it", "READY=1")
    trap.images.mkdir()
    manager.hear("STOPPING=1")
    assert manager.process.wait(PATIENCE) == os.EX_TEMPFAIL
    assert "WARNING the folders" not in manager.said
    assert list(trap.images.iterdir()) == []


def test_signs_of_life_are_given_while_it_waits_for_a_folder_at_its_start(trap, manager, configured):
    trap.images.rmdir()
    configured(f'url = "{trap.url}"', watchdog=WATCHDOG)
    for _ in range(5):
        manager.hear("WATCHDOG=1")
    assert manager.stop() == 0


def test_a_card_that_is_read_only_is_waited_for(trap, manager, configured):
    with tmpfs(trap.state, "ro,mode=755"):
        configured(f'url = "{trap.url}"')
        why = f"the state folder {trap.state} can't be written: its file system is read-only"
        manager.hear(f"STATUS={why}; waiting for it", "READY=1")
        assert manager.said.count(why) == 1
        remount(trap.state, "rw")
        assert manager.process.wait(PATIENCE) == os.EX_TEMPFAIL


def test_a_folder_that_does_not_come_back_ends_the_service_with_a_status_that_starts_it_anew(trap, manager, work):
    work(away=2)
    trap.images.rename(trap.folder / "away")
    manager.process.send_signal(signal.SIGHUP)
    manager.hear(f"STATUS=the image folder {trap.images} isn't there; waiting for it", "STOPPING=1")
    assert manager.process.wait(PATIENCE) == os.EX_TEMPFAIL
    assert "INFO nothing came back within 2 s" in manager.said
    assert not trap.images.exists()


# --- trouble -----------------------------------------------------------------------------------------------------


def shown_trouble(trap, manager):
    """Return what `status` says of the service's trouble; `check` has to say the same."""
    status = json.loads(trap.run("status", "--json", env=manager.environment).stdout)
    checked = json.loads(trap.run("check", "--json", env=manager.environment).stdout)
    of_service = [(each["what"], each["advice"]) for each in checked if each["about"] == "service"]
    assert of_service == [(each["what"], each["advice"]) for each in status["trouble"]]
    return [each["what"] for each in status["trouble"]]


def test_a_refused_reload_is_trouble_until_one_is_taken(trap, manager, configured):
    write = configured(f'url = "{trap.url}"')
    manager.hear("READY=1")
    assert shown_trouble(trap, manager) == []
    write("parallel = 'many'\nmax_rate = 'fast'")
    hear_reload(manager)
    status = told(manager, "the last reload was refused, so the configuration from before stays in force: ")
    assert "config.toml, line 4: [api] parallel: expected" in status
    assert ", and 1 more mistake; no pictures waiting; " in status
    (what,) = shown_trouble(trap, manager)
    assert status.startswith(f"{what}; ")
    first, *_ = trap.run("status", env=manager.environment).stdout.decode().splitlines()
    assert first == f"Attention: {what}; no picture to be sent."
    manager.heard.clear()
    write(f'url = "{trap.url}"')
    hear_reload(manager)
    told(manager, "no pictures waiting; ")
    assert shown_trouble(trap, manager) == []
    assert manager.stop() == 0


def test_status_tells_of_a_refused_reload_though_it_cannot_use_the_configuration_itself(trap, manager, configured):
    write = configured(f'url = "{trap.url}"')
    manager.hear("READY=1")
    write("parallel = 'many'")
    hear_reload(manager)
    told(manager, "the last reload was refused")
    done = trap.run("status", flags=["--config", str(trap.folder / "config.toml")], env=manager.environment)
    assert done.returncode == os.EX_CONFIG
    assert b"the service says: the last reload was refused, so the configuration from before stays in" in done.stderr
    assert manager.stop() == 0


def test_a_refused_reload_is_told_while_the_service_waits_too(trap, manager, configured):
    trap.images.rmdir()
    write = configured(f'url = "{trap.url}"')
    waits = f"the image folder {trap.images} isn't there; waiting for it"
    manager.hear(f"STATUS={waits}", "READY=1")
    assert shown_trouble(trap, manager) == [waits]
    write("parallel = 'many'")
    refused = f"{waits}; the last reload was refused"
    assert told(manager, refused).startswith(refused)
    assert len(shown_trouble(trap, manager)) == 2
    assert manager.stop() == 0
    assert shown_trouble(trap, manager) == []


def test_why_a_service_could_not_start_is_told_after_its_end(trap, manager, configured):
    write = configured("parallel = 'many'")
    assert manager.process.wait(PATIENCE) == os.EX_CONFIG
    assert "[api] parallel: expected" in told(manager, f"{trap.folder / 'config.toml'}, line 4: ")
    write(f'url = "{trap.url}"')
    trap.state.write_text("in the way")
    manager.start("-m", "sticky_pi_uploader", "run", "--config", str(trap.folder / "config.toml"))
    assert manager.process.wait(PATIENCE) == os.EX_IOERR
    why = told(manager, "the state folder ")
    assert [each.what for each in read_trouble(str(trap.state), manager.environment)] == [why]


def test_a_state_folder_that_cannot_be_written_is_trouble_until_it_can(trap, manager, configured, make_trap_picture):
    configured(f'url = "{trap.url}"')
    manager.hear("READY=1")
    make_trap_picture(trap.images)
    eventually(lambda: uploaded(trap) == 1)
    limits = resource.prlimit(manager.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(manager.process.pid, resource.RLIMIT_FSIZE, (8192, limits[1]))
    make_trap_picture(trap.images)
    eventually(lambda: read_trouble(str(trap.state), manager.environment))
    (why,) = shown_trouble(trap, manager)
    assert str(trap.outbox) in why
    told(manager, why)
    resource.prlimit(manager.process.pid, resource.RLIMIT_FSIZE, limits)
    eventually(lambda: uploaded(trap) == 2)
    eventually(lambda: not read_trouble(str(trap.state), manager.environment))
    assert shown_trouble(trap, manager) == []
    assert manager.stop() == 0


# --- reload ------------------------------------------------------------------------------------------------------


def hear_reload(manager):
    """Wait for the start of a reload; its time is the kernel's."""
    before = time.monotonic()
    manager.process.send_signal(signal.SIGHUP)
    message = eventually(lambda: next((one for one in manager.listen() if one.startswith("RELOADING=1\n")), None))
    name, value = message.splitlines()[1].split("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) / 1e6 <= time.monotonic()
    manager.hear(message)


def test_a_reload_is_over_when_the_new_configuration_is_in_force(trap, manager, configured):
    other = trap.folder / "other"
    write = configured(f'url = "{trap.url}"')
    manager.hear("READY=1")
    write(f'url = "{other.as_uri()}"')
    hear_reload(manager)
    manager.hear("READY=1", f"STATUS=no pictures waiting; {other.as_uri()} hasn't taken a picture yet")
    assert manager.said.count("watching") == 2
    assert manager.stop() == 0


@pytest.mark.parametrize("api", ["scan_interval = 'often'", 'url = ""'], ids=["wrong", "no destination"])
def test_a_reload_that_fails_is_over_too_and_the_service_goes_on(trap, manager, configured, api, make_trap_picture):
    write = configured(f'url = "{trap.url}"')
    manager.hear("READY=1")
    write(api)
    hear_reload(manager)
    manager.hear("READY=1")
    assert "the configuration was not reloaded" in manager.said
    make_trap_picture(trap.images)
    eventually(lambda: uploaded(trap) == 1)
    assert manager.stop() == 0


def test_a_reload_to_a_folder_that_is_not_there_is_over_while_that_is_waited_for(trap, manager, configured):
    write = configured(f'url = "{trap.url}"')
    manager.hear("READY=1")
    trap.images.rename(trap.folder / "away")
    write(f'url = "{(trap.folder / "other").as_uri()}"')
    manager.process.send_signal(signal.SIGHUP)
    manager.hear(f"STATUS=the image folder {trap.images} isn't there; waiting for it")
    assert manager.process.poll() is None
    assert manager.stop() == 0


def test_a_store_that_hangs_at_a_reload_ends_the_service_with_a_status_that_starts_it_anew(
    trap, manager, configured, make_trap_picture
):
    write = configured(f'url = "{trap.url}"')
    make_trap_picture(trap.images)
    eventually(lambda: uploaded(trap) == 1)
    with closed_store(trap):
        make_trap_picture(trap.images)
        eventually(lambda: trap.json("status")["counts"][State.UPLOADING])
        write(f'url = "{(trap.folder / "other").as_uri()}"')
        manager.process.send_signal(signal.SIGHUP)
        assert manager.process.wait(PATIENCE) == os.EX_SOFTWARE


# --- the end of a wait -------------------------------------------------------------------------------------------


def hold(trap, url=None, state=DestinationState.REFUSING):
    """Have the destination wait for longer than any test."""
    trap.state.mkdir(exist_ok=True)
    with Outbox(str(trap.outbox), longest_wait=1800) as outbox:
        outbox.destinations.change(url or trap.url, lambda _: True)
        outbox.destinations.update(Destination(url or trap.url, state, "as before", time.time() + 1700, 9))


def is_held(trap):
    return trap.json("status")["destination"]["retry_at"] is not None


def waits(trap, manager):
    """Wait until the service is at work and has a picture to send, but the destination is still waited for."""
    manager.hear("READY=1")
    told(manager, f"1 picture waiting; {trap.url} takes no pictures, tried again at ")
    assert is_held(trap)


def test_a_wait_outlasts_crashes_and_ends_when_somebody_starts_the_service_again(
    trap, manager, configured, make_trap_picture
):
    hold(trap)
    make_trap_picture(trap.images)
    for end in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        configured(f'url = "{trap.url}"')
        waits(trap, manager)
        manager.process.send_signal(end)
        manager.process.wait(PATIENCE)
        manager.listen()
        manager.heard.clear()
    configured(f'url = "{trap.url}"')
    eventually(lambda: uploaded(trap) == 1)
    assert manager.stop() == 0


def test_a_reload_ends_a_wait(trap, manager, configured, make_trap_picture):
    hold(trap)
    make_trap_picture(trap.images)
    configured(f'url = "{trap.url}"')
    waits(trap, manager)
    hear_reload(manager)
    eventually(lambda: uploaded(trap) == 1)
    assert manager.stop() == 0


def test_a_reload_while_a_folder_is_missing_ends_a_wait_once_the_folder_is_there(
    trap, manager, configured, make_trap_picture
):
    hold(trap)
    trap.images.rmdir()
    configured(f'url = "{trap.url}"')
    manager.hear("READY=1")
    hear_reload(manager)
    manager.hear("READY=1")
    trap.images.mkdir()
    assert manager.process.wait(PATIENCE) == os.EX_TEMPFAIL
    make_trap_picture(trap.images)
    configured(f'url = "{trap.url}"')
    eventually(lambda: uploaded(trap) == 1)
    assert manager.stop() == 0


def test_a_corrected_password_is_noticed_and_ends_the_wait(trap, manager, configured, make_trap_picture, tmp_path):
    password = tmp_path / "password"
    password.write_text("wrong")
    password.chmod(0o600)
    make_trap_picture(trap.images)
    with ApiServer(tmp_path / "api") as server:
        hold(trap, server.url, DestinationState.UNAUTHORIZED)
        configured(f'url = "{server.url}"\nusername = "trap"\npassword_file = "{password}"', watchdog=WATCHDOG)
        manager.hear("READY=1")
        told(manager, f"1 picture waiting; {server.url} doesn't accept the account, tried again at ")
        (trouble,) = eventually(lambda: read_trouble(str(trap.state), manager.environment))
        assert trouble.what == f"{server.url} doesn't accept the account"
        assert "is read again within a minute" in trouble.advice
        password.write_text("pollen")
        # Its signs of life are listened to: it waits for whoever doesn't.
        eventually(lambda: manager.listen() and uploaded(trap) == 1)
        eventually(lambda: not read_trouble(str(trap.state), manager.environment))
        assert manager.stop() == 0
    assert "the password or the certificates have changed" in manager.said


def test_a_wrong_password_of_the_environment_is_to_be_corrected_there(trap, manager, work, make_trap_picture, tmp_path):
    make_trap_picture(trap.images)
    with ApiServer(tmp_path / "api") as server:
        hold(trap, server.url, DestinationState.UNAUTHORIZED)
        work(url=server.url, env={"SPI_API_PASSWORD": "wrong"})
        (trouble,) = eventually(lambda: manager.listen() and read_trouble(str(trap.state), manager.environment))
        assert trouble.what == f"{server.url} doesn't accept the account"
        assert trouble.advice.startswith("correct SPI_API_PASSWORD or [api] username, then `sudo systemctl ")
        assert manager.stop() == 0


# --- signs of life -----------------------------------------------------------------------------------------------


@contextmanager
def closed_store(trap):
    """Keep the store to ourselves, so that whoever else wants to write there waits."""
    store = sqlite3.connect(trap.store / "database.db", isolation_level=None)
    store.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        store.close()


def assert_given_up(trap, manager, what):
    """Wait until a part is said to hang; from then on, nothing must be heard but that."""
    eventually(lambda: f"CRITICAL {what}" in manager.said)
    told(manager, what)
    manager.listen()
    manager.heard.clear()
    time.sleep(3 * WATCHDOG)
    assert manager.signs_of_life() == 0
    assert manager.process.poll() is None
    assert manager.said.count("has to be started anew") == 1


def test_signs_of_life_go_on_while_it_waits_for_work_and_while_it_takes_in_and_sends(
    trap, manager, work, make_trap_picture
):
    work(intake=10, store=10, watch=10, scan=10)
    for _ in range(5):
        manager.hear("WATCHDOG=1")
    for _ in range(100):
        make_trap_picture(trap.images)
    while uploaded(trap) < 100:
        manager.hear("WATCHDOG=1", "WATCHDOG=1")
    manager.hear("WATCHDOG=1")
    assert "started anew" not in manager.said
    assert manager.stop() == 0


def test_signs_of_life_go_on_while_it_waits_for_a_folder_that_went_away(trap, manager, work):
    work()
    trap.images.rename(trap.folder / "away")
    manager.process.send_signal(signal.SIGHUP)
    manager.hear(f"STATUS=the image folder {trap.images} isn't there; waiting for it")
    for _ in range(5):
        manager.hear("WATCHDOG=1")
    (trap.folder / "away").rename(trap.images)
    assert manager.process.wait(PATIENCE) == os.EX_TEMPFAIL


def test_an_uploader_that_hangs_in_its_store_ends_the_signs_of_life(trap, manager, work, make_trap_picture):
    make_trap_picture(trap.images)
    work(store=1)
    eventually(lambda: uploaded(trap) == 1)
    with closed_store(trap):
        make_trap_picture(trap.images)
        assert_given_up(trap, manager, "the uploader hangs for ")


def test_an_upload_over_a_slow_link_is_no_hanging_one(trap, manager, work, make_trap_picture, tmp_path):
    path = make_trap_picture(trap.folder)
    path.write_bytes(padded(path.read_bytes(), 400_000, 1))
    with ApiServer(tmp_path / "api") as server, FaultProxy(server.port, rate_up=40_000) as proxy:
        work(url=f"http://127.0.0.1:{proxy.port}", env={"SPI_API_PASSWORD": "pollen"}, server=4, intake=20)
        path.rename(trap.images / path.name)
        began = time.monotonic()
        eventually(lambda: trap.json("status")["counts"][State.UPLOADING])
        while not uploaded(trap):
            manager.hear("WATCHDOG=1", "WATCHDOG=1")
        assert time.monotonic() - began > 8
        manager.hear("WATCHDOG=1")
        assert "started anew" not in manager.said
        assert manager.stop() == 0


def test_a_stop_ends_the_trouble_though_a_part_hangs(trap, manager, work, make_trap_picture):
    make_trap_picture(trap.images)
    work(store=1)
    eventually(lambda: uploaded(trap) == 1)
    with closed_store(trap):
        make_trap_picture(trap.images)
        eventually(lambda: read_trouble(str(trap.state), manager.environment))
        assert manager.stop() == 0
    assert read_trouble(str(trap.state), manager.environment) == []
    assert (manager.runtime / "stopped").exists()


@contextmanager
def tampering(process, calls, how, *more):
    """Tamper with system calls of all threads of a process, as strace's `inject` has it."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace here to tamper with system calls: apt-get install strace")
    command = [strace, "-f", "-o", os.devnull, "-p", str(process.pid), *more, "-e", f"trace={calls}"]
    with subprocess.Popen([*command, "-e", f"inject={calls}:{how}"], stderr=subprocess.PIPE, text=True) as tracer:
        try:
            line = tracer.stderr.readline()
            if "attached" not in line:
                pytest.skip(f"strace doesn't work here: {line}")
            yield
        finally:
            tracer.terminate()
            tracer.stderr.read()


def test_a_watch_that_can_not_be_laid_anew_ends_the_signs_of_life(trap, manager, work):
    work(watch=1)
    manager.hear("WATCHDOG=1")
    with tampering(manager.process, "/^inotify_(init|add)", "error=EPERM"):
        (trap.images / "5c173ff2").mkdir()  # it needs a watch, too
        assert_given_up(trap, manager, f"{trap.images} can't be watched for ")
    assert "can't be watched just now: Operation not permitted" in manager.said


def test_an_intake_that_hangs_ends_the_signs_of_life(trap, manager, work, make_trap_picture):
    work(intake=1)
    manager.hear("WATCHDOG=1")
    picture = make_trap_picture(trap.folder)
    arrived = trap.images / picture.name
    # By its whole path, or by its name within its folder: strace knows a file by what the call is told.
    paths = ("-P", str(arrived), "-P", arrived.name)
    with tampering(manager.process, "openat", "delay_enter=60000000", *paths):
        picture.rename(arrived)
        assert_given_up(trap, manager, "the intake hangs for ")
