"""Stops a process and all its threads before each system call, and lets the tests say what becomes of it.

The kernel does it (seccomp's user notification), so a call counts whichever library makes it, and all threads' calls
come in one order: strace counts each thread's by itself, a preloaded library sees only those that go through libc.
"""

import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

# From linux/filter.h, linux/seccomp.h and linux/audit.h.
_LOAD, _RETURN, _IF_EQUAL, _IF_ANY_BIT = 0x20, 0x06, 0x15, 0x45
_NUMBER, _FIRST_ARGUMENT, _ARGUMENT_SIZE = 0, 16, 8
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_SET_FILTER, _NEW_LISTENER, _WAIT_KILLABLE = 1, 1 << 3, 1 << 5
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTICE, _ANSWER, _GO_ON = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI"), 1
_NO_NEW_PRIVILEGES = 38
_SECCOMP, _MMAP, _SENDMSG = 317, 9, 46
_ANONYMOUS = 0x20
_READY = b"ready"

MACHINE = "x86_64"
"""The kind of machine whose numbers of system calls are known here"""


def reason_to_skip():
    """Return why calls can't be stopped here; None where nothing is in the way."""
    if platform.machine() != MACHINE:
        return f"the numbers of system calls are known for {MACHINE} only"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = os.fork()
        if not child:
            try:
                install(range(500), theirs)
            except OSError as error:
                theirs.send(f"the kernel stops no calls for the tests: {error.strerror}".encode())
            os._exit(0)
        theirs.close()
        said = ours.recv(200)
        os.waitpid(child, 0)
    return None if said == _READY else said.decode()


def install(passing, wire):
    """Have the calling thread, and all that it starts, stopped before each call whose number isn't in `passing`.

    The other side of the socket `wire` gets what `Listener` takes. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    blob = ctypes.create_string_buffer(program := _filter(passing, wire.fileno()))
    argument = ctypes.create_string_buffer(struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(blob)))
    listener = libc.syscall(_SECCOMP, _SET_FILTER, _NEW_LISTENER | _WAIT_KILLABLE, argument)
    if listener < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    socket.send_fds(wire, [_READY], [listener])


def _filter(passing, wire):
    """Return a program for the kernel that lets pass those calls, mappings of no file, and the listener's own way."""
    checks = [(_LOAD, _NUMBER, 0, 0)]
    for number in passing:
        checks += [(_IF_EQUAL, number, 0, 1), (_RETURN, _ALLOW, 0, 0)]
    for number, argument, test, value in ((_MMAP, 3, _IF_ANY_BIT, _ANONYMOUS), (_SENDMSG, 0, _IF_EQUAL, wire)):
        place = _FIRST_ARGUMENT + _ARGUMENT_SIZE * argument
        checks += [(_IF_EQUAL, number, 0, 3), (_LOAD, place, 0, 0), (test, value, 0, 1), (_RETURN, _ALLOW, 0, 0)]
        # Whatever else the call was, it is asked for: it is none of those that follow.
        checks += [(_LOAD, _NUMBER, 0, 0)]
    checks += [(_RETURN, _ASK, 0, 0)]
    return b"".join(struct.pack("=HBBI", code, if_true, if_false, value) for code, value, if_true, if_false in checks)


@dataclass(frozen=True, slots=True)
class Notice:
    """A call that a thread is about to make."""

    id: int
    thread: int
    number: int
    arguments: tuple[int, ...]

    def text(self, address):
        """Return the path at an address of the thread's memory."""
        with open(f"/proc/{self.thread}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return os.fsdecode(memory.read(4096).split(b"\0", 1)[0])

    def number_at(self, address):
        """Return the int at an address of the thread's memory."""
        with open(f"/proc/{self.thread}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return int.from_bytes(memory.read(4), "little", signed=True)

    def opened(self, descriptor):
        """Return what one of the thread's descriptors is, as /proc names it; "" where it is none."""
        try:
            return os.readlink(f"/proc/{self.thread}/fd/{descriptor}")
        except OSError:
            return ""


class Listener:
    """The tests' side of `install`."""

    def __init__(self, wire):
        """Take it from the socket on whose other side it was installed."""
        self._descriptor = socket.recv_fds(wire, 16, 1)[1][0]
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def close(self):
        """Stop no more calls: those that come fail."""
        os.close(self._descriptor)

    def next(self, seconds):
        """Wait for a call; None once none can come. Raises TimeoutError."""
        while True:
            events = self._poll.poll(1000 * max(0, seconds))
            if not events:
                raise TimeoutError
            if not events[0][1] & select.POLLIN:
                return None
            blank = bytearray(_NOTICE.size)
            try:
                fcntl.ioctl(self._descriptor, _RECEIVE, blank)
            except FileNotFoundError:  # the thread has died meanwhile
                continue
            number, thread, _, call, _, _, *arguments = _NOTICE.unpack(blank)
            return Notice(number, thread, call, tuple(arguments))

    def answer(self, notice, error=None):
        """Let a call be made, or make it fail with the name of an error."""
        code, flags = (0, _GO_ON) if error is None else (-getattr(errno, error), 0)
        with suppress(FileNotFoundError):  # the thread has died meanwhile
            fcntl.ioctl(self._descriptor, _SEND, bytearray(_ANSWER.pack(notice.id, 0, code, flags)))
