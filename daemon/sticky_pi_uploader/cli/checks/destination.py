"""Check the destination: the account, the proxy, its answer, how sending went, and the hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from shlex import quote
from typing import Final

from sticky_pi_api.filesystem.mounts import is_within
from sticky_pi_api.filesystem.safe_open import file_system_id

from ...config import Config
from ...exceptions import ConfigError, StateError
from ...models import SAYINGS, Destination, DestinationState
from ...ownership.service_unit import restart
from ...ownership.viewpoint import Viewpoint
from ...state_dir.disk import database_problem
from ...state_dir.mounts import nearest
from ..output.terminal import suggest
from ..state_reader import hold_in_force, hold_problems, open_state
from .finding import Finding, ok, problem, warning
from .folders import with_file_system
from .places import left_out, not_writable

_CREDENTIAL: Final = "/etc/credstore/sticky-pi-uploader.api-password"


def credentials(config: Config, view: Viewpoint) -> Iterator[Finding]:
    """Check that the server gets an account."""
    if config.api.server is None:
        return
    missing, password = [] if config.api.username else ["username"], config.api.password
    if password is None:
        if config.api.password_file is not None:
            return  # a finding about the configuration already
        missing.append("password_file")
    if missing:
        names = " and ".join(missing)
        advice = f"set {names}: the server wants an account"
        if view.service is not None and password is None:
            advice += f"; README says how to give the password: {_CREDENTIAL}, then: {restart(view.service.name)}"
        yield problem("credentials", f"[api] {names} not set", advice)
    elif password is not None and (remark := _remark(password.reveal())) is not None:
        what = f"{config.api.username}, with a password that {remark}"
        yield warning("credentials", what, "if the server doesn't accept it, write the password without that")
    else:
        yield ok("credentials", f"{config.api.username}, with a password")


def proxy(config: Config, _: Viewpoint) -> Iterator[Finding]:
    """Report the proxy, and check that it can be used."""
    if config.api.server is None:
        return
    from sticky_pi_api.transport.proxies import exception_for, proxy_for

    about, url = "proxy", config.api.url
    found = proxy_for(url)
    if found is not None and found.problem is not None:
        yield problem(about, found.problem, "set it as in the drop-in proxy.conf; the service's environment is its own")
    elif found is not None:
        yield ok(about, str(found))
    elif (entry := exception_for(url)) is not None:
        yield ok(about, f"none for {url}, as NO_PROXY has {entry}")


def answer(config: Config, view: Viewpoint) -> Iterator[Finding]:
    """Check that the destination can be used."""
    if config.api.store is not None:
        return _store(config, config.api.store, view)
    # Without an address, the finding about the configuration says it.
    return iter(()) if config.api.server is None else _server(config)


def last_sending(config: Config, _: Viewpoint) -> Iterator[Finding]:
    """Check how the destination answered when pictures were last sent: a query may work where an upload fails."""
    try:
        with open_state(config.state_dir, lambda _: None) as state:
            last = state.ask(lambda outbox: outbox.destination(config.api.url), Destination(""))
    except StateError:
        return
    if last.state in (DestinationState.OK, DestinationState.UNKNOWN):
        return
    find = warning if last.state is DestinationState.UNREACHABLE else problem
    at_once = f"`{suggest(config, 'retry --all')}` has it tried at once"
    advice = f"do what it says: pictures are kept, and sent once it takes them; {at_once}"
    yield find("sending", f"when pictures were last sent, the destination {SAYINGS[last.state]}: {last.reason}", advice)


def hold(config: Config, _: Viewpoint) -> Iterator[Finding]:
    """Report the hold in force, and check that it doesn't last too long."""
    if not config.hold.is_on:
        return
    try:
        with open_state(config.state_dir, lambda _: None) as state:
            found = hold_in_force(state, config)
    except StateError:
        return
    wrong = hold_problems(config, found)
    yield from (problem("hold", what, advice) for what, advice in wrong)
    if not wrong:
        yield ok("hold", str(found or "nothing is held just now"))


def _server(config: Config) -> Iterator[Finding]:
    from sticky_pi_api.exceptions import StickyPiError

    from ...upload.client_factory import ask_server

    about = "destination"
    try:
        ask_server(config)
    except ConfigError:
        return  # the finding about credentials says it
    except StickyPiError as error:
        yield problem(about, str(error), "do what it says; pictures are kept, and sent once it works")
    else:
        yield ok(about, f"{config.api.url} answers, and accepts the account")


def _store(config: Config, store: str, view: Viewpoint) -> Iterator[Finding]:
    about = "destination"
    is_made_with_state = is_within(store, config.state_dir) and not os.path.lexists(config.state_dir)
    if not is_made_with_state and (wrong := _store_problem(about, store, view)) is not None:
        yield wrong
    elif shares_disk(config):
        what = f"{store} is on the pictures' own disk: a second copy on the same card"
        advice = "fine for trying things; a trap needs another disk. No picture is ever removed for such a copy"
        yield warning(about, what, advice)
    else:
        yield ok(about, with_file_system(store))


def _store_problem(about: str, store: str, view: Viewpoint) -> Finding | None:
    from sticky_pi_api.exceptions import StoreError

    from ...upload.client_factory import check_store, disk_problem

    if (wrong := left_out(about, store, view)) is not None:
        return wrong
    if (why := disk_problem(store)) is not None:
        user = view.unit.user if view.unit else "USER"
        return problem(
            about, why, f"mount it; for one on the system's own disk: sudo install -d -o {user} {quote(store)}"
        )
    if (wrong := not_writable(about, store, view)) is not None:
        return wrong
    try:
        check_store(store)
    except StoreError as error:
        return problem(about, str(error), "do what it says; pictures are kept, and sent once it works")
    if (why := database_problem(nearest(store), "database.db")) is not None:
        return problem(about, why, "name a folder on another disk in [api] url")
    return None


def _remark(password: str) -> str | None:
    """Return how a password differs from the text that its owner sees; None where it doesn't."""
    if password != password.strip():
        return "begins or ends with white space"
    return None if password.isprintable() else "has characters that can't be seen"


def shares_disk(config: Config) -> bool:
    """Return whether the store, or a folder of pictures in it, lies on the pictures' own disk."""
    from sticky_pi_api.filesystem.store_folder import file_systems

    if config.api.store is None:
        return False
    try:
        return file_system_id(config.image_dir) in file_systems(nearest(config.api.store))
    except OSError:
        return False
