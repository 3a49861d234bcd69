import os
import socket

import pytest
import systemd_python
from program import loaded_by, python
from short_paths import short_path
from sticky_pi_uploader.service.systemd import ServiceManager, notify

CALL = """if True:
    import sys
    if sys.argv[1] == "without":
        sys.modules["systemd"] = None
    from sticky_pi_uploader.service.systemd import notify
    for message in sys.argv[2:]:
        notify(message)
    print("done")
    """


@pytest.fixture(params=["with", "without"])
def call(request):
    """Send messages from a process of its own, with systemd-python and without it."""
    if request.param == "with" and not systemd_python.is_installed():
        pytest.skip(systemd_python.MISSING)

    def call(address, *messages):
        done = python(CALL, request.param, *messages, env={**os.environ, "NOTIFY_SOCKET": address}, check=True)
        return done.stdout + done.stderr

    return call


@pytest.fixture
def listener():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(10)
        yield listening


@pytest.fixture
def address(tmp_path):
    """Where a socket can be bound."""
    with short_path(tmp_path) as folder:
        yield f"{folder}/socket"


def test_messages_arrive_one_by_one(call, listener, address):
    listener.bind(address)
    assert call(address, "READY=1", "STATUS=3 pictures, ü\nWATCHDOG=1") == "done\n"
    assert listener.recv(1000) == b"READY=1"
    assert listener.recv(1000) == "STATUS=3 pictures, ü\nWATCHDOG=1".encode()


def test_an_abstract_socket_is_spoken_to(call, listener):
    listener.bind("")  # the kernel chooses a name
    assert call("@" + listener.getsockname()[1:].decode(), "READY=1") == "done\n"
    assert listener.recv(1000) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nonexistent/socket", "@nobody-listens-here", "relative", "/" * 200, "@"])
def test_nobody_listening_is_no_error(call, address):
    assert call(address, "READY=1") == "done\n"


def test_a_socket_of_another_kind_is_no_error(call, address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(address)
        stream.listen()
        assert call(address, "READY=1") == "done\n"


def test_a_message_that_is_no_text_is_no_error(monkeypatch, listener, address):
    listener.bind(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("STATUS=\udcff")
    notify("READY=1")
    assert listener.recv(1000) == b"READY=1"


def test_without_anybody_to_tell_nothing_is_imported_for_it():
    code = "import os; os.environ.pop('NOTIFY_SOCKET', None); from sticky_pi_uploader.service.systemd import notify"
    assert "systemd" not in loaded_by(f"{code}; notify('READY=1')")


@pytest.fixture
def listening(monkeypatch, listener, address):
    """Listen to what this process tells; return what reads all that came so far."""
    listener.bind(address)
    listener.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    def read():
        heard = []
        while True:
            try:
                heard.append(listener.recv(1000).decode())
            except BlockingIOError:
                return heard

    return read


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "9" * 400},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_a_sign_of_life_is_given_only_where_this_process_is_asked_for_it(listening, more):
    manager = ServiceManager({**os.environ, **more})
    manager.ping()
    assert manager.next_ping == float("inf")
    assert listening() == []


def test_signs_of_life_come_at_least_twice_in_the_time_after_which_one_is_missed(listening):
    now = [100.0]
    asked = {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}
    manager = ServiceManager(os.environ | asked, monotonic=lambda: now[0])
    manager.ping()
    assert 0 < manager.next_ping <= 30
    manager.ping()
    assert listening() == ["WATCHDOG=1"]
    now[0] += manager.next_ping
    manager.ping()
    assert listening() == ["WATCHDOG=1"]


def test_each_thing_is_told_when_it_changes(listening):
    manager = ServiceManager()
    manager.reloading()
    for status in ("one", "one", "two\nREADY=1", "one"):
        manager.say(status)
    assert listening() == ["STATUS=one", "STATUS=two\\nREADY=1", "STATUS=one"]
    manager.ready()
    manager.ready()
    assert listening() == ["READY=1"]
    manager.reloading()
    manager.ready()
    manager.ready()
    assert [one.split("\n")[0] for one in listening()] == ["RELOADING=1", "READY=1"]
    manager.stopping()
    manager.stopping()
    assert listening() == ["STOPPING=1"]
