"""Looks at everything that a trap needs, from the configuration to the destination.

It changes nothing: what it writes, to try the state folder and the store out, is gone at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from sticky_pi_api.filesystem.mounts import file_system_type, is_within
from sticky_pi_api.filesystem.safe_open import file_system_id

from ...clock import PLATFORM_START, is_synchronised
from ...config import Config, understand
from ...exceptions import ConfigError, OutboxDamagedError, StateError
from ...models import Destination, DestinationState
from ...outbox import OutboxReader, outbox_path
from ...ownership.run_as_owner import work_as_owner
from ...service.summary import SAYINGS
from ...state_dir.disk import READ_ONLY, database_problem, room, trial_problem
from ...state_dir.mounts import has_failed, image_dir_problem, is_read_only, nearest
from ...state_dir.privileges import denied
from ...state_dir.reserved_space import NO_INODES, NO_SPACE
from ..findings import Finding, Level, ok, problem, warning
from ..render import FULL, LOW, few_inodes, pictures, size
from ..reports import ask, calmly, failed_disk, open_state

_DAY: Final = 86400.0
_WATCHES: Final = "/proc/sys/fs/inotify/max_user_watches"
_CONFIGURATION: Final = "configuration"
_RIGHTS: Final = "give this user the right (or is sudo missing?), or name another folder"
_FSCK: Final = "see `sudo dmesg` for what the kernel met; unmount the disk, check it with fsck, and mount it again"
_AGAINST: Final = {
    NO_SPACE: "make room on that disk: remove files, or use a larger one",
    NO_INODES: "remove files from that disk: each takes an inode",
    READ_ONLY: "mount it for writing, or name another folder",
}
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_REBUILT: Final = "nothing: the next start puts it aside, and makes a new one from the folder and the destination"
_SET_CLOCK: Final = "set it (sudo date -u -s '2022-05-17 18:34'), and keep it with a clock chip or a time server"


def look(flags: Mapping[str, str | None], environ: Mapping[str, str], config_file: str | None) -> list[Finding]:
    """Look at everything; with a wrong configuration, with what could be understood of it."""
    config, problems = understand(flags, environ, config_file, check_secrets=True)
    found = [problem(_CONFIGURATION, line) for line in problems]
    if not problems:
        found.append(ok(_CONFIGURATION, config.file or "no file: flags, environment and defaults"))
    config = _with_password(config)
    try:
        work_as_owner(config.state_dir, config.image_dir, sends=True)
    except StateError as error:
        return [*found, problem("state folder", str(error), "name a folder that only root or the service can replace")]
    for look_at in _LOOKS:
        found.extend(look_at(config))
    return found


def exit_status(findings: Sequence[Finding]) -> int:
    """Give 0 where nothing is wrong, 78 for a wrong configuration, 1 for anything else."""
    wrong = {finding.about for finding in findings if finding.level is Level.PROBLEM}
    if _CONFIGURATION in wrong:
        return ConfigError.exit_status
    return 1 if wrong else 0


def _with_password(config: Config) -> Config:
    """Read the password while that is allowed."""
    try:
        password = config.api.read_password()
    except ConfigError:
        return config  # a finding already
    return config._replace(api=config.api._replace(password=password, password_file=None))


def _retention(config: Config) -> Iterator[Finding]:
    wanted = config.retention
    if wanted.keep_days is None or _shares_disk(config):  # the latter is said of the destination
        return
    what = f"what was sent goes after {wanted.keep_days} days, or sooner with less than {wanted.min_free} free"
    yield ok("retention", what)


def _image_folder(config: Config) -> Iterator[Finding]:
    about, wrong = "image folder", image_dir_problem(config.image_dir)
    if wrong is not None:
        yield problem(about, wrong, "mount its disk, or set image_dir to the folder with the pictures")
    elif (wrong := failed_disk(config.image_dir)) is not None:
        yield problem(about, wrong, _FSCK)
    else:
        yield ok(about, _place(config.image_dir))


def _state_folder(config: Config) -> Iterator[Finding]:
    about, folder = "state folder", config.state_dir
    inside = is_within(os.path.realpath(folder), os.path.realpath(config.image_dir))
    there = nearest(folder)
    if inside and image_dir_problem(config.image_dir) is not None:
        return  # it is made once the image folder is there
    if (wrong := _not_writable(about, there)) is not None:
        yield wrong
    elif (why := trial_problem(there)) is not None:
        yield problem(about, f"{folder} can't be written: {why}", _against(why))
    elif (why := database_problem(there, os.path.basename(outbox_path(there)))) is not None:
        yield problem(about, why, "set state_dir to a folder on another disk, best on the pictures' own")
    elif not inside and there not in (folder, os.path.dirname(folder)):
        yield problem(about, f"{folder} can't be made, as {os.path.dirname(folder)} isn't there", "make it")
    elif file_system_type(there) in _IN_MEMORY:
        advice = "set state_dir to a folder that survives a reboot, such as one on the pictures' disk"
        yield warning(about, f"{_place(folder)}: in memory, so that all is forgotten at power-off", advice)
    else:
        yield ok(about, _place(folder) + ("" if there == folder else "; it will be made"))


def _outbox(config: Config) -> Iterator[Finding]:
    about, damage = "outbox", list[str]()
    try:
        with open_state(config.state_dir, damage.append) as reader:
            if damage:
                yield warning(about, damage[0], _REBUILT)
            elif reader is None:
                yield ok(about, "nothing is recorded yet")
            else:
                yield ok(about, f"{pictures(sum(calmly(reader, OutboxReader.counts).values()))} recorded")
    except OutboxDamagedError as error:
        yield warning(about, str(error), _REBUILT)
    except StateError as error:
        yield problem(about, str(error), "give this user the right, or look after the disk")


def _space(config: Config) -> Iterator[Finding]:
    about = "free space"
    found = room(config.image_dir)
    if found is None or not found.total:
        return
    free, total, inodes = found.free, found.total, found.inodes
    what = f"{size(free)} of {size(total)}"
    if inodes and found.free_inodes is not None and found.free_inodes * 100 < inodes * LOW:
        few, advice = few_inodes(found.free_inodes, inodes), "remove files: without an inode no file can be made"
        yield warning(about, few, advice) if found.free_inodes else problem(about, few, advice)
    if free < FULL:
        advice = "make room now: below that, the camera program keeps no pictures"
        yield problem(about, f"{what}: less than {size(FULL)}", advice)
    elif free * 100 < total * LOW:
        advice = "make room: below 10 % the stock firmware may delete pictures that nobody has yet"
        yield warning(about, f"{what}: less than {LOW} %", advice)
    else:
        yield ok(about, what)


def _clock(config: Config) -> Iterator[Finding]:
    about, now = "clock", time.time()
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    latest = _last_upload(config)
    if now < PLATFORM_START:
        yield problem(about, f"it says {said}: it isn't set", _SET_CLOCK)
    elif latest is not None and now < latest - _DAY:
        yield problem(about, f"it says {said}, but a picture was sent later than that", _SET_CLOCK)
    elif is_synchronised() is False:
        yield warning(about, f"it says {said}, and hasn't been compared with a time server", "see that it is right")
    else:
        yield ok(about, f"it says {said}")


def _credentials(config: Config) -> Iterator[Finding]:
    if config.api.server is None:
        return
    missing = [] if config.api.username else ["username"]
    try:
        password = config.api.read_password()
    except ConfigError:
        return  # a finding about the configuration already
    if password is None:
        missing.append("password_file")
    if missing:
        names = " and ".join(missing)
        yield problem("credentials", f"[api] {names} not set", f"set {names}: the server wants an account")
    elif password is not None and (remark := _remark(password.reveal())) is not None:
        what = f"{config.api.username}, with a password that {remark}"
        yield warning("credentials", what, "if the server doesn't accept it, write the password without that")
    else:
        yield ok("credentials", f"{config.api.username}, with a password")


def _remark(password: str) -> str | None:
    """Say in what a password isn't what its owner sees; None where it is."""
    if password != password.strip():
        return "begins or ends with white space"
    return None if password.isprintable() else "has characters that can't be seen"


