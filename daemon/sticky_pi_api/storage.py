"""Store the files of pictures beside the database, in one folder for each device, and the files of bundles."""

from __future__ import annotations

import operator
import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, Any

from sticky_pi_api.configuration import BaseAPIConf
from sticky_pi_api.filesystem import durable
from sticky_pi_api.filesystem.safe_open import open_file
from sticky_pi_api.filesystem.store_folder import BUNDLES, IMAGES, INCOMING, folder_in, images_folder, require_no_link
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.images.filename import format_filename
from sticky_pi_api.types import Info, Row
from sticky_pi_api.validation.queries import checked_image_what


class BaseStorage(ABC):
    """The files of images and of machine-learning bundles."""

    def __init__(self, api_conf: BaseAPIConf, *_args: Any, **_kwargs: Any) -> None:
        self._api_conf = api_conf

    @abstractmethod
    def store_image_files(self, image: ImageParser) -> None:
        """Save an image's JPEG and its two thumbnails; files in their place are replaced."""

    @abstractmethod
    def get_url_for_image(self, image: Mapping[str, Any], what: str = "metadata") -> str:
        """Return the path or link of the file of an image (its `device` and `datetime`), or '' for `metadata`."""

    @abstractmethod
    def get_ml_bundle_file_list(self, bundle_name: str, what: str = "all") -> list[Row]:
        """Return the `key`, `url`, `md5` (as of `multipart_etag`) and `mtime` (Unix seconds) of each file of a bundle.

        `what` is `all`, `data` or `model`. Raises ValueError for another one, and for an impossible name.
        """

    @abstractmethod
    def get_ml_bundle_upload_links(self, bundle_name: str, info: Iterable[Info]) -> list[Row]:
        """Return the wanted entries of `info` (`key`, `md5` and `mtime`), each with the `url` where to put the file.

        A file is wanted if it is missing, or older and with another md5. Raises ValueError for an impossible entry.
        """


class DiskStorage(BaseStorage):
    """The files in `<LOCAL_DIR>/raw_images/<device>/` and `<LOCAL_DIR>/ml/<bundle name>/`.

    A picture's file is made durable in `raw_images/.incoming`, and then renamed: a file with its final name is whole.
    """

    def __init__(self, api_conf: BaseAPIConf, *_args: Any, **_kwargs: Any) -> None:
        super().__init__(api_conf)
        self._store = os.path.abspath(api_conf["LOCAL_DIR"])
        self._images = os.path.join(self._store, IMAGES)
        self._swept_at: float | None = None

    def store_image_files(self, image: ImageParser) -> None:
        """Save an image's JPEG and its two thumbnails, durably; files in their place are replaced."""
        with self.staged(image, image.file_blob) as place:
            place()

    def get_url_for_image(self, image: Mapping[str, Any], what: str = "metadata") -> str:
        """Return the path of an image's file, or '' for `metadata`."""
        if (what := checked_image_what(what)) == "metadata":
            return ""
        name = format_filename(image["device"], image["datetime"])
        return os.path.join(self._images, image["device"], name if what == "image" else f"{name}.{what}")

    def get_ml_bundle_file_list(self, bundle_name: str, what: str = "all") -> list[Row]:
        """Return the files of a bundle, as BaseStorage says; `url` is a path."""
        from sticky_pi_api.bundles import files

        files.checked_what(what)
        folder = self._bundle_folder(bundle_name)
        found = files.local_bundle_files_info(folder, what) if os.path.isdir(folder) else []
        return [{name: file[name] for name in ("key", "md5", "mtime")} | {"url": file["path"]} for file in found]

    def get_ml_bundle_upload_links(self, bundle_name: str, info: Iterable[Info]) -> list[Row]:
        """Return the wanted files, as BaseStorage says; `url` is a path."""
        from sticky_pi_api.bundles.files import is_outdated
        from sticky_pi_api.bundles.keys import checked_entries, place

        folder = self._bundle_folder(bundle_name)
        entries = [{**entry, "url": place(folder, entry["key"])} for entry in checked_entries(info)]
        return [one for one in entries if is_outdated(one["url"], one["md5"], partial(operator.gt, one["mtime"]))]

    def _bundle_folder(self, bundle_name: str) -> str:
        """Return the folder of a bundle. Raises OSError where a link is in its place, or above it."""
        from sticky_pi_api.bundles.keys import checked_name

        path = os.path.join(BUNDLES, checked_name(bundle_name))
        require_no_link(self._store, BUNDLES, path)
        return os.path.join(self._store, path)

    @contextmanager
    def staged(self, image: ImageParser, blob: bytes) -> Iterator[Callable[[], None]]:
        """Write an image's three files, of which `blob` is the JPEG; the block gets a function that places them.

        Files that the block doesn't place are removed at its end.
        """
        contents = {"image": blob, "thumbnail": image.thumbnail_jpeg, "thumbnail_mini": image.thumbnail_mini_jpeg}
        unique = f"{image.filename}.{os.getpid()}.{os.urandom(4).hex()}"
        moves = [(f"{unique}.{what}", self.get_url_for_image(image, what)) for what in contents]
        path = f"{IMAGES}/{INCOMING}"
        with (
            images_folder(self._store, make=True) as images,
            folder_in(self._store, images, path, make=True) as incoming,
        ):
            self._sweep(incoming)
            try:
                for (name, _), content in zip(moves, contents.values(), strict=True):
                    durable.write(os.path.join(self._store, path, name), content, incoming)
                yield partial(self._place, image["device"], moves, images, incoming)
            finally:
                for name, _ in moves:
                    with suppress(OSError):
                        os.unlink(name, dir_fd=incoming)

    def _place(self, device: str, moves: Sequence[tuple[str, str]], images: int, incoming: int) -> None:
        """Rename staged files to their final paths, durably."""
        path = f"{IMAGES}/{device}"
        with folder_in(self._store, images, path, make=True, is_whole=False) as folder:
            for name, final in moves:
                with durable.naming(final):
                    os.rename(name, os.path.basename(final), src_dir_fd=incoming, dst_dir_fd=folder)
            with durable.naming(os.path.join(self._store, path)):
                durable.flush(folder)

    def open_image(self, url: str) -> IO[bytes]:
        """Open an image's file, which must not be a link. Raises FileNotFoundError, and other OSErrors."""
        above, name = os.path.split(url)
        path = f"{IMAGES}/{os.path.basename(above)}"
        with images_folder(self._store) as images, folder_in(self._store, images, path, is_whole=False) as folder:
            if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise FileNotFoundError(url)
            with durable.naming(url):
                return os.fdopen(open_file(name, folder=folder), "rb")

    def _sweep(self, incoming: int) -> None:
        """Remove, once an hour, the files that killed processes left behind."""
        now = time.monotonic()
        if self._swept_at is not None and now - self._swept_at < durable.LEFTOVER_AGE:
            return
        self._swept_at = now
        durable.remove_leftovers(incoming, time.time())
