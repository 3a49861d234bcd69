"""Notify systemd of the service's status by sd_notify(3), and record its troubles; without systemd, do neither."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from sticky_pi_api.exceptions import printable
from sticky_pi_api.filesystem.safe_open import open_file

from .trouble import TroubleFile, runtime_directory

_PATIENCE: Final = 1.0  # seconds

_STOP_MARK: Final = "stopped"
"""Name of a file in the runtime directory; a reboot removes it"""

_PINGS: Final = 3
"""Signs of life in each watchdog period: systemd recommends two, and a busy card delays some"""


class ServiceManager:
    """The service manager; it is told each change once."""

    def __init__(
        self, environ: Mapping[str, str] = os.environ, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Read from `environ` whether a manager listens, and how often it expects a sign of life."""
        self.listens = bool(environ.get("NOTIFY_SOCKET"))
        self._is_ready = False
        self._status = ""
        self.record = TroubleFile(environ).record
        folder = runtime_directory(environ)
        self._stop_mark = None if folder is None else os.path.join(folder, _STOP_MARK)
        self._reloading = False
        self._stopping = False
        self._period = _watchdog_time(environ) / _PINGS if self.listens else math.inf
        self._monotonic = monotonic
        self._ping_at = -math.inf

    def say(self, status: str) -> None:
        """Tell the status, in one line, unless it is the same as before."""
        if status != self._status:
            self._status = status
            notify(f"STATUS={printable(status)}")

    def note_stop(self) -> None:
        """Note for the next start that somebody stopped or reloaded the service."""
        if self._stop_mark is not None:
            with suppress(OSError):
                os.close(open_file(self._stop_mark, os.O_WRONLY | os.O_CREAT))

    def take_stop(self) -> bool:
        """Return whether `note_stop` was called since the boot and since the last call of this method."""
        try:
            os.unlink(self._stop_mark or "")
        except OSError:
            return False
        return True

    def ready(self) -> None:
        """Tell that the service is ready, or ready again after a reload."""
        if self._reloading or not self._is_ready:
            self._is_ready, self._reloading = True, False
            notify("READY=1")

    def reloading(self) -> None:
        """Tell that the configuration is being read again, unless the service isn't ready yet."""
        if self._is_ready:
            self._reloading = True
            # systemd recognises a reload by this time, so it must be the kernel's.
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Tell that the service is stopping."""
        if not self._stopping:
            self._stopping = True
            notify("STOPPING=1")

    def ping(self) -> None:
        """Give a sign of life if one is due."""
        if self.next_ping <= 0:
            self._ping_at = self._monotonic() + self._period
            notify("WATCHDOG=1")

    @property
    def next_ping(self) -> float:
        """Seconds until a sign of life is due; 0 or less: it is due now; infinite if none is expected."""
        return self._ping_at - self._monotonic() if self._period < math.inf else math.inf


def _watchdog_time(environ: Mapping[str, str]) -> float:
    """Return the watchdog period in seconds, by the rules of sd_watchdog_enabled(3)."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return math.inf
    microseconds = environ.get("WATCHDOG_USEC", "")
    return float(microseconds) / 1e6 or math.inf if microseconds.isdecimal() else math.inf


def notify(message: str) -> None:
    """Send `message`, such as "READY=1", to the service manager; raise no error, as the service works without one."""
    # Checked before the import, which costs time.
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        from systemd import daemon
    except ImportError:
        _send(address, message)
        return
    with suppress(OSError, ValueError):
        daemon.notify(message)


def _send(address: str, message: str) -> None:
    import socket

    # A leading @ stands for the zero byte of an abstract socket.
    where = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        # A listener whose queue is full must not block the service.
        connection.settimeout(_PATIENCE)
        connection.sendto(message.encode(), where)
