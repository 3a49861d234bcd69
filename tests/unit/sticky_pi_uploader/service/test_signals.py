import os
import select
import signal
import threading
import time

import pytest
from sticky_pi_uploader.service.signals import Signals

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LONG = 60.0


def handlers():
    return [signal.getsignal(number) for number in NUMBERS]


def descriptors():
    return set(os.listdir("/proc/self/fd"))


def test_the_handlers_from_before_are_back_afterwards_and_nothing_is_left_open():
    before, opened = handlers(), descriptors()
    with Signals():
        assert all(after is not handler for after, handler in zip(handlers(), before, strict=True))
    assert (handlers(), descriptors()) == (before, opened)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_is_noted_and_ends_the_wait(number):
    with Signals() as signals:
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
        signals.wait(LONG)
        assert (signals.stop, signals.take_reload()) == (True, False)


def test_a_signal_that_the_kernel_gives_to_another_thread_ends_the_wait():
    with Signals() as signals:
        threading.Timer(0.05, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()
        began_at = time.monotonic()
        signals.wait(LONG)
        assert signals.stop
        assert time.monotonic() - began_at < LONG / 2


def test_a_signal_that_came_before_the_wait_ends_it_too():
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signals.wait(LONG)
        assert signals.stop


def test_a_signal_to_reload_is_told_once():
    with Signals() as signals:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        signals.wait(LONG)
        assert (signals.stop, signals.take_reload(), signals.take_reload()) == (False, True, False)


def test_any_thread_ends_the_wait():
    with Signals() as signals:
        threading.Timer(0.05, signals.wake).start()
        signals.wait(LONG)
        assert not signals.stop


def test_many_wake_ups_are_one_and_no_thread_waits_to_leave_them():
    with Signals() as signals:
        for _ in range(100_000):
            signals.wake()
        for _ in range(20):
            signals.wait(0)
        assert select.select([signals._read_end], [], [], 0)[0] == []


@pytest.mark.parametrize("which", [0, 1])
def test_whatever_else_can_be_read_ends_the_wait(which):
    pipes = [os.pipe() for _ in range(2)]
    try:
        with Signals() as signals:
            os.write(pipes[which][1], b"!")
            signals.wait(LONG, *(read_end for read_end, _ in pipes))
            assert os.read(pipes[which][0], 2) == b"!"
    finally:
        for descriptor in (end for pipe in pipes for end in pipe):
            os.close(descriptor)


@pytest.mark.parametrize("seconds", [0, -5])
def test_no_time_is_no_wait(seconds):
    with Signals() as signals:
        signals.wait(seconds)
        assert not signals.stop


def test_a_thread_that_is_late_wakes_nobody_and_writes_nowhere(tmp_path):
    with Signals() as signals:
        pass
    opened = [(tmp_path / str(number)).open("wb") for number in range(4)]
    signals.wake()
    for file in opened:
        file.close()
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b""] * 4


def test_a_thread_that_was_left_behind_writes_to_no_other_file(tmp_path, monkeypatch):
    """It has the number of the pipe already when the pipe is closed and another file gets that number."""
    write = os.write
    signals = Signals()
    signals.__enter__()
    opened = []

    def late(descriptor, content):
        signals.__exit__()
        opened.extend(os.open(tmp_path / "picture", os.O_RDWR | os.O_CREAT) for _ in range(8))
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", late)
    signals.wake()
    monkeypatch.undo()
    for descriptor in opened:
        os.close(descriptor)
    assert (tmp_path / "picture").read_bytes() == b""
    before = len(os.listdir("/proc/self/fd"))
    with Signals():
        pass
    assert len(os.listdir("/proc/self/fd")) == before