def _destination(config: Config) -> Iterator[Finding]:
    if config.api.store is not None:
        return _store(config, config.api.store)
    # Without an address, the finding about the configuration says it.
    return iter(()) if config.api.server is None else _server(config)


def _proxy(config: Config) -> Iterator[Finding]:
    if config.api.server is None:
        return
    from sticky_pi_api.transport.proxies import exception_for, proxy_for

    about, url = "proxy", config.api.url
    proxy = proxy_for(url)
    if proxy is not None and proxy.wrong is not None:
        yield problem(about, proxy.wrong, "set it as in the drop-in proxy.conf; the service's environment is its own")
    elif proxy is not None:
        yield ok(about, str(proxy))
    elif (entry := exception_for(url)) is not None:
        yield ok(about, f"none for {url}, as NO_PROXY has {entry}")


def _server(config: Config) -> Iterator[Finding]:
    from sticky_pi_api.exceptions import StickyPiError

    from ...upload.client_factory import ask_server

    about = "destination"
    try:
        ask_server(config)
    except ConfigError:
        return  # the finding about credentials says it
    except StickyPiError as error:
        yield problem(about, str(error), "see to what it says; pictures are kept, and sent once it works")
    else:
        yield ok(about, f"{config.api.url} answers, and accepts the account")


