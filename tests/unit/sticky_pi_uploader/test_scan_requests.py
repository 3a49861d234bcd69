import threading
import time

from sticky_pi_uploader.scan_requests import Hint, Hints


def test_there_is_none_at_first():
    hints = Hints()
    assert (bool(hints), hints.waiting.is_set(), hints.take()) == (False, False, Hint())


def test_hints_are_taken_once_and_all_together():
    hints = Hints()
    for _ in range(2):
        hints.file("a.jpg")
        hints.folder("b")
    hints.file("b/c.jpg")
    hints.touched("d.jpg")
    assert (bool(hints), hints.waiting.is_set()) == (True, True)
    assert hints.take() == Hint(frozenset({"a.jpg", "b/c.jpg"}), frozenset({"b"}), touched=frozenset({"d.jpg"}))
    assert (bool(hints), hints.waiting.is_set(), hints.take()) == (False, False, Hint())


def test_a_scan_can_be_asked_for():
    hints = Hints()
    hints.everything()
    assert (bool(hints), hints.waiting.is_set()) == (True, True)
    assert hints.take() == Hint(everything=True)
    assert not hints


def test_a_wake_up_without_a_hint_is_no_hint():
    hints = Hints()
    hints.waiting.set()
    assert not hints
    assert hints.take() == Hint()
    assert not hints.waiting.is_set()


def test_no_hint_is_lost_or_taken_twice_while_threads_leave_them():
    hints = Hints()
    taken = []

    def leave(thread):
        for number in range(500):
            hints.file(f"{thread}/{number}.jpg")

    threads = [threading.Thread(target=leave, args=[thread]) for thread in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while any(thread.is_alive() for thread in threads) or hints:
        assert time.monotonic() < deadline
        hints.waiting.wait(0.01)
        taken += hints.take().files
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(f"{thread}/{number}.jpg" for thread in range(4) for number in range(500))
