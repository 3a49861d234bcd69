"""Makes a small trap's worth of pictures, for a first look at what this program does with them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final

from sticky_pi_api.filesystem.safe_open import open_file

from ...config import Config, as_toml, load
from ...config.values import store_address
from ...demo.pictures import make_picture, picture_bytes
from ...exceptions import StateError
from ...ownership.run_as_owner import work_as_owner
from ...state_dir import folder as state_dirs

_MARK: Final = ".made-by-sticky-pi-uploader-demo"
_CONFIG: Final = "config.toml"

_OLD: Final = "5c173ff2"
_NEW: Final = "512858f4"
_OLD_NIGHT: Final = datetime(2020, 6, 20, 23, 13, 24)  # noqa: DTZ001 - UTC, as pictures' names are
_NEW_DAY: Final = datetime(2022, 5, 17, 17, 54, 50)  # noqa: DTZ001
_CYCLE: Final = timedelta(minutes=20)


class NotADemoError(ValueError):
    """The folder can't be the demo's."""


def prepare(folder: str) -> Config:
    """Make in `folder`, where they aren't there yet, the pictures, and a configuration that sends them to a store.

    Raises NotADemoError where something else is in the folder, StateError where it can't be written.
    """
    folder = os.path.abspath(folder)
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise NotADemoError(f"{folder} isn't a folder")
    work_as_owner(folder, folder, sends=True)
    try:
        _claim(folder)
        with _opened(folder) as descriptor:
            _write_new(_MARK, b"", descriptor)
        images = os.path.join(folder, "pictures")
        _make_trap(images)
        store = store_address(os.path.join(folder, "store"))
        flags = {"image_dir": images, "state_dir": os.path.join(folder, "state"), "api.url": store}
        config = load(flags, {}, default_file=os.devnull)
        with _opened(folder) as descriptor:
            _write_anew(_CONFIG, as_toml(config).encode(), descriptor)
    except OSError as error:
        raise StateError(f"the demo can't be made in {folder}: {error.strerror}") from error
    return config


def what_is_made(config: Config) -> Iterator[str]:
    """Say what `prepare` made."""
    yield f"{_short(config.image_dir)} holds 12 pictures of an old trap and a new one, in all three layouts,"
    yield "one that a power cut left cut short, and one that is no trap's. Now they are sent."


def what_next(config: Config, command: str) -> Iterator[str]:
    """Say where everything is, and what to type next; `command` is how this program is called."""
    folder = _short(os.path.dirname(config.image_dir))
    database = os.path.join(folder, "store", "database.db")
    yield ""
    yield "Where it is now:"
    yield f"  {folder}/pictures           the pictures, as the trap has them"
    yield f"  {folder}/store/raw_images   the same in the store, each with its two thumbnails"
    yield f"  {folder}/store/database.db  what the store knows of them"
    yield ""
    yield "What to try next:"
    with_config = f"{command} --config {shlex.quote(os.path.join(folder, _CONFIG))}"
    yield f"  {with_config} status"
    yield f"  {with_config} explain {_NEW}.{_NEW_DAY:%Y-%m-%d_%H-%M-%S}.jpg"
    yield f"  {with_config} list --state rejected"
    yield f"  {_sqlite_utils()} rows {shlex.quote(database)} images -c device -c datetime -c temp -t"
    yield f"  {with_config} run    (copy more pictures in while it runs; Ctrl-C ends it)"


def _sqlite_utils() -> str:
    """Name the command that came with this program, where it isn't found by its name alone."""
    from shutil import which

    beside = os.path.join(os.path.dirname(sys.argv[0]), "sqlite-utils")
    return beside if which("sqlite-utils") is None and os.path.exists(beside) else "sqlite-utils"


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def _claim(folder: str) -> None:
    """Make the folder, or see that it is the demo's own."""
    try:
        folder.encode()
        found = os.listdir(folder)
    except UnicodeEncodeError:
        raise NotADemoError(f"{folder}: expected a folder whose name is UTF-8 text") from None
    except FileNotFoundError:
        state_dirs.make(folder, folder, with_parents=True)
        # In a folder such as /tmp, somebody else may have been faster.
        work_as_owner(folder, folder, sends=True)
        found = os.listdir(folder)
    if found and _MARK not in found:
        raise NotADemoError(f"{folder} has other things in it: name a new folder, or an empty one")


def _make_trap(images: str) -> None:
    """Make pictures in each layout that traps and people use, and two files that can't be sent."""
    for cycle in range(6):
        taken = _OLD_NIGHT + cycle * _CYCLE
        _make(os.path.join(images, _OLD, f"{taken:%Y-%m-%d}"), _OLD, taken, 2020)
    for cycle in range(4):
        _make(os.path.join(images, _NEW), _NEW, _NEW_DAY + cycle * _CYCLE, 2022)
    for cycle in range(4, 6):
        _make(images, _NEW, _NEW_DAY + cycle * _CYCLE, 2022)
    cut_short = _OLD_NIGHT + 6 * _CYCLE
    whole = picture_bytes(_OLD, cut_short)
    _write(os.path.join(images, _OLD, f"{_OLD}.{cut_short:%Y-%m-%d_%H-%M-%S}.jpg"), whole[: len(whole) // 2])
    _write(os.path.join(images, "holiday.jpg"), whole)


def _make(folder: str, device: str, taken: datetime, generation: int) -> None:
    if not os.path.exists(os.path.join(folder, f"{device}.{taken:%Y-%m-%d_%H-%M-%S}.jpg")):
        make_picture(folder, device, taken, generation=generation)


def _write(path: str, content: bytes) -> None:
    with _opened(os.path.dirname(path)) as folder:
        _write_new(os.path.basename(path), content, folder)


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_new(name: str, content: bytes, folder: int) -> None:
    """Write a file in an open folder, unless it is there; nothing else may lie in its place. Raises OSError."""
    try:
        file = open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, folder=folder)
    except FileExistsError:
        os.close(open_file(name, folder=folder))
        return
    with open(file, "wb") as stream:
        stream.write(content)


def _write_anew(name: str, content: bytes, folder: int) -> None:
    """Do the same, in the place of an earlier one."""
    with suppress(FileNotFoundError):
        os.close(open_file(name, folder=folder))
        os.unlink(name, dir_fd=folder)
    _write_new(name, content, folder)
