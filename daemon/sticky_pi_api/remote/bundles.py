"""List, send and fetch the bundles of a server, whose files lie in a storage on another host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sticky_pi_api.bundles.files import FileInfo, checked_what, open_file
from sticky_pi_api.bundles.keys import checked_entries, checked_key, checked_name, is_mtime
from sticky_pi_api.bundles.transfer import BundleForm, OtherBytesError, Receive
from sticky_pi_api.exceptions import UnavailableError
from sticky_pi_api.filesystem.safe_open import unwrapped
from sticky_pi_api.remote.responses import WrongShapeError, read_list
from sticky_pi_api.remote.server import Server
from sticky_pi_api.transport.credentials import SignedUrl
from sticky_pi_api.transport.rate_limit import RateLimit
from sticky_pi_api.transport.status_codes import OK, STORED, link_failure_of
from sticky_pi_api.types import Info, Row

_BUNDLE_TIME: Final = 600.0
"""Time that a question about a bundle may take longer than other questions, in seconds: it may have many files"""

_PAGES: Final = (b"<html", b"<!doc")
"""Beginnings of a network's login page"""


class ServerBundles:
    """The bundles of a server; each method raises RemoteError where the server, or its storage, doesn't do it.

    The links of a server lead to a storage; neither the token nor the account is sent there.
    """

    def __init__(self, server: Server, limit: RateLimit) -> None:
        self._server = server
        self._limit = limit

    def files(self, bundle_name: str, what: str) -> list[Row]:
        """Return a bundle's files, as BaseAPISpec says; `url` is a link. Raises BundleError for an unusable key."""
        path = f"/_get_ml_bundle_file_list/{checked_what(what)}"
        rows = self._server.ask(path, checked_name(bundle_name), self._read_files, seconds=_BUNDLE_TIME)
        for row in rows:
            checked_key(row["key"])
        return rows

    def wanted(self, bundle_name: str, info: Iterable[Info]) -> list[Row]:
        """Return the files that the server wants, as BaseAPISpec says; `url` has the link and its form's fields."""
        checked_name(bundle_name)
        asked = {
            entry["key"]: {"bundle_name": bundle_name, **{name: entry[name] for name in ("key", "md5", "mtime")}}
            for entry in checked_entries(info)
        }
        if not asked:
            return []  # servers fail at an empty question

        def read(body: bytes) -> list[Row]:
            return [{**asked[link["key"]], "url": link["url"]} for link in self._read_links(body, asked)]

        return self._server.ask("/_get_ml_bundle_upload_links", list(asked.values()), read, seconds=_BUNDLE_TIME)

    def send(self, file: FileInfo, url: Mapping[str, Any]) -> None:
        """Send a file to a link with the fields of its form. Raises BundleError and OSError for the file as well."""
        link = SignedUrl.of(url["url"], self._server.address)
        with unwrapped(), open_file(file["path"]) as stream:
            form = BundleForm(file, url["fields"], stream, self._limit)
            answer = self._server.http.post_form(link, form, form.content_type)
        if answer.status not in STORED or answer.body.lstrip()[:5].lower() in _PAGES:
            raise link_failure_of(answer, link.address, self._server.http.wall_clock)

    def fetch(self, row: Row, into: Receive) -> None:
        """Fetch a listed file; `into` takes its blocks. Raises OSError where `into` raises it."""
        link = SignedUrl.of(row["url"], self._server.address)
        try:
            with unwrapped():
                answer = self._server.http.get(link, into)
        except OtherBytesError as error:
            raise UnavailableError(f"{link.address} sends other bytes than announced. {error}") from None
        if answer.status != OK:
            raise link_failure_of(answer, link.address, self._server.http.wall_clock)

    def _read_files(self, body: bytes) -> list[Row]:
        rows = read_list(body)
        for row in rows:
            if not all(isinstance(row.get(name), str) for name in ("key", "url", "md5")):
                raise WrongShapeError("with files that have no key, url or md5")
            if not is_mtime(row.get("mtime")):
                raise WrongShapeError("with a file that has no mtime")
            self._check_link(row["url"])
        return rows

    def _read_links(self, body: bytes, asked: Mapping[str, object]) -> Sequence[Row]:
        links = {}
        for row in read_list(body):
            if not isinstance(row.get("key"), str) or row["key"] not in asked:
                raise WrongShapeError("with links for files that it wasn't asked about")
            url = row.get("url")
            if not isinstance(url, dict) or not isinstance(url.get("fields"), dict):
                raise WrongShapeError("with links that have no fields")
            if not all(isinstance(value, str) for value in url["fields"].values()):
                raise WrongShapeError("with links whose fields aren't text")
            self._check_link(url.get("url"))
            links[row["key"]] = row
        return list(links.values())

    def _check_link(self, url: object) -> None:
        try:
            SignedUrl.of(url, self._server.address)
        except ValueError as error:
            raise WrongShapeError(f"with {error}") from None
