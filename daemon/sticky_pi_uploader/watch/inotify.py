"""Observe a folder with watchdog, and read the kernel's limits and watches; only this module uses watchdog.

watchdog's weakness                                            the answer here
a dead thread of an observer goes unnoticed                    `problem` checks each thread
it says nothing when the folder is replaced                    `problem` compares the folder's device and inode
an overflow of the kernel's queue is only a warning (newer)    `problem` reads the log
the observer's own queue and thread double the work            events go straight to the handler
its event filter also asks for each write to a file            the mask is set anew, with changes of attributes
stopping it while its folder vanishes closes a file twice      `stop` waits for it to end by itself
a thread sleeps on after the clock was set back (Debian 12)    `stop` waits only `STOP_TIMEOUT` seconds
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sticky_pi_api.transport.cancellation import starting

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver, EventEmitter

SELF_END_TIMEOUT: Final = 1.0
"""Seconds in which an observing thread ends by itself after its folder is gone"""

STOP_TIMEOUT: Final = 2.0
"""Seconds to wait for the observer's threads when they are stopped"""

_IN_ATTRIB: Final = 0x4  # inotify(7)


class FolderObserver:
    """A running observer of a folder and all folders below it, with its threads."""

    def __init__(self, folder: str, dispatch: Callable[[FileSystemEvent], None]) -> None:
        """Start to observe; `dispatch` processes each event, in the thread that reads it, and must not raise.

        Raises OSError if the folder can't be watched.
        """
        from watchdog.observers.inotify import InotifyObserver
        from watchdog.utils import BaseThread

        self._folder = folder
        # First of all: older versions of watchdog leave a file open if the folder doesn't exist.
        self._identity = os.stat(folder)
        # Users needn't know that a folder was seen twice, or can't be read.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        before = set(threading.enumerate())
        self._observer = InotifyObserver()
        try:
            _schedule(self._observer, folder)
            for emitter in self._observer.emitters:
                emitter.queue_event = dispatch  # type: ignore[assignment,method-assign]
                _add_attributes(emitter)
            with starting():
                self._observer.start()
        except BaseException:
            self._observer.stop()
            raise
        self._threads = [each for each in threading.enumerate() if isinstance(each, BaseThread) and each not in before]
        self._warnings = _Warnings()
        logging.getLogger("watchdog").addHandler(self._warnings)

    def problem(self) -> str | None:
        """Return the reason why events may have been missed; None if there is none."""
        if not all(thread.is_alive() for thread in self._threads):
            return "a watching thread died"
        if not self._is_in_place():
            return "the folder is gone, or another one is in its place"
        if not self._warnings.threads.isdisjoint(thread.ident for thread in self._threads):
            return "watchdog warned of something"
        return None

    def stop(self) -> None:
        """Stop the threads; a thread that doesn't end in time is left behind, and ends when it wakes up."""
        if self.problem() is not None:
            # If its folder is gone, a thread is about to end by itself. If it is stopped at that moment, older versions
            # close a file descriptor twice, which may belong to another file by then.
            for emitter in list(self._observer.emitters):
                emitter.join(SELF_END_TIMEOUT)
        stopping = threading.Thread(target=self._stop, name="stop observer", daemon=True)
        try:
            stopping.start()
        except RuntimeError:  # the system has no room for another thread
            self._stop()
        else:
            stopping.join(STOP_TIMEOUT)
        logging.getLogger("watchdog").removeHandler(self._warnings)

    def _stop(self) -> None:
        self._observer.stop()
        self._observer.join()

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._folder), self._identity)
        except OSError:
            return False


class _Warnings(logging.Handler):
    """Remember which threads logged a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.threads: set[int | None] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.threads.add(record.thread)


def _schedule(observer: BaseObserver, folder: str) -> None:
    from watchdog import events

    handler = events.FileSystemEventHandler()  # gets no event: they go past the observer's queue
    wanted = [events.DirCreatedEvent, events.DirMovedEvent]
    wanted += [events.FileClosedEvent, events.FileCreatedEvent, events.FileMovedEvent]
    try:
        observer.schedule(handler, folder, recursive=True, event_filter=wanted)
    except TypeError:  # Debian 12's version has no filter, and reports every event
        observer.schedule(handler, folder, recursive=True)


def _add_attributes(emitter: EventEmitter) -> None:
    """Add changes of attributes to the events, without the writes that the library's own filter would add."""
    mask = getattr(emitter, "get_event_mask_from_filter", None)
    if mask is not None:
        emitter.get_event_mask_from_filter = lambda: type(mask())(mask() | _IN_ATTRIB)  # type: ignore[attr-defined]


def new_path(event: FileSystemEvent) -> str:
    """Return the present path of an event's file or folder."""
    # In older versions only moves have a destination.
    return os.fsdecode(getattr(event, "dest_path", "") or event.src_path)


def queue_limit() -> int:
    """Return the number of events that the kernel queues for a reader before it drops them."""
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
        return int(file.read())


def watched_inodes() -> list[int]:
    """Return the inode of each folder that this process watches, from the kernel (proc(5), fdinfo)."""
    inodes = []
    for descriptor in os.listdir("/proc/self/fdinfo"):
        with contextlib.suppress(OSError), open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
            for fields in map(str.split, file):
                if fields[:1] == ["inotify"]:
                    inodes += [int(field.removeprefix("ino:"), 16) for field in fields if field.startswith("ino:")]
    return inodes
