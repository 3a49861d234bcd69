"""Find the files of a machine-learning bundle in a folder, with the checksum and mtime of each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

from sticky_pi_api.bundles.etag import PART, Etag
from sticky_pi_api.bundles.keys import checked_key
from sticky_pi_api.exceptions import BundleError, ImageError, printable
from sticky_pi_api.filesystem.regular_files import FileFailedError, open_regular, unwrapped
from sticky_pi_api.types import FilePath

WHATS: Final = ("all", "data", "model")
"""The parts of a bundle: all files, those to train the model with, and those to use it with"""

_BLOCK: Final = 2**20

FileInfo = dict[str, Any]
"""Of one file: `key`, its path in the bundle; `path`; `md5`, its ETag; `mtime`, Unix seconds"""


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
    and `mtime` (Unix seconds). With `what` as `data` or `model`, only files that lie directly in folders of the names
    given for these, wherever in the bundle; `.cache` folders are no part of it. Files are read on at most `n_threads`
    threads.

    Raises ValueError for another `what`, OSError for what can't be read, BundleError (a ValueError) for what is no
    file, changes while it is read, or lies behind a link to a folder outside.
    """
    parents = {"all": None, "data": ml_bundle_ml_data_subdir, "model": ml_bundle_ml_model_subdir}
    of_what = parents[checked_what(what)]
    files = find(os.fspath(bundle_dir), allowed_ml_bundle_suffixes, of_what)
    return describe(files, multipart_chunk_size, n_threads)


def find(folder: str, suffixes: Sequence[str], parents: Sequence[str] | None) -> list[tuple[str, str]]:
    """Return the keys and paths of the files with one of the suffixes, sorted by key; none of `.cache` folders.

    With `parents`, only those whose own folder within the bundle has one of these names. Links to files are
    followed. Raises OSError, and BundleError for a link to a folder outside, or a name that no bundle can have.
    """
    found = []
    for path in _walk(folder):
        key = os.path.relpath(path, folder).replace(os.sep, "/")
        parent = os.path.basename(os.path.dirname(key))
        if key.endswith(tuple(suffixes)) and (parents is None or parent in parents):
            found.append((checked_key(key), path))
    return sorted(found)


def describe(files: Sequence[tuple[str, str]], part: int, n_threads: int) -> list[FileInfo]:
    """Describe files, read on so many threads. Raises OSError and BundleError, which name the file."""
    if n_threads < 1:
        raise ValueError(f"n_threads is {n_threads}; it must be at least 1")
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(min(n_threads, len(files)) or 1, thread_name_prefix="bundle")
    try:
        return list(pool.map(lambda file: _describe(file[0], file[1], part), files))
    finally:
        pool.shutdown(cancel_futures=True)


def is_same(path: str, etag: str) -> bool:
    """Return whether a file has the bytes of an ETag. Raises OSError and BundleError."""
    mine = Etag.like(etag)
    _read(path, mine)
    return mine.matches(etag)


def _describe(key: str, path: str, part: int) -> FileInfo:
    etag = Etag(part)
    mtime = _read(path, etag)
    return {"key": key, "path": path, "md5": str(etag), "mtime": mtime}


@contextmanager
def open_file(path: str) -> Iterator[IO[bytes]]:
    """Open a file of a bundle. Raises OSError, and BundleError where it is no regular file."""
    try:
        stream = open_regular(path)
    except ImageError:
        raise BundleError(f"{printable(path)}: it is no regular file, and can't be part of a bundle") from None
    with stream:
        yield stream


def blocks_of(stream: IO[bytes], path: str) -> Iterator[bytes]:
    """Yield the rest of a file. Raises FileFailedError, whose error names it."""
    try:
        yield from iter(lambda: stream.read(_BLOCK), b"")
    except OSError as error:
        raise FileFailedError(type(error)(error.errno, error.strerror, path)) from error


def _read(path: str, etag: Etag) -> float:
    """Hash a file, and return its mtime."""
    with unwrapped(), open_file(path) as stream:
        before = os.fstat(stream.fileno())
        for block in blocks_of(stream, path):
            etag.update(block)
        after = os.fstat(stream.fileno())
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise BundleError(f"{printable(path)}: it was written to while it was read; try again once it is whole")
    return before.st_mtime


def _walk(folder: FilePath) -> Iterator[str]:
    """Yield the paths of all that is no folder."""
    root = os.path.realpath(folder)

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if name != ".cache"]
        for path in (os.path.join(parent, name) for name in folders):
            target = os.path.realpath(path)
            # One that stays inside leads to what is found anyway.
            if os.path.islink(path) and not f"{target}{os.sep}".startswith(os.path.join(root, "")):
                raise BundleError(f"{printable(path)}: it links to a folder outside the bundle; put the folder here")
        yield from (os.path.join(parent, name) for name in files)
