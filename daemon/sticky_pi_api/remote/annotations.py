"""Get annotations from a server in parts, and put them where the server has the images and no such annotations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sticky_pi_api.put_images.remote import KEYS_PER_QUESTION
from sticky_pi_api.remote.images import chunks, find_images, find_series, write_keys
from sticky_pi_api.remote.responses import WrongShapeError, read_annotations, read_numbered_rows
from sticky_pi_api.remote.server import Server
from sticky_pi_api.sqlite.connection import IntegrityError
from sticky_pi_api.types import Info, Key, Row, key_of, make_key
from sticky_pi_api.validation.annotations import Annotations, checked_annotation_what, checked_annotations, in_requests
from sticky_pi_api.validation.queries import Series

IMAGES_PER_JSON_QUESTION: Final = 20
"""Images whose annotations' JSON is asked for at once: with thousands of objects each, the answer isn't too large"""

LARGEST_REQUEST: Final = 2**23
"""Annotations that are sent at once, in bytes, where there are several; servers take 100 MB"""

_Identity = tuple[int, str, str]


class ServerAnnotations:
    """The annotations of a server; each method raises RemoteError where the server doesn't do it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def find(self, keys: Iterable[Key], what: str) -> list[Row]:
        """Return the annotations of images; nothing is asked where `keys` is empty."""
        most = KEYS_PER_QUESTION if what == "metadata" else IMAGES_PER_JSON_QUESTION
        path = f"/get_uid_annotations/{checked_annotation_what(what)}"
        return [
            row for chunk in chunks(keys, most) for row in self._server.ask(path, write_keys(chunk), read_annotations)
        ]

    def find_series(self, series: Sequence[Series], what: str) -> list[Row]:
        """Return the annotations of the images of series; their JSON in parts."""
        what = checked_annotation_what(what)
        path = "/get_uid_annotations_series/metadata"
        rows = [row for one in series for row in find_series(self._server, path, *one, read=read_annotations)]
        if what == "metadata" or not rows:
            return rows
        annotated = {row["parent_image_id"] for row in rows}
        path = "/get_image_series/metadata"
        images = [row for one in series for row in find_series(self._server, path, *one, read=read_numbered_rows)]
        return self.find((key_of(row) for row in images if row["id"] in annotated), what)

    def put(self, info: Iterable[Info]) -> list[Row]:
        """Add annotations in requests of LARGEST_REQUEST, and return their rows, `json` empty.

        The server is asked first whether it has all of the images and none of the annotations. It adds all annotations
        of a request or none. Raises ValueError where the server doesn't have an image, or has it with other bytes, and
        the errors of `Server.tell`.
        """
        annotations = checked_annotations(info, for_server=True)
        parents = self._parents(annotations)
        seen = set(self._held(annotations))
        for one in annotations:
            if (identity := _identity(one, parents)) in seen:
                raise IntegrityError(one.held_already())
            seen.add(identity)
        return [row for group in in_requests(annotations, LARGEST_REQUEST) for row in self._send(group, parents)]

    def _parents(self, annotations: Iterable[Annotations]) -> dict[Key, int]:
        """Return the ids of the images. Raises ValueError where the server doesn't have one, or has another."""
        keys = [one.key for one in annotations]
        rows = find_images(self._server, keys, "/get_images/metadata", read=read_numbered_rows)
        held = {key_of(row): row for row in rows}
        for one in annotations:
            one.check_parent(held.get(make_key(*one.key)))
        return {key: row["id"] for key, row in held.items()}

    def _held(self, annotations: Iterable[Annotations]) -> dict[_Identity, Row]:
        """Return the annotations that the server has of these images."""
        rows = self.find((one.key for one in annotations), "metadata")
        return {(row["parent_image_id"], row["algo_name"], row["algo_version"]): row for row in rows}

    def _send(self, group: Sequence[Annotations], parents: Mapping[Key, int]) -> list[Row]:
        identities = [_identity(one, parents) for one in group]

        def read(body: bytes) -> list[Row]:
            rows = [{**row, "json": ""} for row in read_annotations(body)]
            if [(row["parent_image_id"], row["algo_name"], row["algo_version"]) for row in rows] != identities:
                raise WrongShapeError("without the rows of the annotations that it got")
            return rows

        def look() -> list[Row | None]:
            held = self._held(group)
            return [held.get(identity) for identity in identities]

        body = f"[{', '.join(one.json for one in group)}]".encode()
        return self._server.tell("/put_uid_annotations", body, read, look)


def _identity(one: Annotations, parents: Mapping[Key, int]) -> _Identity:
    return parents[make_key(*one.key)], one.algo_name, one.algo_version