def _store(config: Config, store: str) -> Iterator[Finding]:
    from sticky_pi_api.exceptions import StoreError

    from ...upload.client_factory import try_store

    about, there = "destination", nearest(store)
    if (wrong := _not_writable(about, there)) is not None:
        yield wrong
        return
    try:
        try_store(store)
    except StoreError as error:
        yield problem(about, str(error), "see to what it says; pictures are kept, and sent once it works")
        return
    if (why := database_problem(there, "database.db")) is not None:
        yield problem(about, why, "name a folder on another disk in [api] url")
    elif _shares_disk(config):
        what = f"{store} is on the pictures' own disk: a second copy on the same card"
        advice = "fine for trying things; a trap needs another disk. No picture is ever removed for such a copy"
        yield warning(about, what, advice)
    else:
        yield ok(about, _place(store))


def _sending(config: Config) -> Iterator[Finding]:
    """Find what the uploader met with when it last sent: a question to the destination may show nothing of it."""
    try:
        with open_state(config.state_dir, lambda _: None) as reader:
            last = ask(reader, lambda reader: reader.destination(config.api.url), lambda _: None, Destination(""))
    except StateError:
        return
    if last.state in (DestinationState.OK, DestinationState.UNKNOWN):
        return
    find = warning if last.state is DestinationState.UNREACHABLE else problem
    advice = "see to what it says: pictures are kept, and sent once it takes them; `retry --all` has it tried at once"
    yield find("sending", f"when pictures were last sent, the destination {SAYINGS[last.state]}: {last.reason}", advice)


def _watching(config: Config) -> Iterator[Finding]:
    from ...intake.scanner import Scanner

    about = "watching"
    if not os.path.isdir(config.image_dir):
        return
    try:
        with open(_WATCHES, encoding="ascii") as file:
            most = int(file.read())
        folders = len(Scanner(config.image_dir, [config.state_dir]).folders())
    except (OSError, ValueError):
        return
    if most < folders:
        what = f"{folders} folders, but the kernel watches {most} at most: new pictures are found by scans only"
        yield warning(about, what, f"sudo sysctl fs.inotify.max_user_watches={folders * 2}")
    else:
        yield ok(about, f"{folders} of the {most} folders that the kernel can watch")


def _systemd(_: Config) -> Iterator[Finding]:
    from importlib.util import find_spec

    there = find_spec("systemd") is not None
    yield ok("systemd", "systemd-python is there" if there else "without systemd-python (works the same)")


def _not_writable(about: str, folder: str) -> Finding | None:
    if not os.path.isdir(folder):
        return problem(about, f"{folder} isn't a folder", _RIGHTS)
    try:
        read_only = is_read_only(folder)
    except OSError as error:  # it is gone since a moment
        return problem(about, f"{folder} can't be looked at: {error.strerror}", _RIGHTS)
    if read_only:
        advice = _FSCK if has_failed(folder) else _AGAINST[READ_ONLY]
        return problem(about, f"{folder} is on a file system that is read-only", advice)
    if not os.access(folder, os.W_OK | os.X_OK):
        return problem(about, f"{folder} can't be written by this user", _RIGHTS)
    return None


def _against(why: str) -> str:
    """Say what helps against what a trial met with; a disk that isn't used up, and can be written, fails."""
    return _RIGHTS if why == denied() else _AGAINST.get(why, _FSCK)


def _place(folder: str) -> str:
    kind = file_system_type(nearest(folder))
    return f"{folder}, on {kind}" if kind else folder


def _shares_disk(config: Config) -> bool:
    """Tell whether the store, or a folder of pictures in it, lies on the pictures' own disk."""
    from sticky_pi_api.filesystem.store_folder import file_systems

    if config.api.store is None:
        return False
    try:
        return file_system_id(config.image_dir) in file_systems(nearest(config.api.store))
    except OSError:
        return False


def _last_upload(config: Config) -> float | None:
    try:
        with open_state(config.state_dir, lambda _: None) as reader:
            return None if reader is None else calmly(reader, OutboxReader.last_upload)
    except StateError:
        return None


_LOOKS: Final[tuple[Callable[[Config], Iterator[Finding]], ...]] = (
    _retention,
    _image_folder,
    _state_folder,
    _outbox,
    _space,
    _clock,
    _credentials,
    _proxy,
    _destination,
    _sending,
    _watching,
    _systemd,
)
