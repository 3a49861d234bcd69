"""The configuration in force: read from all its sources, checked as a whole before anything starts, and shown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sticky_pi_api.filesystem.mounts import is_within
from sticky_pi_api.transport.account import MASK, Secret

from ..exceptions import ConfigError
from .schema import SCHEMA
from .secret import CREDENTIAL, read_password_file
from .sources import from_environment, from_file, from_flags, take
from .values import Space, is_plain_http_abroad, server_parts, store_address, store_folder

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from .file import ConfigFile

DEFAULT_FILE: Final = "/etc/sticky-pi-uploader/config.toml"

CONFIG_FLAG: Final = "config_file"


_SYSTEM_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
_LARGEST_CERTIFICATES: Final = 1 << 24  # bytes
_WITHOUT_WAITING: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class FilesRead(NamedTuple):
    """What the files held that the configuration names, when it was read: they may change while it stays."""

    password: Secret | None
    certificates: int | None = None
    """a hash of their file, which is the system's where none is named; None where that wasn't read, or can't be"""


class ApiConfig(NamedTuple):
    """The destination, and how pictures are sent there."""

    url: str
    """"" where it is still to be set: only what needs no destination can go on"""
    username: str | None
    password: Secret | None
    """as the environment gave it; `read_password` knows the other places"""
    password_file: str | None
    password_from_systemd: bool
    """whether the password file is a credential, which systemd guards"""
    ca_file: str | None
    allow_http: bool
    parallel: int | None
    max_rate: int | None
    """bytes a second"""
    give_up_after: int
    """refusals of one picture"""
    files: FilesRead | None = None
    """None where they weren't read"""

    @property
    def store(self) -> str | None:
        """The folder of the embedded store; None where the destination is a server."""
        return store_folder(self.url)

    @property
    def server(self) -> tuple[str, str, int] | None:
        """Protocol, host and port of the server; None where the destination is an embedded store."""
        return server_parts(self.url)

    def read_password(self) -> Secret | None:
        """Return the password, None where there is none. Raises ConfigError where its file can't be used."""
        if self.files is not None:
            return self.files.password
        if self.password_file is None:
            return self.password
        try:
            return read_password_file(self.password_file, others_may_read=self.password_from_systemd)
        except ValueError as error:
            raise ConfigError([f"[api] password_file: {error}"]) from error

    def with_password(self) -> ApiConfig:
        """Read the password's file. Raises ConfigError where that can't be used."""
        return self._replace(files=FilesRead(self.read_password()))

    def with_certificates(self) -> ApiConfig:
        """Read the certificates' file as well, which tells whether they changed. Raises as `with_password`."""
        certificates = None
        if self.server is not None:
            try:
                # Neither a FIFO nor an endless device must hold up the start.
                with open(os.open(self.ca_file or _SYSTEM_CERTIFICATES, _WITHOUT_WAITING), "rb") as file:
                    certificates = hash(file.read(_LARGEST_CERTIFICATES))
            except OSError:
                pass  # whoever opens the connection says so
        return self._replace(files=FilesRead(self.read_password(), certificates))


class RetentionConfig(NamedTuple):
    """How long pictures and their records stay on the trap."""

    keep_days: int | None
    """days after its upload for which a picture stays; None: nothing is ever removed"""
    min_free: Space
    also_remove: tuple[str, ...]
    """of `suspect`, `conflict` and `rejected`, those that may go as well"""
    keep_record_days: int


class Config(NamedTuple):
    """The configuration in force."""

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


def load(
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    config_file: str | None = None,
    *,
    default_file: str = DEFAULT_FILE,
    check_secrets: bool = False,
    check_url: bool = True,
) -> Config:
    """Read the configuration from all its sources; `flags` has the schema's names as keys.

    The default file may be absent, one that is named may not. With `check_secrets` the password is read too, for
    commands that will need it; without `check_url` the destination's address may be empty, for those that wait for it.
    Raises ConfigError with every problem at once.
    """
    config, problems = understand(
        flags, environ, config_file, default_file=default_file, check_secrets=check_secrets, check_url=check_url
    )
    if problems:
        raise ConfigError(problems)
    return config


def understand(
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    config_file: str | None = None,
    *,
    default_file: str = DEFAULT_FILE,
    check_secrets: bool = False,
    check_url: bool = True,
) -> tuple[Config, list[str]]:
    """Read the configuration as `load` does, defaults in the place of what is wrong; returns the problems beside it."""
    problems: list[str] = []
    file = _read_file(config_file, default_file, problems)
    # What a file says must be right even where it is overridden; of the others, only what counts.
    overrides = {given.key.name: given for given in (*from_environment(environ), *from_flags(flags))}
    values, wrong = take((*from_file(file), *overrides.values()), problems)
    config = _build(values, environ, file.path if file else None)
    # What stands in for a wrong value says nothing about the right ones.
    problems += [problem for names, problem in _contradictions(config) if not wrong & names]
    if check_url and not config.api.url:
        problems.append(url_not_set(config))
    if check_secrets and "api.password_file" not in wrong:
        try:
            config = config._replace(api=config.api.with_password())
        except ConfigError as error:
            problems += error.problems
    return config, problems


def url_not_set(config: Config) -> str:
    """Say that the destination's address is empty, and what is to be done about it."""
    place = f"{config.file}: " if config.file else ""
    return (
        f"{place}[api] url: not set: expected where the pictures go, https://host, "
        "or file:///folder for a store on this machine"
    )


