"""The methods that all APIs have, and the embedded API, which uses a database and a storage."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from itertools import chain, starmap
from typing import TYPE_CHECKING, Any, Self

from sticky_pi_api.filesystem.durable import make_folders
from sticky_pi_api.filesystem.safe_open import FileFailedError, unwrapped
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.local.errors import blaming_the_store
from sticky_pi_api.types import FileOrPath, Info, Row
from sticky_pi_api.validation.queries import checked_image_what, image_keys, series_of

if TYPE_CHECKING:
    # Few programs use bundles, annotations and users: their modules are imported with the first one.
    from sticky_pi_api.bundles.files import FileInfo
    from sticky_pi_api.bundles.transfer import Receive
    from sticky_pi_api.configuration import BaseAPIConf
    from sticky_pi_api.local.annotations import AnnotationsTable


class BaseAPISpec(ABC):
    """The methods that clients and the embedded API have in common; a context manager that closes itself.

    `info` has the entries of a request. A device is text; a datetime is a naive `datetime` in UTC, or text. `url` of an
    image's row is the path or link of its file by `what`: `image`, `thumbnail` or `thumbnail_mini`, and '' for
    `metadata`. All methods raise ValueError for a request that makes no sense.
    """

    @abstractmethod
    def get_images(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of those images that exist; each entry of `info` has a `device` and a `datetime`."""

    @abstractmethod
    def get_image_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the images that devices took in a time, one entry after the other.

        Each entry has a `device` (a pattern for SQL's LIKE), a `start_datetime`, and an `end_datetime`, which is
        excluded.
        """

    @abstractmethod
    def iter_image_series(self, info: Iterable[Info], what: str = "metadata") -> Iterator[Row]:
        """Yield the rows of `get_image_series` without holding all of them in memory.

        The embedded store sorts them by device and datetime within each entry, a server within each page of time.
        """

    @abstractmethod
    def put_uid_annotations(self, info: Iterable[Info]) -> list[Row]:
        """Add annotations to images, and return their rows, with an empty `json`.

        Each entry has `annotations`, a list with a dict for each object (`contour`, `name`, `fill_colour`,
        `stroke_colour`, `value`), and `metadata`: the `device`, `datetime` and `md5` of the image, the `algo_name` and
        the `algo_version`. All of it is stored unchanged; arrays of numpy become lists. Nothing is added where this
        raises ValueError, also for an image that doesn't exist, or sqlite3.IntegrityError for one that has annotations
        of this algorithm and version.
        """

    @abstractmethod
    def get_uid_annotations(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the annotations of images; each entry has a `device` and a `datetime`.

        A row's `parent_image_id` is the `id` of its image's row. `json` is the whole entry that was put, as text, if
        `what` is `json` (or `data`), and '' if it is `metadata`.
        """

    @abstractmethod
    def get_uid_annotations_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of `get_uid_annotations` for the images of `get_image_series`."""

    @abstractmethod
    def get_users(self, info: Info | Sequence[Info] | None = None) -> list[Row]:
        """Return the rows of all users, or of those that match a dict of patterns, or one of several dicts.

        A dict has the patterns (for SQL's LIKE, without regard to case) of some columns; a user must match all of them.
        A row has neither a password nor its hash.
        """

    @abstractmethod
    def put_users(self, info: Iterable[Info]) -> list[Row]:
        """Add users, all or none, and return their rows.

        Each entry has a `username` and a `password`, and may have `email`, `is_admin` and `can_write` (False by
        default), and `model`, which is ignored. Raises sqlite3.IntegrityError where a user has this name or email.
        """

    @abstractmethod
    def close(self) -> None:
        """Close connections and files; no method can be used afterwards."""

    def stalled_for(self) -> float:
        """Return the seconds by which a request is past its deadline; without requests, the seconds since the last.

        It grows only while nothing makes progress, and is infinite for an API without requests.
        """
        return math.inf

    @abstractmethod
    def _put_new_images(self, files: Iterable[FileOrPath | ImageParser]) -> list[Row]:
        """Store new images, and return their rows.

        Raises sqlite3.IntegrityError, or another error, at the first image whose device and datetime are held, or that
        can't be stored; the images before it are stored.
        """

    @abstractmethod
    def _get_ml_bundle_file_list(self, bundle_name: str, what: str = "all") -> list[Row]:
        """Return the files of a bundle, as BaseStorage does."""

    @abstractmethod
    def _get_ml_bundle_upload_links(self, bundle_name: str, info: Iterable[Info]) -> list[Row]:
        """Return the wanted files of a bundle, as BaseStorage does."""

    @abstractmethod
    def _send_bundle_file(self, file: FileInfo, url: Any) -> None:
        """Send a wanted file to its `url`. Raises BundleError if it has changed since it was listed."""

    @abstractmethod
    def _fetch_bundle_file(self, row: Row, into: Receive) -> None:
        """Give a listed file to `into`, again from its start where the connection broke."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BaseAPI(BaseAPISpec):
    """An API with a database and a storage of its own."""

    def __init__(self, api_conf: BaseAPIConf, *_args: Any, **_kwargs: Any) -> None:
        self._api_conf = api_conf


class LocalAPI(BaseAPI):
    """The whole API in this process, with a store in a folder: `LOCAL_DIR` of its configuration.

    Any number of threads and processes may use one folder. All methods raise StoreError where the file system or the
    database fails.
    """

    def __init__(self, api_conf: BaseAPIConf, *args: Any, **kwargs: Any) -> None:
        super().__init__(api_conf, *args, **kwargs)
        self._folder = os.path.abspath(api_conf["LOCAL_DIR"])
        # Clients of a server import this module, too, and need neither a database nor a storage.
        from sticky_pi_api.local.images import ImagesDatabase
        from sticky_pi_api.storage import DiskStorage

        self._storage = DiskStorage(api_conf)
        with blaming_the_store(self._folder):
            make_folders(self._folder)
            self._database = ImagesDatabase(self._folder)

    def get_images(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of images, as BaseAPISpec says."""
        what = checked_image_what(what)
        return self._with_urls(self._database.find(image_keys(info)), what)

    def get_image_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of series, as BaseAPISpec says."""
        return list(self.iter_image_series(info, what))

    def iter_image_series(self, info: Iterable[Info], what: str = "metadata") -> Iterator[Row]:
        """Yield the rows of series, as BaseAPISpec says."""
        what = checked_image_what(what)
        pages = chain.from_iterable(starmap(self._database.find_series, series_of(info)))
        return chain.from_iterable(self._with_urls(page, what) for page in pages)

    def put_uid_annotations(self, info: Iterable[Info]) -> list[Row]:
        """Add annotations to images, all of them or none, as BaseAPISpec says."""
        return self._annotations.add(info)

    def get_uid_annotations(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the annotations of images, as BaseAPISpec says, in the order of `info`, each once."""
        return self._annotations.find(info, what)

    def get_uid_annotations_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the annotations of series, as BaseAPISpec says."""
        return self._annotations.find_series(info, what)

    def get_users(self, info: Info | Sequence[Info] | None = None) -> list[Row]:
        """Return the rows of users, as BaseAPISpec says."""
        from sticky_pi_api.local.users import all_users
        from sticky_pi_api.validation.users import checked_patterns, matching

        patterns = checked_patterns(info)
        return matching(all_users(self._database), patterns)

    def put_users(self, info: Iterable[Info]) -> list[Row]:
        """Add users, as BaseAPISpec says, with a salted hash of each password that takes long to compute."""
        from sticky_pi_api.local.users import add_users
        from sticky_pi_api.validation.users import checked_users

        return add_users(self._database, checked_users(info))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @cached_property
    def _annotations(self) -> AnnotationsTable:
        from sticky_pi_api.local.annotations import AnnotationsTable

        return AnnotationsTable(self._database)

    def _with_urls(self, rows: list[Row], what: str) -> list[Row]:
        for row in rows:
            row["url"] = self._storage.get_url_for_image(row, what)
        return rows

    def _put_new_images(self, files: Iterable[FileOrPath | ImageParser]) -> list[Row]:
        images = (file if isinstance(file, ImageParser) else ImageParser(file) for file in files)
        return [self._store(image, unless_held=False)[0] for image in images]

    def _put_if_absent(self, image: ImageParser) -> tuple[Row, bool]:
        """Store an image unless its key is held; return the held row, and whether it is new.

        Raises StoreError, and for the picture's own file ImageChangedError and OSError.
        """
        return self._store(image, unless_held=True)

    def _store(self, image: ImageParser, *, unless_held: bool) -> tuple[Row, bool]:
        # An error of the picture's own file isn't the store's fault.
        blob = image.file_blob
        # The files are placed within the transaction: a row then means that its files are there, and of its picture.
        # After a crash, files without a row are replaced.
        with blaming_the_store(self._folder), self._storage.staged(image, blob) as place, self._database.writing():
            held = self._database.find([(image["device"], image["datetime"])]) if unless_held else []
            rows = held or [self._database.insert(image)]
            if not held:
                place()
        return self._with_urls(rows, "metadata")[0], not held

    def _get_ml_bundle_file_list(self, bundle_name: str, what: str = "all") -> list[Row]:
        with blaming_the_store(self._folder):
            return self._storage.get_ml_bundle_file_list(bundle_name, what)

    def _get_ml_bundle_upload_links(self, bundle_name: str, info: Iterable[Info]) -> list[Row]:
        with blaming_the_store(self._folder):
            return self._storage.get_ml_bundle_upload_links(bundle_name, info)

    def _send_bundle_file(self, file: FileInfo, url: str) -> None:
        from sticky_pi_api.bundles.files import blocks_of, open_file
        from sticky_pi_api.bundles.transfer import receive

        # An error of the file that is sent is not the store's fault.
        with unwrapped(), open_file(file["path"]) as stream, blaming_the_store(self._folder):
            receive(blocks_of(stream, file["path"]), url, file["key"], file["md5"], file["mtime"])

    def _fetch_bundle_file(self, row: Row, into: Receive) -> None:
        from sticky_pi_api.bundles.files import blocks_of, open_file

        with ExitStack() as stack:
            with blaming_the_store(self._folder):
                stream = stack.enter_context(open_file(row["url"]))
            try:
                into(blocks_of(stream, row["url"]))
            except FileFailedError as failure:
                with blaming_the_store(self._folder):
                    raise failure.error from None
