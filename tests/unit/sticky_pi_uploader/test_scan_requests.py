import threading

from sticky_pi_uploader.scan_requests import ScanRequest, ScanRequests


def test_there_is_none_at_first():
    scan_requests = ScanRequests()
    assert (bool(scan_requests), scan_requests.waiting.is_set(), scan_requests.take()) == (False, False, ScanRequest())


def test_hints_are_taken_once_and_all_together():
    scan_requests = ScanRequests()
    for _ in range(2):
        scan_requests.file("a.jpg")
        scan_requests.folder("b")
    scan_requests.file("b/c.jpg")
    scan_requests.touched("d.jpg")
    assert (bool(scan_requests), scan_requests.waiting.is_set()) == (True, True)
    assert scan_requests.take() == ScanRequest(
        frozenset({"a.jpg", "b/c.jpg"}), frozenset({"b"}), touched=frozenset({"d.jpg"})
    )
    assert (bool(scan_requests), scan_requests.waiting.is_set(), scan_requests.take()) == (False, False, ScanRequest())


def test_a_scan_can_be_asked_for():
    scan_requests = ScanRequests()
    scan_requests.everything()
    assert (bool(scan_requests), scan_requests.waiting.is_set()) == (True, True)
    assert scan_requests.take() == ScanRequest(everything=True)
    assert not scan_requests


def test_a_wake_up_without_a_hint_is_no_hint():
    scan_requests = ScanRequests()
    scan_requests.waiting.set()
    assert not scan_requests
    assert scan_requests.take() == ScanRequest()
    assert not scan_requests.waiting.is_set()


def test_no_hint_is_lost_or_taken_twice_while_threads_leave_them():
    scan_requests = ScanRequests()
    taken = []

    def leave(thread):
        for number in range(500):
            scan_requests.file(f"{thread}/{number}.jpg")

    threads = [threading.Thread(target=leave, args=[thread]) for thread in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or scan_requests:
        scan_requests.waiting.wait(0.01)
        taken += scan_requests.take().files
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(f"{thread}/{number}.jpg" for thread in range(4) for number in range(500))
