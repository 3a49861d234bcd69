"""The table of all configuration keys, from which flags, environment variables, validation and output follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sticky_pi_api.transport.credentials import Secret

from . import values


class Key(NamedTuple):
    """One configuration key."""

    name: str
    """as in the file; `section.key` inside a section"""
    take: Callable[[object], Any]
    """converts a given value, or raises ValueError that says what was expected"""
    help: str
    default: Any = None
    """as it would be given; None where there is no default"""
    default_means: str = ""
    """words for the value in force where `default` is None"""
    flag: str | None = None
    metavar: str | None = None
    environment: Mapping[str, Callable[[str], Any]] = MappingProxyType({})
    """variable → conversion of its text to a value for `take`; the first variable that is set counts"""

    @property
    def is_path(self) -> bool:
        """Whether a flag's value may be relative to the current folder."""
        return self.take in (values.absolute_path, values.password_source)

    def __str__(self) -> str:
        return title(self.name)


def title(name: str) -> str:
    """Return a key's name as in messages: `[section] key`."""
    section, dot, key = name.rpartition(".")
    return f"[{section}] {key}" if dot else key


SCHEMA: Final = (
    Key(
        name="image_dir",
        take=values.absolute_path,
        help="the folder in which the camera program writes the pictures",
        default="/sticky_pi_data",
        flag="--image-dir",
        metavar="FOLDER",
        environment={"SPI_IMAGE_DIR": str},
    ),
    Key(
        name="state_dir",
        take=values.absolute_path,
        help="the folder for the daemon's records; it must survive a reboot",
        default_means="<image_dir>/.sticky-pi-uploader",
        flag="--state-dir",
        metavar="FOLDER",
        environment={"SPI_STATE_DIR": str},
    ),
    Key(
        name="scan_interval",
        take=values.whole_number(1, 86400),
        help="seconds between two scans of the whole image folder",
        default=600,
    ),
    Key(
        name="picture_interval",
        take=values.whole_number(1, 86400 * 366),
        help="seconds between two pictures of the camera, for `audit` to find gaps",
        default_means="learnt",
    ),
    Key(
        name="api.url",
        take=values.address,
        help="where the pictures go: https://host, https://host:port, or file:///folder for a store on this machine",
        default_means="file://<state_dir>/store",
        flag="--api-url",
        metavar="URL",
        environment={"SPI_API_URL": str, "SPI_API_HOSTNAME": "https://{}".format},
    ),
    Key(
        name="api.username",
        take=values.user_name,
        help="the account on the server",
        default_means="none",
        flag="--username",
        metavar="NAME",
        environment={"SPI_API_USERNAME": str},
    ),
    Key(
        name="api.password_file",
        take=values.password_source,
        help="the file with the account's password, readable by its owner only",
        default_means="systemd credential api-password",
        flag="--password-file",
        metavar="FILE",
        environment={"SPI_API_PASSWORD": Secret},
    ),
    Key(
        name="api.ca_file",
        take=values.absolute_path,
        help="a file with the certificate authorities to trust for the server",
        default_means="system's",
    ),
    Key(
        name="api.allow_http",
        take=values.truth,
        help="send the password and the pictures unencrypted to an http:// address on another machine",
        default=False,
    ),
    Key(
        name="api.parallel",
        take=values.whole_number(1, 32),
        help="number of pictures that are sent at the same time",
        default_means="measured",
    ),
    Key(
        name="api.max_rate",
        take=values.transfer_rate,
        help="largest number of bytes a second, for all uploads together",
        default_means="none",
    ),
    Key(
        name="api.give_up_after",
        take=values.whole_number(1, 1000),
        help="number of refusals after which a picture is rejected, if the destination accepts others",
        default=5,
    ),
    Key(
        name="api.order",
        take=values.one_of("auto", "newest", "spread"),
        help="which pictures go first: the newest, an even spread over all days and hours, or auto",
        default="auto",
    ),
    Key(
        name="retention.keep_days",
        take=values.whole_number(0, 36500),
        help="days for which a picture stays on the trap after its upload",
        default_means="off",
    ),
    Key(
        name="retention.min_free",
        take=values.disk_space,
        help="free space below which the oldest uploaded pictures are removed sooner: a share of the disk, or bytes",
        default="15 %",
    ),
    Key(
        name="retention.also_remove",
        take=values.some_of("suspect", "conflict", "rejected"),
        help="further pictures that may be removed: some of suspect, conflict and rejected",
        default_means="none",
    ),
    Key(
        name="retention.keep_record_days",
        take=values.whole_number(1, 36500),
        help="days for which the record of a picture is kept after the picture is gone from the trap",
        default=400,
    ),
    Key(
        name="hold.hours",
        take=values.day_hours,
        help='hours of the day, in UTC, in which nothing is sent: a list such as ["10:00-16:00"]',
        default_means="none",
    ),
    Key(
        name="hold.battery_below",
        take=values.whole_number(1, 100),
        help="percent of the battery below which nothing is sent, until it has ten points more",
        default_means="none",
    ),
)

SECTIONS: Final = frozenset(key.name.rpartition(".")[0] for key in SCHEMA) - {""}

CONFIG_FLAG: Final = "config_file"

FLAGS: Final = {CONFIG_FLAG: "--config"} | {key.name: key.flag for key in SCHEMA if key.flag}
"""Name of each configuration flag in the parsed arguments → the flag"""
