"""The one that knows watchdog: a running observer of a folder, and what the kernel says of its watches."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final, Protocol

from sticky_pi_api.transport.deadline import starting

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver, EventEmitter

GOING: Final = 1.0
"""Seconds in which a watching thread ends by itself after its folder is gone."""

ENDING: Final = 2.0
"""Seconds that its threads get to end: those of Debian 12's version sleep on for as long as the clock was set back."""


_IN_ATTRIB: Final = 0x4  # inotify(7)


class Handler(Protocol):
    """What the events are given to, in the thread that reads them: it must not fail."""

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take one event."""


class Watch:
    """A running observer of all that lies below a folder, and all its threads."""

    def __init__(self, folder: str, handler: Handler) -> None:
        """Start it. Raises OSError where the folder can't be watched."""
        from watchdog.observers.inotify import InotifyObserver
        from watchdog.utils import BaseThread

        self._folder = folder
        # Before all else: older versions leave a file open where the folder isn't there.
        self._identity = os.stat(folder)
        # A folder that is seen twice, or can't be read, is none of the trap's owner's business.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        before = set(threading.enumerate())
        self._observer = InotifyObserver()
        try:
            self._observer.schedule(handler, folder, recursive=True, **_event_filter(self._observer))  # type: ignore[arg-type]
            for emitter in self._observer.emitters:
                # Straight on: the observer's queue, and its thread behind it, would be half the work of an event.
                emitter.queue_event = handler.dispatch  # type: ignore[method-assign]
                _ask_for_attributes(emitter)
            with starting():
                self._observer.start()
        except BaseException:
            self._observer.stop()
            raise
        # The observer answers only for itself, but it hears nothing once another of them is dead.
        self._threads = [each for each in threading.enumerate() if isinstance(each, BaseThread) and each not in before]
        self._complaints = _Complaints()
        logging.getLogger("watchdog").addHandler(self._complaints)

    def doubt(self) -> str | None:
        """Say why it may have missed events."""
        if not all(thread.is_alive() for thread in self._threads):
            return "a watching thread died"
        if not self._is_in_place():
            return "the folder is gone, or another one is in its place"
        if not self._complaints.threads.isdisjoint(thread.ident for thread in self._threads):
            # Newer versions tell when the kernel's queue overflowed, and then drop what they had queued themselves.
            return "watchdog warned of something"
        return None

    def end(self) -> None:
        """End its threads; one that doesn't end in time is left behind, and ends whenever it wakes up."""
        if self.doubt() is not None:
            # Some are about to end by themselves, as their folder is gone. Stopped meanwhile, older versions would
            # close a file twice: by then perhaps another one with the same number.
            for emitter in list(self._observer.emitters):
                emitter.join(GOING)
        # It waits for all of them itself.
        ending = threading.Thread(target=self._stop, name="end of a watch", daemon=True)
        try:
            ending.start()
        except RuntimeError:  # the system has no room for a further thread
            self._stop()
        else:
            ending.join(ENDING)
        logging.getLogger("watchdog").removeHandler(self._complaints)

    def _stop(self) -> None:
        self._observer.stop()
        self._observer.join()

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._folder), self._identity)
        except OSError:
            return False


class _Complaints(logging.Handler):
    """Remembers which threads logged a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.threads: set[int | None] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.threads.add(record.thread)


def _event_filter(observer: BaseObserver) -> dict[str, Any]:
    """Ask for nothing but what is of use; Debian 12's version can't be asked, and reports everything."""
    from inspect import signature

    from watchdog.events import DirCreatedEvent, DirMovedEvent, FileClosedEvent, FileCreatedEvent, FileMovedEvent

    if "event_filter" not in signature(observer.schedule).parameters:
        return {}
    return {"event_filter": [DirCreatedEvent, DirMovedEvent, FileClosedEvent, FileCreatedEvent, FileMovedEvent]}


def _ask_for_attributes(emitter: EventEmitter) -> None:
    """Ask for changes of attributes too, without those of contents that the library's own filter would ask for."""
    mask = getattr(emitter, "get_event_mask_from_filter", None)
    if mask is not None:
        emitter.get_event_mask_from_filter = lambda: type(mask())(mask() | _IN_ATTRIB)  # type: ignore[attr-defined]


def new_path(event: FileSystemEvent) -> str:
    """Return where the file or folder of an event is now."""
    # Older versions give a destination to nothing but moves.
    return os.fsdecode(getattr(event, "dest_path", "") or event.src_path)


def queue_limit() -> int:
    """Return the number of events that the kernel keeps for a reader before it drops them."""
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
        return int(file.read())


def watched_inodes() -> list[int]:
    """Return the inode of every folder that this process watches, as the kernel has it (proc(5), fdinfo)."""
    inodes = []
    for descriptor in os.listdir("/proc/self/fdinfo"):
        with contextlib.suppress(OSError), open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
            for fields in map(str.split, file):
                if fields[:1] == ["inotify"]:
                    inodes += [int(field.removeprefix("ino:"), 16) for field in fields if field.startswith("ino:")]
    return inodes
