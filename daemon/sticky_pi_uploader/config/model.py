"""The configuration in force, as frozen values."""

# Without `from __future__ import annotations`: to parse each field's type from text takes a part of a cold start.
import os
from typing import Final, NamedTuple, Self

from sticky_pi_api.transport.credentials import Secret

from .values import Space, server_parts, store_folder

_SYSTEM_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
_LARGEST_CERTIFICATES: Final = 1 << 24  # bytes
_WITHOUT_WAITING: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class ApiConfig(NamedTuple):
    """The destination, and how pictures are sent there."""

    url: str
    """"" where it isn't set yet: only commands that need no destination can go on"""
    username: str | None
    password: Secret | None
    """from the environment, or from its file where `load` was told to read that"""
    password_file: str | None
    ca_file: str | None
    allow_http: bool
    parallel: int | None
    max_rate: int | None
    """bytes a second"""
    give_up_after: int
    """refusals of one picture after which it is rejected"""
    order: str
    """`newest`, `spread` or `auto`"""
    certificates: int | None = None
    """hash of the certificates' file, the system's where none is named; None where it wasn't or can't be read"""

    @property
    def store(self) -> str | None:
        """The folder of the embedded store; None where the destination is a server."""
        return store_folder(self.url)

    @property
    def server(self) -> tuple[str, str, int] | None:
        """Protocol, host and port of the server; None where the destination is an embedded store."""
        return server_parts(self.url)

    @property
    def files_to_read(self) -> list[str]:
        """The files of the password and the certificates."""
        return [*filter(None, [self.password_file]), self.ca_file or _SYSTEM_CERTIFICATES]

    def with_certificates(self) -> Self:
        """Return a copy with the hash of the certificates, by which a reload sees that their file changed."""
        if self.server is None:
            return self
        try:
            # Neither a FIFO nor an endless device may delay the start.
            with open(os.open(self.ca_file or _SYSTEM_CERTIFICATES, _WITHOUT_WAITING), "rb") as file:
                return self._replace(certificates=hash(file.read(_LARGEST_CERTIFICATES)))
        except OSError:
            return self._replace(certificates=None)  # reported when a connection is opened


class RetentionConfig(NamedTuple):
    """How long pictures and their records stay on the trap."""

    keep_days: int | None
    """days that a picture stays after its upload; None: no picture is ever removed"""
    min_free: Space
    also_remove: tuple[str, ...]
    """further pictures that may be removed: some of `suspect`, `conflict` and `rejected`"""
    keep_record_days: int


class HoldConfig(NamedTuple):
    """When nothing is sent."""

    hours: tuple[str, ...] = ()
    """hours of the day in UTC, as HH:MM-HH:MM; they may go over midnight"""
    battery_below: int | None = None
    """percent; None: whatever the battery has"""

    @property
    def is_on(self) -> bool:
        """Whether anything is ever held."""
        return self.hours != () or self.battery_below is not None


class Config(NamedTuple):
    """All settings."""

    image_dir: str
    state_dir: str
    scan_interval: int
    """seconds"""
    picture_interval: int | None
    """seconds between two pictures of the camera; None: learnt from them"""
    api: ApiConfig
    retention: RetentionConfig
    file: str | None
    """the configuration file that was read, if any"""
    flags: tuple[str, ...] = ()
    """the configuration flags of the command line, as they were typed"""
    hold: HoldConfig = HoldConfig()

    @property
    def sends_a_sample(self) -> bool:
        """Whether the pictures are sent in the order of an even sample.

        `auto` means that where `[hold]` keeps pictures back.
        """
        return self.api.order == "spread" or (self.api.order == "auto" and self.hold.is_on)

    @property
    def own_folders(self) -> list[str]:
        """The folders that the uploader itself writes to: no picture in there is taken in."""
        return [self.state_dir] + ([self.api.store] if self.api.store else [])
