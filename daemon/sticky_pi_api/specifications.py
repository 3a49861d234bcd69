"""The methods of every API, and the embedded API, which answers checked requests from its database and storage."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from itertools import chain, starmap
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sticky_pi_api.configuration import BaseAPIConf
from sticky_pi_api.filesystem.durable import make_folders
from sticky_pi_api.filesystem.regular_files import FileFailedError, unwrapped
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.local.annotations import AnnotationsTable
from sticky_pi_api.local.errors import blaming_the_store
from sticky_pi_api.local.images import ImagesDatabase
from sticky_pi_api.local.users import UsersTable
from sticky_pi_api.storage import BaseStorage, DiskStorage, checked_what
from sticky_pi_api.types import FileOrPath, Info, Key, Row
from sticky_pi_api.validation.annotations import checked_annotation_what, checked_annotations
from sticky_pi_api.validation.queries import image_keys, series_of
from sticky_pi_api.validation.users import checked_patterns, checked_users, matching

if TYPE_CHECKING:
    # Few programs use bundles: their modules are imported with the first one.
    from sticky_pi_api.bundles.files import FileInfo
    from sticky_pi_api.bundles.transfer import Receive


class BaseAPISpec(ABC):
    """The methods that clients and the embedded API have in common; a context manager that closes itself."""

    @abstractmethod
    def get_images(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the images that are there, of those asked for.

        `info` has a `device` and a `datetime` in each entry. `url` of a row is where to get `what` of it (`metadata`,
        `image`, `thumbnail` or `thumbnail_mini`), '' for `metadata`. Raises ValueError where either makes no sense.
        """

    @abstractmethod
    def get_image_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the images that devices took in a time, one entry after the other.

        `info` has a `device` (a pattern for SQL's LIKE), a `start_datetime` and an `end_datetime`, which is no longer
        part of the time, in each entry. `url` as for `get_images`.
        """

    @abstractmethod
    def iter_image_series(self, info: Iterable[Info], what: str = "metadata") -> Iterator[Row]:
        """Yield the rows that get_image_series returns, with little memory however many there are.

        The embedded store's are sorted by device and datetime within each entry; a server's come one stretch of time
        after the other, sorted so within each.
        """

    @abstractmethod
    def put_uid_annotations(self, info: Iterable[Info]) -> list[Row]:
        """Add annotations to images, and return their rows, with an empty `json`.

        `info` has in each entry `annotations`, a list with a dict for each object that was found (`contour`, `name`,
        `fill_colour`, `stroke_colour`, `value`; they are kept as they are), and `metadata`: the `device`, `datetime`
        and `md5` of the image, the `algo_name` and the `algo_version`. Arrays of numpy are taken as lists. Raises
        ValueError where it makes no sense, or such an image isn't there, and sqlite3.IntegrityError where the image
        has annotations of this algorithm and version; nothing is added then.
        """

    @abstractmethod
    def get_uid_annotations(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the annotations of images, each with a `device` and a `datetime` in `info`.

        A row's `parent_image_id` is the `id` of its image's row. `json` is all that was given as text, if `what` is
        `json` (or `data`), and '' if it is `metadata`. Raises ValueError where either makes no sense.
        """

    @abstractmethod
    def get_uid_annotations_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the annotations of images that devices took in a time, as `get_image_series` has them.

        `what` as for `get_uid_annotations`.
        """

    @abstractmethod
    def get_users(self, info: Info | Sequence[Info] | None = None) -> list[Row]:
        """Return the rows of all users, or of those that match a dict of patterns, or one of several.

        A dict has patterns as for SQL's LIKE by columns; a user must be like all of them, whatever the case. There is
        no password in a row, nor a hash of one. Raises ValueError for what is no column, or no pattern.
        """

    @abstractmethod
    def put_users(self, info: Iterable[Info]) -> list[Row]:
        """Add users, all of them or none, and return their rows.

        `info` has a `username` and a `password` in each entry, and may have `email`, `is_admin`, `can_write` (neither,
        if it doesn't say so) and `model`, which means nothing. Raises ValueError where it makes no sense, and
        sqlite3.IntegrityError where a user of that name or address is there.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of connections and files; nothing can be asked afterwards."""

    def stalled_for(self) -> float:
        """Tell, from any thread, by how many seconds a request is past its deadline; without one, since the last.

        What is told grows only where nothing gets on. It is infinite for what makes no requests.
        """
        return math.inf

    @abstractmethod
    def _put_new_images(self, files: Iterable[FileOrPath | ImageParser]) -> list[Row]:
        """Store images, all of them new, and return their rows.

        Raises sqlite3.IntegrityError at the first whose device and datetime are held, and what else is wrong with one;
        those before it are stored.
        """

    @abstractmethod
    def _get_ml_bundle_file_list(self, bundle_name: str, what: str = "all") -> list[Row]:
        """Return `key`, `url`, `md5` (as of `multipart_etag`) and `mtime` of each file of a bundle; [] of none.

        `what` is `all`, `data` or `model`. Raises ValueError where either makes no sense.
        """

    @abstractmethod
    def _get_ml_bundle_upload_links(self, bundle_name: str, info: Iterable[Info]) -> list[Row]:
        """Return the entries of `info` (`key`, `md5` and `mtime`) that are wanted, with the `url` to send each to.

        Not wanted is what is there with the same md5, or as new. Raises ValueError for what makes no sense.
        """

    @abstractmethod
    def _send_bundle_file(self, file: FileInfo, url: Any) -> None:
        """Send a file to the `url` that it was given. Raises BundleError if it has changed since."""

    @abstractmethod
    def _fetch_bundle_file(self, row: Row, into: Receive) -> None:
        """Give a listed file to `into`, once more from its start where the connection broke."""

    def __enter__(self) -> Self:
        """Return it as it is."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


class BaseAPI(BaseAPISpec):
    """An API that finds rows in a database, and their files in a storage."""

    def __init__(self, api_conf: BaseAPIConf, *_args: Any, **_kwargs: Any) -> None:
        """Keep the configuration, and make the storage of files."""
        self._configuration = api_conf
        self._storage = self._make_storage(api_conf)

    def get_images(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the images that are there, as BaseAPISpec says."""
        checked = checked_what(what)
        return self._with_urls(self._find(image_keys(info)), checked)

    def get_image_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the images that devices took in a time, as BaseAPISpec says."""
        return list(self.iter_image_series(info, what))

    def iter_image_series(self, info: Iterable[Info], what: str = "metadata") -> Iterator[Row]:
        """Yield the rows of the images that devices took in a time, as BaseAPISpec says."""
        checked = checked_what(what)
        pages = chain.from_iterable(starmap(self._find_series, series_of(info)))
        return chain.from_iterable(self._with_urls(page, checked) for page in pages)

    @abstractmethod
    def _make_storage(self, api_conf: BaseAPIConf) -> BaseStorage:
        """Return the storage of the images' files."""

    @abstractmethod
    def _find(self, keys: Sequence[Key]) -> list[Row]:
        """Return the rows that are there, without `url`."""

    @abstractmethod
    def _find_series(self, device_pattern: str, start: datetime, end: datetime) -> Iterator[list[Row]]:
        """Yield the rows of a series in pages, without `url`."""

    def _with_urls(self, rows: list[Row], what: str) -> list[Row]:
        for row in rows:
            row["url"] = self._storage.get_url_for_image(row, what)
        return rows


class LocalAPI(BaseAPI):
    """The whole API in this process, on a folder: `LOCAL_DIR` of its configuration.

    Any number of threads and processes may use one folder. What the file system or the database can't do is a
    StoreError.
    """

    _storage: DiskStorage

    def __init__(self, api_conf: BaseAPIConf, *args: Any, **kwargs: Any) -> None:
        """Open the store; create the missing parts of it."""
        super().__init__(api_conf, *args, **kwargs)
        self._folder = os.path.abspath(api_conf["LOCAL_DIR"])
        with self._blaming_the_store():
            make_folders(self._folder)
            self._database = ImagesDatabase(self._folder)
        self._annotations = AnnotationsTable(self._database)
        self._users = UsersTable(self._database)

    def put_uid_annotations(self, info: Iterable[Info]) -> list[Row]:
        """Add annotations to images, all of them or none, as BaseAPISpec says."""
        annotations = checked_annotations(info)
        with self._blaming_the_store():
            return self._annotations.add(annotations)

    def get_uid_annotations(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the annotations of images, as BaseAPISpec says, in the order of `info`, each once."""
        what, keys = checked_annotation_what(what), image_keys(info)
        with self._blaming_the_store():
            return self._annotations.find(keys, what)

    def get_uid_annotations_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the annotations of series, as BaseAPISpec says."""
        what, series = checked_annotation_what(what), series_of(info)
        with self._blaming_the_store():
            return [row for one in series for row in self._annotations.find_series(*one, what)]

    def get_users(self, info: Info | Sequence[Info] | None = None) -> list[Row]:
        """Return the rows of users, as BaseAPISpec says."""
        patterns = checked_patterns(info)
        with self._blaming_the_store():
            return matching(self._users.all(), patterns)

    def put_users(self, info: Iterable[Info]) -> list[Row]:
        """Add users, as BaseAPISpec says; no password is kept, but a salted hash that takes long to compute."""
        users = checked_users(info)
        with self._blaming_the_store():
            return self._users.add(users)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _make_storage(self, api_conf: BaseAPIConf) -> DiskStorage:
        return DiskStorage(api_conf)

    def _find(self, keys: Sequence[Key]) -> list[Row]:
        with self._blaming_the_store():
            return self._database.find(keys)

    def _find_series(self, device_pattern: str, start: datetime, end: datetime) -> Iterator[list[Row]]:
        pages = self._database.find_series(device_pattern, start, end)
        while True:
            with self._blaming_the_store():
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _put_new_images(self, files: Iterable[FileOrPath | ImageParser]) -> list[Row]:
        images = (file if isinstance(file, ImageParser) else ImageParser(file) for file in files)
        return [self._store(image, unless_held=False)[0] for image in images]

    def _put_if_absent(self, image: ImageParser) -> tuple[Row, bool]:
        """Store an image unless its key is held; return the row that is held then, and whether it is new.

        Raises StoreError for what is wrong with the store, ImageChangedError and OSError for the picture's own file.
        """
        return self._store(image, unless_held=True)

    def _store(self, image: ImageParser, *, unless_held: bool) -> tuple[Row, bool]:
        # Outside: what is wrong with the picture's own file is not the store's fault.
        blob = image.file_blob
        with self._blaming_the_store():
            staged = self._storage.stage(image, blob)
            try:
                # One transaction, so that files and row are of the same picture whoever else is at work, and that
                # a row means that its files are there. After a crash within it, files without a row are replaced.
                with self._database.writing():
                    held = self._database.find([(image["device"], image["datetime"])]) if unless_held else []
                    rows = held or [self._database.insert(image)]
                    if not held:
                        self._storage.place(staged)
            finally:
                self._storage.discard(staged)
        return self._with_urls(rows, "metadata")[0], not held

    def _get_ml_bundle_file_list(self, bundle_name: str, what: str = "all") -> list[Row]:
        with self._blaming_the_store():
            return self._storage.get_ml_bundle_file_list(bundle_name, what)

    def _get_ml_bundle_upload_links(self, bundle_name: str, info: Iterable[Info]) -> list[Row]:
        with self._blaming_the_store():
            return self._storage.get_ml_bundle_upload_links(bundle_name, info)

    def _send_bundle_file(self, file: FileInfo, url: str) -> None:
        from sticky_pi_api.bundles.files import blocks_of, open_file
        from sticky_pi_api.bundles.transfer import receive

        # An error of the file that is sent is not the store's fault.
        with unwrapped(), open_file(file["path"]) as stream, self._blaming_the_store():
            receive(blocks_of(stream, file["path"]), url, file["key"], file["md5"], file["mtime"])

    def _fetch_bundle_file(self, row: Row, into: Receive) -> None:
        from sticky_pi_api.bundles.files import blocks_of, open_file

        with ExitStack() as stack:
            with self._blaming_the_store():
                stream = stack.enter_context(open_file(row["url"]))
            try:
                into(blocks_of(stream, row["url"]))
            except FileFailedError as failure:
                with self._blaming_the_store():
                    raise failure.error from None

    def _blaming_the_store(self) -> AbstractContextManager[None]:
        return blaming_the_store(self._folder)
