"""The API itself, behind the front: who asks, what for, and what the answer is."""

import json
import sqlite3

from .accounts import read_credentials
from .annotations import Annotations
from .bundles import LINKS, LIST
from .generations import GENERATIONS
from .rows import written
from .upload import PATH, Uploads
from .users import Users
from .wire import REFUSED, UNAUTHORISED, json_answer, page

_SUFFIXES = {"metadata": None, "image": "", "thumbnail": ".thumbnail", "thumbnail-mini": ".thumbnail-mini"}
"""What follows an object's name, by what is asked for; metadata have no object"""

_WITH_WHAT = ("get_images", "get_image_series", "get_uid_annotations", "get_uid_annotations_series", LIST)
_WITHOUT_WHAT = ("get_token", PATH[1:], "put_uid_annotations", "get_users", "put_users", LINKS)


class Api:
    """Answers requests whose body is whole."""

    def __init__(self, options, store, bundles, accounts, object_url):
        """Keep what is needed; the rows' urls begin with `object_url`."""
        self._generation = GENERATIONS[options.generation]
        self._object_url = object_url
        self._store = store
        self._bundles = bundles
        self._accounts = accounts
        self._uploads = Uploads(options, self._generation, store)
        self._annotations = Annotations(self._generation, store)
        self._users = Users(self._generation, store)

    def answer(self, request, upload, mode):
        """Return the answer; `upload` is the body of one, taken apart."""
        path = request.path.partition("?")[0]
        _, verb, *what = path.split("/")
        if not (verb in _WITHOUT_WHAT and not what) and not (verb in _WITH_WHAT and len(what) == 1):
            return page(404)
        if request.method != "POST":
            return page(405, ("Allow", "POST, OPTIONS"))
        credentials = read_credentials(request.headers["Authorization"])
        if verb == "get_token":
            account = self._accounts.by_anything(credentials)
            return json_answer(self._accounts.new_token(account)) if account else UNAUTHORISED
        account = self._accounts.by_token(credentials)
        return self._work(verb, what, request.body, account, upload=upload, mode=mode) if account else UNAUTHORISED

    def _work(self, verb, what, body, account, *, upload, mode):
        if verb in (PATH[1:], "put_uid_annotations", "put_users", LINKS) and not account.may_write:
            return page(403)
        if verb == PATH[1:]:
            return REFUSED if mode.name == "refuse_uploads" else self._uploads.put(upload, account)
        try:
            asked = json.loads(body)
            if verb in (LIST, LINKS):
                return json_answer(self._bundles.answer(verb, "".join(what), asked, self._object_url))
            return json_answer(self._rows(verb, asked, *what, account=account))
        except (ValueError, KeyError, TypeError, AttributeError, sqlite3.Error):
            return REFUSED

    def _rows(self, verb, asked, what="", *, account):
        match verb:
            case "get_users":
                return self._users.find(asked)
            case "put_users":
                return self._users.put(asked)
            case "put_uid_annotations":
                return self._annotations.put(asked, account)
            case "get_uid_annotations":
                return self._annotations.of_images(asked, what)
            case "get_uid_annotations_series":
                return self._annotations.of_series(asked, what)
        suffix = _SUFFIXES[what]
        rows = self._images(asked) if verb == "get_images" else self._series(asked)
        return [written(row, self._generation, self._url(row, suffix)) for row in rows]

    def _images(self, entries):
        if not entries and not self._generation.takes_empty_lists:
            raise ValueError("an empty list")
        keys = ((entry["device"], self._generation.read_datetime(entry["datetime"])) for entry in entries)
        return [row for key in keys if (row := self._store.find(*key))]

    def _series(self, entries):
        read = self._generation.read_datetime
        return [
            row
            for entry in entries
            for row in self._store.find_series(
                entry["device"], read(entry["start_datetime"]), read(entry["end_datetime"])
            )
        ]

    def _url(self, row, suffix):
        return "" if suffix is None else f"{self._object_url}/objects/{row.key.object_name}{suffix}"
