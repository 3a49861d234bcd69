"""Store the files of pictures beside the database, in one folder for each device, and the files of bundles."""

from __future__ import annotations

import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import IO, Any, NamedTuple

from sticky_pi_api.configuration import BaseAPIConf
from sticky_pi_api.filesystem import durable
from sticky_pi_api.filesystem.safe_open import open_file
from sticky_pi_api.filesystem.store_folder import IMAGES, INCOMING, folder_in, images_folder
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.images.filename import format_filename
from sticky_pi_api.types import Info, Row

WHATS = ("metadata", "image", "thumbnail", "thumbnail_mini")
"""The values of `what` for images; `thumbnail-mini` is accepted as well"""

_LEFTOVER_AGE = 3600.0


def checked_what(what: str) -> str:
    """Return one of WHATS. Raises ValueError, which lists them, for anything else."""
    if (known := what.replace("-", "_") if isinstance(what, str) else what) in WHATS:
        return known
    raise ValueError(f"what is {what!r}; it must be one of {', '.join(WHATS)}")


class Staged(NamedTuple):
    """A picture's files, whole and on disk, but not in their place yet."""

    device: str
    moves: tuple[tuple[str, str], ...]
    """where each is, and where it belongs"""
    images: int
    """the open folder of all devices' images"""
    incoming: int
    """the open folder where each is"""
    closing: ExitStack
    """closes both"""


class BaseStorage(ABC):
    """Keeps the files of images and of machine-learning bundles, and says where they are."""

    def __init__(self, api_conf: BaseAPIConf, *_args: Any, **_kwargs: Any) -> None:
        """Keep the configuration."""
        self._api_conf = api_conf

    @abstractmethod
    def store_image_files(self, image: ImageParser) -> None:
        """Save an image's JPEG and its two thumbnails; files in their place are replaced."""

    @abstractmethod
    def get_url_for_image(self, image: Mapping[str, Any], what: str = "metadata") -> str:
        """Return where the file of an image (its `device` and `datetime`) is, or '' for `metadata`."""

    @abstractmethod
    def get_ml_bundle_file_list(self, bundle_name: str, what: str = "all") -> list[Row]:
        """Return `key`, `url`, `md5` (as of `multipart_etag`) and `mtime` of each file of a bundle; [] of none.

        `what` is `all`, `data` or `model`. Raises ValueError where either makes no sense.
        """

    @abstractmethod
    def get_ml_bundle_upload_links(self, bundle_name: str, info: Iterable[Info]) -> list[Row]:
        """Return the entries of `info` (`key`, `md5` and `mtime`) that are wanted, with the `url` to put each at.

        Not wanted is what is there with the same md5, or as new. Raises ValueError for what makes no sense.
        """


class DiskStorage(BaseStorage):
    """Keeps them in `<LOCAL_DIR>/raw_images/<device>/` and `<LOCAL_DIR>/ml/<bundle name>/`.

    A file is written and made durable elsewhere, in `raw_images/.incoming`, and then renamed: a file with its final
    name is whole. `stage` and `place` are the two halves of that, for a caller who makes a row in between.
    """

    def __init__(self, api_conf: BaseAPIConf, *_args: Any, **_kwargs: Any) -> None:
        """Take the store's folder from the configuration; nothing is made yet."""
        super().__init__(api_conf)
        self._store = os.path.abspath(api_conf["LOCAL_DIR"])
        self._images = os.path.join(self._store, IMAGES)
        self._swept_at: float | None = None

    def store_image_files(self, image: ImageParser) -> None:
        """Save an image's JPEG and its two thumbnails, durably; files in their place are replaced."""
        staged = self.stage(image, image.file_blob)
        try:
            self.place(staged)
        finally:
            self.discard(staged)

    def get_url_for_image(self, image: Mapping[str, Any], what: str = "metadata") -> str:
        """Return the path of an image's file, or '' for `metadata`."""
        if (what := checked_what(what)) == "metadata":
            return ""
        name = format_filename(image["device"], image["datetime"])
        return os.path.join(self._images, image["device"], name if what == "image" else f"{name}.{what}")

    def get_ml_bundle_file_list(self, bundle_name: str, what: str = "all") -> list[Row]:
        """Return the files of a bundle, as BaseStorage says; `url` is a path."""
        from sticky_pi_api.bundles.storage import list_files

        return list_files(self._store, bundle_name, what)

    def get_ml_bundle_upload_links(self, bundle_name: str, info: Iterable[Info]) -> list[Row]:
        """Return which files are wanted, as BaseStorage says; `url` is the path where each belongs."""
        from sticky_pi_api.bundles.storage import list_wanted

        return list_wanted(self._store, bundle_name, info)

    def stage(self, image: ImageParser, blob: bytes) -> Staged:
        """Write an image's three files, of which `blob` is the JPEG, where nobody looks for them yet."""
        contents = {"image": blob, "thumbnail": image.thumbnail_jpeg, "thumbnail_mini": image.thumbnail_mini_jpeg}
        unique = f"{image.filename}.{os.getpid()}.{os.urandom(4).hex()}"
        places = [os.path.join(self._images, INCOMING, f"{unique}.{what}") for what in contents]
        moves = tuple(zip(places, (self.get_url_for_image(image, what) for what in contents), strict=True))
        with ExitStack() as stack:
            images = stack.enter_context(images_folder(self._store, make=True))
            incoming = stack.enter_context(folder_in(self._store, images, f"{IMAGES}/{INCOMING}", make=True))
            self._sweep(incoming)
            staged = Staged(image["device"], moves, images, incoming, stack.pop_all())
        try:
            for place, content in zip(places, contents.values(), strict=True):
                durable.write(place, content, incoming)
        except BaseException:
            self.discard(staged)
            raise
        return staged

    def place(self, staged: Staged) -> None:
        """Give staged files their names, durably."""
        path = f"{IMAGES}/{staged.device}"
        with folder_in(self._store, staged.images, path, make=True, is_whole=False) as folder:
            for temporary, final in staged.moves:
                with durable.naming(final):
                    names = os.path.basename(temporary), os.path.basename(final)
                    os.rename(*names, src_dir_fd=staged.incoming, dst_dir_fd=folder)
            with durable.naming(os.path.join(self._store, path)):
                durable.flush(folder)

    def discard(self, staged: Staged) -> None:
        """Remove the files that are still staged."""
        with staged.closing:
            for temporary, _ in staged.moves:
                with suppress(OSError):
                    os.unlink(os.path.basename(temporary), dir_fd=staged.incoming)

    def open_image(self, url: str) -> IO[bytes]:
        """Open an image's file; a link in its place is none. Raises FileNotFoundError, and other OSErrors."""
        above, name = os.path.split(url)
        path = f"{IMAGES}/{os.path.basename(above)}"
        with images_folder(self._store) as images, folder_in(self._store, images, path, is_whole=False) as folder:
            if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise FileNotFoundError(url)
            with durable.naming(url):
                return os.fdopen(open_file(name, folder=folder), "rb")

    def _sweep(self, incoming: int) -> None:
        """Remove, once in a while, the files that killed processes left behind."""
        now = time.monotonic()
        if self._swept_at is not None and now - self._swept_at < _LEFTOVER_AGE:
            return
        self._swept_at = now
        for leftover in list(_older_than(incoming, time.time() - _LEFTOVER_AGE)):
            with suppress(FileNotFoundError):
                os.unlink(leftover, dir_fd=incoming)


def _older_than(folder: int, then: float) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < then:
                    yield entry.name
