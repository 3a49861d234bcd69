"""The API itself, behind the front: who asks, what for, and what the answer is."""

import json

from .accounts import read_credentials
from .generations import GENERATIONS
from .rows import written
from .upload import PATH, Uploads
from .wire import REFUSED, UNAUTHORISED, json_answer, page

_SUFFIXES = {"metadata": None, "image": "", "thumbnail": ".thumbnail", "thumbnail-mini": ".thumbnail-mini"}
"""What follows an object's name, by what is asked for; metadata have no object"""


class Api:
    """Answers requests whose body is whole."""

    def __init__(self, options, store, accounts, object_url):
        """Keep what is needed; the rows' urls begin with `object_url`."""
        self._generation = GENERATIONS[options.generation]
        self._object_url = object_url
        self._store = store
        self._accounts = accounts
        self._uploads = Uploads(options, self._generation, store)

    def answer(self, request, upload, mode):
        """Return the answer; `upload` is the body of one, taken apart."""
        path = request.path.partition("?")[0]
        _, verb, *what = path.split("/")
        if path not in ("/get_token", PATH) and (verb not in ("get_images", "get_image_series") or len(what) != 1):
            return page(404)
        if request.method != "POST":
            return page(405, ("Allow", "POST, OPTIONS"))
        credentials = read_credentials(request.headers["Authorization"])
        if verb == "get_token":
            account = self._accounts.by_anything(credentials)
            return json_answer(self._accounts.new_token(account)) if account else UNAUTHORISED
        account = self._accounts.by_token(credentials)
        if account is None:
            return UNAUTHORISED
        if path == PATH:
            return self._put(upload, account, mode)
        return self._get(verb, what[0], request.body)

    def _put(self, upload, account, mode):
        if not account.may_write:
            return page(403)
        return REFUSED if mode.name == "refuse_uploads" else self._uploads.put(upload, account)

    def _get(self, verb, what, body):
        find = {"get_images": self._images, "get_image_series": self._series}[verb]
        try:
            suffix = _SUFFIXES[what]
            rows = find(json.loads(body))
        except (ValueError, KeyError, TypeError):
            return REFUSED
        return json_answer([written(row, self._generation, self._url(row, suffix)) for row in rows])

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
