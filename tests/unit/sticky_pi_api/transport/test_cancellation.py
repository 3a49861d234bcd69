"""Tests of starting threads where the system has no room for one."""

import errno
import threading

import pytest
from sticky_pi_api.transport.cancellation import starting

TOO_LARGE = 1 << 46
"""A stack of so many bytes is more than there is room for"""


def test_a_thread_that_the_system_has_no_room_for_is_an_os_error():
    before = threading.stack_size(TOO_LARGE)
    try:
        with pytest.raises(OSError, match="no room for a further thread") as caught, starting():
            threading.Thread(target=print).start()
    finally:
        threading.stack_size(before)
    assert caught.value.errno == errno.EAGAIN


def test_a_thread_that_starts_is_left_alone():
    with starting():
        thread = threading.Thread(target=int)
        thread.start()
    thread.join()
