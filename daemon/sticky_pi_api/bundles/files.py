"""Find the files of a machine-learning bundle in a folder, with the checksum and mtime of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

from sticky_pi_api.bundles.etag import PART, Etag
from sticky_pi_api.bundles.keys import checked_key
from sticky_pi_api.exceptions import BundleError, ImageError, printable
from sticky_pi_api.filesystem.safe_open import FileFailedError, open_regular, unwrapped
from sticky_pi_api.types import FilePath

WHATS: Final = ("all", "data", "model")
"""The parts of a bundle: all files, those that train the model, and those that use it"""

_BLOCK: Final = 2**20

FileInfo = dict[str, Any]
"""One file: `key`, its path in the bundle; `path`; `md5`, its ETag; `mtime` in Unix seconds"""


def checked_what(what: str) -> str:
    """Return one of WHATS. Raises ValueError, which lists them, for anything else."""
    if what not in WHATS:
        raise ValueError(f"what is {what!r}; it must be one of {', '.join(WHATS)}")
    return what


def local_bundle_files_info(  # noqa: PLR0917 - the published order
    bundle_dir: FilePath,
    what: str = "all",
    allowed_ml_bundle_suffixes: Sequence[str] = (".yaml", ".yml", "model_final.pth", ".svg", ".jpeg", ".jpg"),
    ml_bundle_ml_data_subdir: Sequence[str] = ("data", "config"),
    ml_bundle_ml_model_subdir: Sequence[str] = ("output", "config"),
    multipart_chunk_size: int = PART,
    *,
    n_threads: int = 4,
) -> list[FileInfo]:
    """Describe each file of a machine-learning bundle, sorted by key.

    A description has the file's `key` (its path in the bundle, with slashes), `path`, `md5` (as of `multipart_etag`)
    and `mtime` (Unix seconds). Files have one of the allowed suffixes. With `what` as `data` or `model`, they lie
    directly in folders with one of the names given for it, anywhere in the bundle. `.cache` folders are left out, and
    links to files are followed. Files are read on at most `n_threads` threads.

    Raises ValueError for another `what`, and OSError for a file that can't be read. Raises BundleError (a ValueError)
    for a path that isn't a file, has an impossible name, changes while it is read, or lies behind a link to a folder
    outside.
    """
    parents = {"all": None, "data": ml_bundle_ml_data_subdir, "model": ml_bundle_ml_model_subdir}[checked_what(what)]
    if n_threads < 1:
        raise ValueError(f"n_threads is {n_threads}; it must be at least 1")
    from concurrent.futures import ThreadPoolExecutor

    folder, files = os.fspath(bundle_dir), []
    for path in _walk(folder):
        key = os.path.relpath(path, folder).replace(os.sep, "/")
        parent = os.path.basename(os.path.dirname(key))
        if key.endswith(tuple(allowed_ml_bundle_suffixes)) and (parents is None or parent in parents):
            files.append((checked_key(key), path))

    def describe(file: tuple[str, str]) -> FileInfo:
        etag = Etag(multipart_chunk_size)
        mtime = _read(file[1], etag)
        return {"key": file[0], "path": file[1], "md5": str(etag), "mtime": mtime}

    pool = ThreadPoolExecutor(min(n_threads, len(files)) or 1, thread_name_prefix="bundle")
    try:
        return list(pool.map(describe, sorted(files)))
    finally:
        pool.shutdown(cancel_futures=True)


def is_outdated(path: str, etag: str, is_old: Callable[[float], bool]) -> bool:
    """Return whether a file is missing, or `is_old` by its mtime and has other bytes than those of an ETag.

    Raises OSError and BundleError.
    """
    try:
        mtime = os.stat(path).st_mtime
    except FileNotFoundError:
        return True
    if not is_old(mtime):
        return False
    mine = Etag.like(etag)
    _read(path, mine)
    return not mine.matches(etag)


@contextmanager
def open_file(path: str) -> Iterator[IO[bytes]]:
    """Open a file of a bundle. Raises OSError, and BundleError where it isn't a regular file."""
    try:
        stream = open_regular(path)
    except ImageError:
        raise BundleError(f"{printable(path)}: it isn't a regular file, and can't be part of a bundle") from None
    with stream:
        yield stream


def blocks_of(stream: IO[bytes], path: str) -> Iterator[bytes]:
    """Yield the rest of a file in blocks. Raises FileFailedError, whose error names the file."""
    try:
        yield from iter(lambda: stream.read(_BLOCK), b"")
    except OSError as error:
        raise FileFailedError(type(error)(error.errno, error.strerror, path)) from error


def _read(path: str, etag: Etag) -> float:
    with unwrapped(), open_file(path) as stream:
        before = os.fstat(stream.fileno())
        for block in blocks_of(stream, path):
            etag.update(block)
        after = os.fstat(stream.fileno())
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise BundleError(f"{printable(path)}: it was written to while it was read; try again once it is whole")
    return before.st_mtime


def _walk(folder: FilePath) -> Iterator[str]:
    root = os.path.realpath(folder)

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if name != ".cache"]
        for path in (os.path.join(parent, name) for name in folders):
            target = os.path.realpath(path)
            # A link that stays inside leads to files that are found anyway.
            if os.path.islink(path) and not f"{target}{os.sep}".startswith(os.path.join(root, "")):
                raise BundleError(f"{printable(path)}: it links to a folder outside the bundle; put the folder here")
        yield from (os.path.join(parent, name) for name in files)
