"""Machine-learning bundles: the API's two verbs, and the storage that their links lead to, as S3 is one."""

import hashlib
import hmac
import json
import os
import secrets
import shutil
from base64 import b64decode, b64encode
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from .multipart import MultipartError, read_parts
from .wire import Answer

LIST, LINKS = "_get_ml_bundle_file_list", "_get_ml_bundle_upload_links"
PREFIX = "/bucket/"
_FOLDERS = {"all": None, "data": ("data", "config"), "model": ("output", "config")}


class Bundles:
    """The bundles in a folder: their files lie under their quoted keys, so that none can lie elsewhere."""

    def __init__(self, folder):
        """Open the folder, made where it isn't there; links are good until the process ends."""
        self._folder = Path(folder) / "bundles"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._secret = secrets.token_bytes(16)

    def answer(self, verb, what, asked, base_url):
        """Return what is answered to a question of the API's; the links begin with `base_url`."""
        if verb == LIST:
            return self._list(asked, _FOLDERS[what], base_url)
        return [self._link(entry, base_url) for entry in asked if self._is_wanted(entry)]

    def answer_storage(self, request):
        """Answer a request that follows a link."""
        if request.method == "GET":
            return self._give(request)
        return self._take(request) if request.method == "POST" else _error(405, "MethodNotAllowed")

    def hold(self, bundle, key, blob, mtime):
        """Hold a file, whatever its key."""
        path = self._path(bundle, key)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(4)}")
        temporary.write_bytes(blob)
        os.utime(temporary, (mtime, mtime))
        temporary.rename(path)

    def files(self, bundle):
        """Return the bytes and mtimes of a bundle's files by key."""
        paths = sorted((self._folder / quote(bundle, safe="")).glob("[!.]*"))
        return {unquote(path.name): (path.read_bytes(), path.stat().st_mtime) for path in paths}

    def clear(self):
        """Hold nothing any more."""
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    def _path(self, bundle, key):
        # A leading dot would hide it from `files`.
        return self._folder / quote(bundle, safe="") / quote(key, safe="").replace(".", "%2E")

    def _list(self, bundle, folders, base_url):
        return [
            {
                "key": key,
                "url": f"{base_url}{PREFIX}{quote(bundle, safe='')}/{quote(key, safe='')}?{self._signed(bundle, key)}",
                "md5": etag_of(blob),
                "mtime": mtime,
            }
            for key, (blob, mtime) in self.files(bundle).items()
            if folders is None or Path(key).parent.name in folders
        ]

    def _is_wanted(self, entry):
        blob, mtime = self.files(entry["bundle_name"]).get(entry["key"], (None, float("-inf")))
        return blob is None or (etag_of(blob) != entry["md5"] and mtime < entry["mtime"])

    def _link(self, entry, base_url):
        policy = b64encode(json.dumps(entry).encode()).decode()
        fields = {"key": entry["key"], "policy": policy, "x-amz-signature": self._sign(policy)}
        return {**entry, "url": {"url": f"{base_url}{PREFIX}", "fields": fields}}

    def _take(self, request):
        try:
            *parts, file = read_parts(request.headers.get("Content-Type", ""), request.body)
        except MultipartError:
            return _error(400, "MalformedPOSTRequest")
        fields = {part.name: part.content.decode() for part in parts}
        if file.name != "file" or not fields.keys() >= {"key", "policy", "x-amz-signature"}:
            return _error(400, "InvalidArgument")
        if request.headers["Authorization"] or fields["x-amz-signature"] != self._sign(fields["policy"]):
            return _error(403, "AccessDenied")
        entry = json.loads(b64decode(fields["policy"]))
        self.hold(entry["bundle_name"], entry["key"], file.content, entry["mtime"])
        return Answer(204, b"", "text/plain", (("ETag", f'"{etag_of(file.content)}"'),))

    def _give(self, request):
        parts = urlsplit(request.path)
        bundle, key = (unquote(part) for part in parts.path.removeprefix(PREFIX).split("/", 1))
        if request.headers["Authorization"] or parse_qs(parts.query) != parse_qs(self._signed(bundle, key)):
            return _error(403, "AccessDenied")
        if key not in (files := self.files(bundle)):
            return _error(404, "NoSuchKey")
        return Answer(200, files[key][0], "binary/octet-stream", (("ETag", f'"{etag_of(files[key][0])}"'),))

    def _signed(self, bundle, key):
        return f"X-Amz-Signature={self._sign(f'{bundle}/{key}')}"

    def _sign(self, text):
        return hmac.new(self._secret, text.encode(), "sha256").hexdigest()


def etag_of(blob):
    """Return the ETag of what came in one part, however large; a dash is only in that of what came in several."""
    return hashlib.md5(blob, usedforsecurity=False).hexdigest()


def _error(status, code):
    return Answer(status, f"<Error><Code>{code}</Code></Error>".encode(), "application/xml")
