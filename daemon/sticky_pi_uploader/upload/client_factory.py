"""Open the client of the configured destination: an embedded store or a server."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..config import url_not_set
from ..exceptions import ConfigError
from ..state_dir.disk import trial
from ..state_dir.mounts import is_on_root_disk, missing_mount, nearest
from ..state_dir.trusted_path import find_foreign_content

if TYPE_CHECKING:
    from sticky_pi_api.client import LocalClient, RemoteClient
    from sticky_pi_api.transport.credentials import Secret

    from ..config import Config

    Client = LocalClient | RemoteClient

_STORE_CONTENT: Final = ("database.db", "passwords.db", "raw_images")
"""The names in a store's folder that are read and written by path"""


def client_opener(config: Config) -> Callable[[], Client]:
    """Return a function that opens the client; it raises StickyPiError if that fails for now.

    Raises ConfigError if the configuration is wrong: no destination, or a server without an account.
    """
    if not config.api.url:
        raise ConfigError([url_not_set(config)])
    if config.api.store is not None:
        return partial(_open_store, config.api.store)
    username, password = _account(config)

    def open_server() -> RemoteClient:
        from sticky_pi_api.client import RemoteClient

        return RemoteClient(config.state_dir, **_server(config), username=username, password=password)

    return open_server


def ask_server(config: Config) -> None:
    """Log in to the configured server and ask it for a picture that no trap took; nothing is stored on either side.

    Raises StickyPiError if that fails, and ConfigError if the account isn't configured.
    """
    from sticky_pi_api.remote.api import RemoteAPI

    username, password = _account(config)
    with RemoteAPI(**_server(config), username=username, password=password) as api:
        api.get_images([{"device": "00000000", "datetime": "2020-01-01_00-00-00"}])


def _account(config: Config) -> tuple[str, Secret]:
    username, password = config.api.username, config.api.password
    missing = [key for key, value in {"username": username, "password_file": password}.items() if value is None]
    if username is None or password is None:
        raise ConfigError([f"[api] {key}: not set, and {config.api.url} wants an account" for key in missing])
    return username, password


def _server(config: Config) -> dict[str, Any]:
    api = config.api
    assert api.server is not None  # noqa: S101 - it is no store
    protocol, host, port = api.server
    options = {"ca_file": api.ca_file, "max_rate": api.max_rate, "parallel": api.parallel}
    given = {name: value for name, value in options.items() if value is not None}
    return {"protocol": protocol, "host": host, "port": port, **given}


def check_store(folder: str) -> None:
    """Check that a store can be opened and a file can be written there; the store stays as it is. Raises StoreError."""
    from sticky_pi_api.local.errors import blaming_the_store
    from sticky_pi_api.local.images import look_at

    _require_usable(folder)
    with blaming_the_store(folder):
        trial(nearest(folder))
        look_at(folder)


def _open_store(folder: str) -> LocalClient:
    from sticky_pi_api.client import LocalClient
    from sticky_pi_api.filesystem.durable import make_folders
    from sticky_pi_api.local.errors import blaming_the_store

    _require_usable(folder)
    if os.geteuid() == 0 and not os.path.isdir(folder):
        with blaming_the_store(folder):
            make_folders(folder)
        # In a folder such as /tmp, another user may have made it first.
        _require_usable(folder)
    return LocalClient(folder)


def _require_usable(folder: str) -> None:
    """Raise StoreError if a store's disk is missing, or if root opens a store that another user can change."""
    from sticky_pi_api.exceptions import StoreError
    from sticky_pi_api.local.errors import blaming_the_store

    if (problem := disk_problem(folder)) is not None:
        raise StoreError(problem)
    if os.geteuid() != 0:
        return
    with blaming_the_store(folder):
        found = find_foreign_content(folder, _STORE_CONTENT)
    if found is not None:
        raise StoreError(f"the store in {folder} isn't opened by root: {found}")


def disk_problem(folder: str) -> str | None:
    """Return why the disk of a store seems not to be mounted; None where nothing tells that."""
    # Only the folder itself is made: while its disk isn't mounted, a whole path would fill another disk.
    above = os.path.dirname(folder)
    if (place := missing_mount(folder)) is not None:
        return f"the disk of the store isn't mounted: /etc/fstab has it at {place}"
    if not os.path.exists(above):
        return f"{above} isn't there: is the disk of the store mounted?"
    may_be_made = not os.path.isdir(above) or os.access(above, os.W_OK | os.X_OK)
    if not os.path.lexists(folder) and is_on_root_disk(above) and not may_be_made:
        return f"{folder} isn't there, nor may it be made in {above}: is the disk of the store mounted?"
    return None