def _read_file(named: str | None, default: str, problems: list[str]) -> ConfigFile | None:
    from . import file as config_file

    try:
        file = config_file.read(default if named is None else os.path.abspath(named))
    except FileNotFoundError:
        if named is not None:
            problems.append(f"{named}: isn't there")
    except ConfigError as error:
        problems += error.problems
    else:
        problems += config_file.unknown_keys(file)
        return file
    return None


def _build(values: Mapping[str, Any], environ: Mapping[str, str], file: str | None) -> Config:
    image_dir: str = values["image_dir"]
    state_dir: str = values["state_dir"] or os.path.join(image_dir, ".sticky-pi-uploader")
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    password = values["api.password_file"]
    if password is None and credentials and os.path.lexists(os.path.join(credentials, CREDENTIAL)):
        password = os.path.join(credentials, CREDENTIAL)
    password_file: str | None = None if isinstance(password, Secret) else password
    api = ApiConfig(
        url=store_address(os.path.join(state_dir, "store")) if values["api.url"] is None else values["api.url"],
        username=values["api.username"],
        password=password if isinstance(password, Secret) else None,
        password_file=password_file,
        password_from_systemd=credentials is not None and os.path.dirname(password_file or "") == credentials,
        ca_file=values["api.ca_file"],
        allow_http=values["api.allow_http"],
        parallel=values["api.parallel"],
        max_rate=values["api.max_rate"],
        give_up_after=values["api.give_up_after"],
    )
    retention = RetentionConfig(
        keep_days=values["retention.keep_days"],
        min_free=values["retention.min_free"],
        also_remove=values["retention.also_remove"] or (),
        keep_record_days=values["retention.keep_record_days"],
    )
    return Config(image_dir, state_dir, values["scan_interval"], values["picture_interval"], api, retention, file)


def _contradictions(config: Config) -> Iterator[tuple[set[str], str]]:
    """Yield what is wrong between keys: their names, and the problem."""
    image_dir, state_dir, store = config.image_dir, config.state_dir, config.api.store
    if _holds(state_dir, image_dir):
        yield (
            {"image_dir", "state_dir"},
            f"state_dir: {state_dir} is or holds the image folder {image_dir}: expected a folder of its own",
        )
    for name, folder in (("image_dir", image_dir), ("state_dir", state_dir)):
        if store and _holds(store, folder):
            yield (
                {"image_dir", "state_dir", "api.url"},
                f"[api] url: the store {store} is or holds {name} {folder}: expected a folder of its own",
            )
    if is_plain_http_abroad(config.api.url) and not config.api.allow_http:
        yield (
            {"api.url", "api.allow_http"},
            f"[api] url: {config.api.url} would send everything unencrypted: expected https, or allow_http = true",
        )


def _holds(outer: str, inner: str) -> bool:
    return is_within(os.path.realpath(inner), os.path.realpath(outer))


def add_flags(parser: ArgumentParser) -> None:
    """Add `--config` and the schema's flags to a parser or sub-parser; what isn't given isn't in its result."""
    from argparse import SUPPRESS

    group = parser.add_argument_group("configuration")
    group.add_argument(
        "--config", dest=CONFIG_FLAG, metavar="FILE", default=SUPPRESS, help=f"instead of {DEFAULT_FILE}"
    )
    for key in SCHEMA:
        if key.flag:
            text = key.help.replace("%", "%%")
            group.add_argument(key.flag, dest=key.name, metavar=key.metavar, default=SUPPRESS, help=text)


def from_arguments(
    arguments: Namespace, environ: Mapping[str, str], *, check_secrets: bool = False, check_url: bool = True
) -> Config:
    """Read the configuration as the flags of `add_flags` say; the rest is `load`'s."""
    flags = vars(arguments)
    return load(flags, environ, flags.get(CONFIG_FLAG), check_secrets=check_secrets, check_url=check_url)


def as_toml(config: Config) -> str:
    """Write the configuration as a file that gives the same one, secrets masked; what isn't set is a comment."""
    lines = [f"# configuration file: {_quoted(config.file) if config.file else 'none'}"]
    section = ""
    for key in SCHEMA:
        owner, _, name = key.name.rpartition(".")
        if owner != section:
            lines += ["", f"[{owner}]"]
            section = owner
        lines.append(_line(name, getattr(getattr(config, owner) if owner else config, name), key.default_means))
        if key.name == "api.password_file" and config.api.password:
            lines.append(f'# password = "{MASK}" (from the environment)')
    return "\n".join(lines) + "\n"


def _line(name: str, value: object, unset: str) -> str:
    if value in (None, ()):
        return f"# {name}: {unset}"
    if isinstance(value, bool | int):
        return f"{name} = {value}".lower()
    if isinstance(value, Space) and value.bytes is not None:
        return f"{name} = {value}"
    if isinstance(value, tuple) and not isinstance(value, Space):
        return f"{name} = [{', '.join(map(_quoted, value))}]"
    text = str(value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        return f"# {name}: {text!a}, which a file can't say: it isn't UTF-8"
    return f"{name} = {_quoted(text)}"


def _quoted(text: str) -> str:
    import json

    # JSON's strings are TOML's, but for this character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
