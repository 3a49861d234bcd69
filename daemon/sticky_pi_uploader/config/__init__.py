"""Load the configuration from its file, the environment and the flags, and validate it as a whole.

`schema` is the table of all keys, `values` takes a single value, `model` is the result, `toml` prints it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from sticky_pi_api.filesystem.mounts import is_within
from sticky_pi_api.transport.credentials import Secret

from ..exceptions import ConfigError
from .model import ApiConfig, Config, HoldConfig, RetentionConfig
from .schema import CONFIG_FLAG, FLAGS, SCHEMA
from .secret import CREDENTIAL, is_credential, read_password_file
from .sources import ConfigFile, given_values, read_file, take, unknown_keys
from .values import is_plain_http_abroad, store_address

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = [
    "CONFIG_FLAG",
    "DEFAULT_FILE",
    "Config",
    "add_flags",
    "from_arguments",
    "load",
    "url_not_set",
    "with_password",
]

DEFAULT_FILE: Final = "/etc/sticky-pi-uploader/config.toml"


def load(
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    config_file: str | None = None,
    *,
    default_file: str = DEFAULT_FILE,
    check_secrets: bool = False,
    check_url: bool = True,
    problems: list[str] | None = None,
) -> Config:
    """Load the configuration from all its sources; the keys of `flags` are the schema's names.

    The default file may be missing, a named one may not. `check_secrets` reads the password too, for commands that will
    need it. Without `check_url` the destination's address may be empty, for commands that wait for it. Raises
    ConfigError with every problem at once; with a list of `problems`, they are added to it instead, and defaults stand
    in the place of wrong values.
    """
    found = [] if problems is None else problems
    file = _read_file(config_file, default_file, found)
    # The file's values must be valid even where they are overridden. Of the others, only those in force are checked.
    values, wrong = take(given_values(file, environ, flags), found)
    config = _build(values, environ, file.path if file else None)
    # A default that replaces a wrong value contradicts nothing.
    found += [problem for names, problem in _contradictions(config) if not wrong & names]
    if check_url and not config.api.url:
        found.append(url_not_set(config))
    if check_secrets and "api.password_file" not in wrong:
        try:
            config = with_password(config, environ)
        except ConfigError as error:
            found += error.problems
    if found and problems is None:
        raise ConfigError(found)
    return config._replace(flags=_typed(flags, config_file))


def with_password(config: Config, environ: Mapping[str, str]) -> Config:
    """Return the configuration with the password from its file, if there is one. Raises ConfigError."""
    file = config.api.password_file
    if not file:
        return config
    try:
        # systemd protects a credential, whatever its mode.
        password = read_password_file(file, others_may_read=is_credential(file, environ))
    except ValueError as error:
        raise ConfigError([f"[api] password_file: {error}"]) from error
    return config._replace(api=config.api._replace(password=password))


def _typed(flags: Mapping[str, str | None], config_file: str | None) -> tuple[str, ...]:
    given = ((flag, config_file if name == CONFIG_FLAG else flags.get(name)) for name, flag in FLAGS.items())
    return tuple(word for flag, value in given if value is not None for word in (flag, value))


def url_not_set(config: Config) -> str:
    """Return the message for an empty destination's address."""
    place = f"{config.file}: " if config.file else ""
    return (
        f"{place}[api] url: not set: expected where the pictures go, https://host, "
        "or file:///folder for a store on this machine"
    )


def _read_file(named: str | None, default: str, problems: list[str]) -> ConfigFile | None:
    try:
        file = read_file(default if named is None else os.path.abspath(named))
    except FileNotFoundError:
        if named is not None:
            problems.append(f"{named}: isn't there")
    except ConfigError as error:
        problems += error.problems
    else:
        problems += unknown_keys(file)
        return file
    return None


def _build(values: Mapping[str, Any], environ: Mapping[str, str], file: str | None) -> Config:
    image_dir: str = values["image_dir"]
    state_dir: str = values["state_dir"] or os.path.join(image_dir, ".sticky-pi-uploader")
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    password = values["api.password_file"]
    if password is None and credentials and os.path.lexists(os.path.join(credentials, CREDENTIAL)):
        password = os.path.join(credentials, CREDENTIAL)
    is_secret = isinstance(password, Secret)
    api = _section("api", values) | {
        "url": store_address(os.path.join(state_dir, "store")) if values["api.url"] is None else values["api.url"],
        "password": password if is_secret else None,
        "password_file": None if is_secret else password,
    }
    retention = _section("retention", values) | {"also_remove": values["retention.also_remove"] or ()}
    hold = _section("hold", values) | {"hours": values["hold.hours"] or ()}
    return Config(
        image_dir=image_dir,
        state_dir=state_dir,
        scan_interval=values["scan_interval"],
        picture_interval=values["picture_interval"],
        api=ApiConfig(**api),
        retention=RetentionConfig(**retention),
        hold=HoldConfig(**hold),
        file=file,
    )


def _section(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of one section, by their names in it."""
    names = [name.rpartition(".") for name in values]
    return {name: values[f"{section}.{name}"] for prefix, _, name in names if prefix == section}


def _contradictions(config: Config) -> Iterator[tuple[set[str], str]]:
    """Yield each contradiction between keys: their names, and a message."""
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
    """Add `--config` and the schema's flags to a parser; flags that aren't given aren't in its result."""
    from argparse import SUPPRESS

    group = parser.add_argument_group("configuration")
    group.add_argument(
        "--config",
        dest=CONFIG_FLAG,
        metavar="FILE",
        default=SUPPRESS,
        help=f"the configuration file, in place of {DEFAULT_FILE}",
    )
    for key in SCHEMA:
        if key.flag:
            text = key.help.replace("%", "%%")
            group.add_argument(key.flag, dest=key.name, metavar=key.metavar, default=SUPPRESS, help=text)


def from_arguments(
    arguments: Namespace, environ: Mapping[str, str], *, check_secrets: bool = False, check_url: bool = True
) -> Config:
    """Load the configuration with the parsed flags of `add_flags`; `load` says the rest."""
    flags = vars(arguments)
    return load(flags, environ, flags.get(CONFIG_FLAG), check_secrets=check_secrets, check_url=check_url)
