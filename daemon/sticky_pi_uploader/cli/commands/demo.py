"""`demo`: make the pictures of a small trap, send them to a store, and suggest what to try next."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from sticky_pi_api.filesystem.safe_open import open_file

from ...config import Config, load
from ...config.toml import as_toml
from ...config.values import store_address
from ...demo.pictures import make_picture, picture_bytes
from ...exceptions import StateError
from ...ownership.run_as_owner import work_as_owner
from ...state_dir import folder as state_dirs
from ..output.terminal import print_lines, suggest
from ..state_reader import open_state
from .pictures.list import list_line
from .service.drain import drain

_MARK: Final = ".made-by-sticky-pi-uploader-demo"
_CONFIG: Final = "config.toml"

_OLD: Final = "5c173ff2"
_NEW: Final = "512858f4"
_OLD_NIGHT: Final = datetime(2020, 6, 20, 23, 13, 24)  # noqa: DTZ001 - UTC, as pictures' names are
_NEW_DAY: Final = datetime(2022, 5, 17, 17, 54, 50)  # noqa: DTZ001
_CYCLE: Final = timedelta(minutes=20)


class NotADemoError(ValueError):
    """The folder can't be used for a demo."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the folder."""
    parser.add_argument(
        "folder", nargs="?", default="sticky-pi-demo", metavar="FOLDER", help="the folder for it (default: %(default)s)"
    )


def run(arguments: Namespace) -> int:
    """Make the demo, drain it, and print what happened to each picture."""
    try:
        config = prepare(arguments.folder)
    except NotADemoError as error:
        arguments.usage_error(str(error))
    print_lines(_introduction(config))
    # The list below says what is wrong with two of the files.
    status = drain(config, level_on_terminal=logging.ERROR)
    print_lines(["", "What became of them:"])
    with open_state(config.state_dir) as state:
        print_lines(f"  {list_line(picture)}" for picture in state.pictures())
    print_lines(_next_steps(config))
    return status


def prepare(folder: str) -> Config:
    """Make the pictures in `folder`, unless they are there, and a configuration that sends them to a store.

    Raises NotADemoError where something else is in the folder, StateError where it can't be written.
    """
    folder = os.path.abspath(folder)
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise NotADemoError(f"{folder} isn't a folder")
    work_as_owner(folder, folder, sends=True)
    try:
        _claim(folder)
        _write(os.path.join(folder, _MARK), b"")
        images = os.path.join(folder, "pictures")
        _make_trap(images)
        store = store_address(os.path.join(folder, "store"))
        flags = {"image_dir": images, "state_dir": os.path.join(folder, "state"), "api.url": store}
        config = load(flags, {}, default_file=os.devnull)
        _write(os.path.join(folder, _CONFIG), as_toml(config).encode(), replace=True)
    except OSError as error:
        raise StateError(f"the demo can't be made in {folder}: {error.strerror}") from error
    return config


def _introduction(config: Config) -> Iterator[str]:
    yield f"{_short(config.image_dir)} holds 12 pictures of an old trap and a new one, in all three layouts,"
    yield "one that a power cut left cut short, and one that is no trap's. Now they are sent."


def _next_steps(config: Config) -> Iterator[str]:
    folder = _short(os.path.dirname(config.image_dir))
    database = os.path.join(folder, "store", "database.db")
    yield ""
    yield "Where it is now:"
    yield f"  {folder}/pictures           the pictures, as the trap has them"
    yield f"  {folder}/store/raw_images   the same in the store, each with its two thumbnails"
    yield f"  {folder}/store/database.db  what the store knows of them"
    yield ""
    yield "What to try next:"
    config = config._replace(flags=("--config", os.path.join(folder, _CONFIG)))
    yield f"  {suggest(config, 'status')}"
    yield f"  {suggest(config, f'explain {_NEW}.{_NEW_DAY:%Y-%m-%d_%H-%M-%S}.jpg')}"
    yield f"  {suggest(config, 'list --state rejected')}"
    yield f"  {_sqlite_utils()} rows {shlex.quote(database)} images -c device -c datetime -c temp -t"
    yield f"  {suggest(config, 'run')}    (copy more pictures in while it runs; Ctrl-C ends it)"


def _sqlite_utils() -> str:
    """Return the command that was installed with this program, by its path where it isn't in PATH."""
    from shutil import which

    beside = os.path.join(os.path.dirname(sys.argv[0]), "sqlite-utils")
    return beside if which("sqlite-utils") is None and os.path.exists(beside) else "sqlite-utils"


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def _claim(folder: str) -> None:
    """Make the folder, or check that it is a demo's. Raises NotADemoError."""
    try:
        folder.encode()
        found = os.listdir(folder)
    except UnicodeEncodeError:
        raise NotADemoError(f"{folder}: expected a folder whose name is UTF-8 text") from None
    except FileNotFoundError:
        state_dirs.make(folder, folder, with_parents=True)
        # In a folder such as /tmp, another user may have made it first.
        work_as_owner(folder, folder, sends=True)
        found = os.listdir(folder)
    if found and _MARK not in found:
        raise NotADemoError(f"{folder} has other things in it: name a new folder, or an empty one")


def _make_trap(images: str) -> None:
    """Make pictures in each folder layout of traps and people, and two files that can't be sent."""
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


def _write(path: str, content: bytes, *, replace: bool = False) -> None:
    """Write a file; one that exists stays unless `replace`. Raises OSError, also where anything but a file is there."""
    with suppress(FileNotFoundError):
        os.close(open_file(path))
        if not replace:
            return
        os.unlink(path)
    with open(path, "xb") as file:
        file.write(content)
