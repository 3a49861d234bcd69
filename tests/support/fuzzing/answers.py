"""Mutated answers of a server: every verb of the client ends in a documented way, and no picture counts as sent for it.

The answers are a real server's, of which one or two are changed: their status, headers, JSON, or any of their bytes.
"""

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import warnings
from contextlib import suppress
from datetime import datetime

from sticky_pi_api.client import RemoteClient
from sticky_pi_api.exceptions import ConflictWarning, NoBundleWarning, PutImagesError, StickyPiError
from sticky_pi_api.put_images.holdings import Claim, Holding
from sticky_pi_api.transport.cancellation import Timeouts
from sticky_pi_api.types import Blame, Outcome

from . import commands, seeds
from .mutations import INTERESTING, anything, mutate, mutate_value
from .wire_server import WireServer

PASSWORD = "pollen-4711"
_QUICK = Timeouts(connect=2.0, read=1.0, whole=2.0, again=0.2)
_IMAGES, _UPLOAD, _OBJECT = "/get_images/", "/_put_new_images", "/object"
_SERIES_ASKED, _ANNOTATIONS = "/get_image_series/", ("/get_uid_annotations_series/", "/get_uid_annotations/")
_KEY = {"device": seeds.DEVICE, "datetime": f"{seeds.TAKEN:%Y-%m-%d_%H-%M-%S}"}
_SERIES = {"device": "%", "start_datetime": "2020-07-01_00-00-00", "end_datetime": "2020-08-01_00-00-00"}
_BUNDLE_FILE = b"learning_rate: 0.1\n"
_STATUSES = [
    *map(
        int, "100 101 103 199 201 202 204 205 206 226 299 300 301 302 303 304 307 308 400 401 402 403 404 405".split()
    ),
    *map(
        int, "407 408 409 410 411 413 416 418 421 425 429 451 499 500 501 502 503 504 507 511 520 599 600 999".split()
    ),
]
_HEADERS = {
    "Content-Length": ("", "0", "-1", "1", "99999999999999999999", "1e3", "+5", "0x10", "5, 5", "\xb2", "9" * 5000),
    "Transfer-Encoding": ("chunked", "identity", "gzip, chunked", "nonsense"),
    "Content-Encoding": ("gzip", "deflate", "br", "zstd", "identity", "gzip, gzip", "nonsense"),
    "Content-Type": ("", "text/html; charset=x", "application/json; charset=utf-16", "\xff"),
    "Retry-After": ["", *"0 5 -5 99999999999 1e9 nan ²".split(), "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Foo 0"],
    "Date": ("", "Wed, 21 Oct 2015 07:28:00 GMT", "Mon, 01 Jan 0001 00:00:00 +9999", "x"),
    "Location": ("", "/", "//", "http://[::1", "\x1b[31m", "a" * 5000),
    "ETag": ("", '""', "W/x", '"d41d8cd98f00b204e9800998ecf8427e"', '"D41D8CD98F00B204E9800998ECF8427E"', "x" * 40),
    "Content-Range": ("", "bytes 0-0/1", "bytes 0-0/*", "bytes 0-0/" + "9" * 5000, "bytes 0-0/-1", "items 1"),
    "Connection": ("close", "keep-alive", "upgrade", ""),
    "Set-Cookie": ("a=b", "a" * 3000, "=;;;", "x=\xff"),
    "WWW-Authenticate": ("Basic", "Digest realm=x", "Negotiate", ""),
    "X" * 70: ("y" * 60000, "y" * 70000),
    "": ("", ":"),
}
_TOKENS = [
    *(b"\r\n", b"\n", b"\r\n\r\n", b"0\r\n\r\n", b"\0", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip"),
    *b": HTTP/1.1 HTTP/1.0 HTTP/9.9 HTTP/2 200 500 Content-Length [ ] { } null NaN 1e999 <html>".split(),
    *rb'"md5" "device" "datetime" "url" "token" \ud800 \u0000'.split(),
    b"9" * 5000,
]
_LARGE = tuple(
    gzip.compress(b"[" + unit * (2**26 // len(unit)) + b"0]") for unit in (b" ", b"[],", b"{},", b'"x",', b"9")
)
"""Few bytes that unpack to many"""
_NEVER_LARGE = (_IMAGES, _UPLOAD, "/get_token")
"""The paths of which the client knows how much they can have to say"""


class Target:
    """A client with a server that answers so; now and then the daemon with it."""

    def __init__(self, folder):
        self._folder = folder
        self._picture = folder / "images" / seeds.NAME
        self._picture.parent.mkdir()
        self._picture.write_bytes(seeds.pictures()[0])
        self._md5 = hashlib.md5(self._picture.read_bytes(), usedforsecurity=False).hexdigest()
        (folder / "bundle" / "config").mkdir(parents=True)
        (folder / "bundle" / "config" / "config.yaml").write_bytes(_BUNDLE_FILE)
        (folder / "ca.pem").write_text(_CERTIFICATE, "ascii")
        self._server = WireServer()

    def close(self):
        self._server.close()

    def try_one(self, random):
        (verb,) = random.choices(list(_VERBS), [_OFTEN.get(each, 1) for each in _VERBS])
        self._answer(random, _VERBS[verb])
        if verb is Target._drain:
            return self._drain()
        before = _listing(self._folder)
        with self._client() as client:
            try:
                verb(self, client)
                end = "answered"
            except (StickyPiError, sqlite3.IntegrityError) as error:
                _check_error(error)
                end = type(error).__name__
            except ValueError as error:
                assert verb is Target._put_annotations, verb
                end = f"put_uid_annotations: {type(error).__name__}"
        shutil.rmtree(self._folder / "client", ignore_errors=True)
        shutil.rmtree(self._folder / "fetched", ignore_errors=True)
        assert _listing(self._folder) == before
        return end

    def _client(self):
        # Its own certificate alone: the system's take long to load.
        return RemoteClient(
            self._folder / "client",
            "127.0.0.1",
            "trap",
            PASSWORD,
            "http",
            self._server.port,
            ca_file=os.fspath(self._folder / "ca.pem"),
            parallel=1,
            timeouts=_QUICK,
        )

    def _get_images(self, client):
        _check_rows(client.get_images([_KEY], "image"), {seeds.DEVICE})

    def _get_series(self, client):
        _check_rows(client.get_image_series([_SERIES], "metadata"), None)

    def _put_images(self, client):
        outcomes = []
        client.put_images([os.fspath(self._picture)], on_outcome=outcomes.append)
        self._check_outcomes(outcomes)

    def _put_and_raise(self, client):
        with suppress(PutImagesError), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConflictWarning)
            rows = client.put_images([os.fspath(self._picture)])
            assert all(row["md5"] == self._md5 for row in rows)

    def _holdings(self, client):
        size = self._picture.stat().st_size
        (found,) = client.holdings([Claim(seeds.DEVICE, seeds.TAKEN, self._md5, size)])
        assert isinstance(found, Holding)

    def _annotations(self, client):
        client.get_uid_annotations([_KEY], "json")
        client.get_uid_annotations_series([_SERIES], "json")
        client.get_images_with_uid_annotations_series([_SERIES], "metadata", "metadata")

    def _put_annotations(self, client):
        metadata = {**_KEY, "md5": self._md5, "algo_name": "detector", "algo_version": "1"}
        client.put_uid_annotations([{"annotations": [], "metadata": metadata}])

    def _users(self, client):
        client.get_users()
        client.get_users({"username": "t%"})

    def _put_users(self, client):
        client.put_users([{"username": "new", "password": "x", "email": "new@example.org"}])

    def _get_bundle(self, client):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoBundleWarning)
            fetched = client.get_ml_bundle_dir("moth", self._folder / "fetched", "all")
        for file in fetched:
            assert os.path.realpath(file["path"]).startswith(os.fspath(self._folder / "fetched"))
            with open(file["path"], "rb") as stream:
                assert hashlib.md5(stream.read(), usedforsecurity=False).hexdigest() == file["md5"]

    def _put_bundle(self, client):
        client.put_ml_bundle_dir("moth", self._folder / "bundle", "all")

    def _check_outcomes(self, outcomes):
        (one,) = outcomes
        if one.outcome in (Outcome.STORED, Outcome.HELD):
            assert one.row["md5"] == self._md5
            assert (one.row["device"].lower(), one.row["datetime"]) == (seeds.DEVICE, seeds.TAKEN)
        elif one.error is not None:
            _check_error(one.error)
        else:
            raise AssertionError(one)
        uploads = [path for path in self._server.requests if path.startswith("/_put_new_images")]
        # A second one may follow a 401 only.
        assert len(uploads) <= (2 if b" 401 " in self._server.answers["/_put_new_images"][0][:20] else 1)

    def _drain(self):
        """Let the daemon send its picture there: it notes what became of it, and can go on."""
        state = self._folder / "state"
        flags = [
            f"--image-dir={self._picture.parent}",
            f"--state-dir={state}",
            f"--api-url=http://127.0.0.1:{self._server.port}",
        ]
        account = {"SPI_API_USERNAME": "trap", "SPI_API_PASSWORD": PASSWORD}
        try:
            pictures = []
            while not pictures:  # a busy machine has no time for it in a second
                done = commands.run(*flags, "drain", "--deadline=1", environ=account)
                assert done.status in (0, 75), done
                assert "CRITICAL" not in done.err, done.err
                listed = commands.run(*flags, "list", "--json", environ=account)
                pictures = json.loads(listed.out)
            (picture,) = pictures
            assert (picture["state"] == "uploaded") == (picture["receipt_md5"] == self._md5)
            assert picture["state"] in ("pending", "uploaded", "conflict", "rejected")
            assert commands.run(*flags, "status", environ=account).status == 0
            assert PASSWORD not in done.err + listed.out
        finally:
            shutil.rmtree(state, ignore_errors=True)
        return f"drain: {picture['state']}"

    def _answer(self, random, paths):
        """Have the server answer rightly, but for one or two paths that matter."""
        good = self._good(held=random.random() < 0.4)
        wrong = {"/get_token"} if random.random() < 0.05 else set(random.choices(paths, k=random.choice((1, 1, 2))))
        self._server.answers = {
            path: _wrong_answer(random, path, *answer) if path in wrong else (_written(*answer), False)
            for path, answer in good.items()
        }
        self._server.requests.clear()

    def _good(self, *, held):
        base = f"http://127.0.0.1:{self._server.port}"
        row = {
            "id": 1,
            "device": seeds.DEVICE,
            "datetime": "2020-07-05T10:07:16Z",
            "md5": self._md5,
            "width": 64,
            "height": 48,
            "lat": 49.2,
            "lng": None,
            "alt": 22.0,
            "temp": 20.7,
            "hum": 82.0,
            "device_version": "3.1.0",
            "url": f"{base}/object",
            "datetime_created": "2020-07-05_10-08-00",
            "api_version": "1",
            "api_user": "trap",
        }
        annotation = {
            "id": 7,
            "parent_image_id": 1,
            "algo_name": "detector",
            "algo_version": "0",
            "n_objects": 0,
            "json": "{}",
        }
        user = {
            "username": "trap",
            "email": "t@example.org",
            "is_admin": 0,
            "can_write": True,
            "datetime_created": None,
        }
        etag = hashlib.md5(_BUNDLE_FILE, usedforsecurity=False).hexdigest()
        file = {"key": "config/config.yaml", "url": f"{base}/file", "md5": etag, "mtime": 1652811355.0}
        link = {**file, "bundle_name": "moth", "url": {"url": f"{base}/upload", "fields": {"key": "x", "policy": "y"}}}
        values = {
            "/get_token": {"token": "t0ken", "expiration": 1652811355},
            "/get_images/": [row] if held else [],
            "/get_image_series/": [row],
            "/_put_new_images": [{**row, "id": None}],
            "/get_uid_annotations_series/": [annotation],
            "/get_uid_annotations/": [annotation],
            "/put_uid_annotations": [{**annotation, "algo_version": "1", "json": ""}],
            "/get_users": [user],
            "/put_users": [{**user, "username": "new", "email": "new@example.org"}],
            "/_get_ml_bundle_file_list/": [file],
            "/_get_ml_bundle_upload_links": [link],
        }
        size = self._picture.stat().st_size
        stored = [("ETag", f'"{self._md5}"'), ("Content-Range", f"bytes 0-0/{size}")]
        return {
            **{path: (200, [("Content-Type", "application/json")], value) for path, value in values.items()},
            "/object": (206, stored, b"\xff"),
            "/file": (200, [("ETag", f'"{etag}"')], _BUNDLE_FILE),
            "/upload": (204, [], b""),
        }


_VERBS = {
    Target._get_images: (_IMAGES,),
    Target._get_series: (_SERIES_ASKED,),
    Target._put_images: (_IMAGES, _UPLOAD, _UPLOAD),
    Target._put_and_raise: (_IMAGES, _UPLOAD),
    Target._drain: (_IMAGES, _UPLOAD),
    Target._holdings: (_IMAGES, _OBJECT),
    Target._annotations: (_SERIES_ASKED, *_ANNOTATIONS),
    Target._put_annotations: (_IMAGES, *_ANNOTATIONS, "/put_uid_annotations"),
    Target._users: ("/get_users",),
    Target._put_users: ("/get_users", "/put_users"),
    Target._get_bundle: ("/_get_ml_bundle_file_list/", "/file"),
    Target._put_bundle: ("/_get_ml_bundle_upload_links", "/upload"),
}
"""What is asked of the client, and which answers come of it, besides the token"""
_OFTEN = {Target._put_images: 6, Target._drain: 0.3}


def _check_error(error):
    assert isinstance(error, StickyPiError | sqlite3.IntegrityError | OSError), repr(error)
    assert PASSWORD not in f"{error!r} {error}"
    if isinstance(error, StickyPiError) and not isinstance(error, PutImagesError):
        assert isinstance(error.blame, Blame)
        assert error.retry_after is None or 0 <= error.retry_after <= 3600, error.retry_after
        assert str(error).isprintable(), str(error)
        assert len(str(error)) < 2000


def _check_rows(rows, devices):
    for row in rows:
        assert isinstance(row["datetime"], datetime)
        assert row["md5"] == row["md5"].lower()
        assert devices is None or row["device"].lower() in devices


def _listing(folder):
    """List what must not change: all but the client's own folder and what it fetches."""
    mine = ("client", "fetched", "state")
    return sorted(path for path in folder.rglob("*") if path.relative_to(folder).parts[0] not in mine)


def _written(status, headers, value):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return _answer_bytes(f"HTTP/1.1 {status} X".encode(), [*headers, ("Content-Length", str(len(body)))], body)


def _answer_bytes(line, headers, body):
    head = [line, *(f"{name}: {text}".encode("latin-1", "replace") for name, text in headers)]
    return b"\r\n".join([*head, b"", body])


def _wrong_answer(random, path, status, headers, value):
    """Return a changed answer, after which the connection is closed."""
    step = random.randrange(10)
    if step < 4 and not isinstance(value, bytes):
        value = mutate_value(random, value) if random.random() < 0.85 else anything(random)
        return _written(status, headers, value), random.random() < 0.5
    if step < 5:
        return mutate(random, _written(status, headers, value), _TOKENS), True
    if step < 6:
        announced = b"HTTP/1.1 %d X\r\nLink: </>\r\n\r\n" % random.choice((102, 103)) * random.choice((0, 0, 0, 1, 3))
        return announced + _packed(random, path, status, headers, value), True
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    if random.random() < 0.3:
        body = mutate(random, body, _TOKENS)
    if step < 8:
        status = random.choice(_STATUSES)
    named = dict([*headers, ("Content-Length", str(len(body)))])
    for name in random.sample(sorted(_HEADERS), random.choice((0, 1, 1, 2)) if step < 8 else random.randint(1, 3)):
        named[name] = random.choice(_HEADERS[name])
    listed = list(named.items()) * random.choice((1, 1, 1, 2, 60))
    line = f"HTTP/1.1 {status} {random.choice(('OK', '', 'x' * 300, chr(0xE9)))}".encode("latin-1")
    return _answer_bytes(line, listed, body), True


def _packed(random, path, status, headers, value):
    """Return an answer that is packed, cut into chunks or unpacks to very much, rightly or not."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    how = random.randrange(4)
    if how == 0:
        body = mutate(random, gzip.compress(body)) if random.random() < 0.7 else gzip.compress(body)
    elif how == 1 and path in _NEVER_LARGE and random.random() < 0.3:
        body = random.choice(_LARGE)
    if how < 2:
        coding = "gzip"
        if random.random() < 0.2:
            # Twice: the libraries would unpack both.
            coding, body = "gzip, gzip", gzip.compress(random.choice((body, *_LARGE)))
        headers = [*headers, ("Content-Encoding", coding), ("Content-Length", str(len(body)))]
    else:
        headers = [*headers, ("Transfer-Encoding", "chunked")]
        half = len(body) // 2
        chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part]
        body = b"".join([*chunks, b"0\r\n\r\n"])
        body = mutate(
            random, body, [b"\r\n", b"0", b"ffffffffffffffff", b"-1", b";x=y", *map(b"%x".__mod__, INTERESTING)]
        )
    return _answer_bytes(b"HTTP/1.1 %d OK" % status, headers, body)


_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBeTCCAR+gAwIBAgIUO6J+6DVYbwR9OxmKC0s/Po8t8w0wCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGTm9ib2R5MCAXDTI2MTEyNDEzMzk0NFoYDzIxMjYxMDMxMTMz
OTQ0WjARMQ8wDQYDVQQDDAZOb2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAQN19rQgSYePSMj41EMPMt21PUFKeNw4LGutCPmqw/lD0jrp5QxdW9RpD1Wm5J9
lJFvBdzIX1F9t4RXhIM5/n13o1MwUTAdBgNVHQ4EFgQUxCb3FlItoTkDU61sJqiz
SFv2TiwwHwYDVR0jBBgwFoAUxCb3FlItoTkDU61sJqizSFv2TiwwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAt+mwdg7UkJBN74ZCzvAjGxwAverO
jHrZFYTLmyb75f0CICLgIxQWamLQTi66DB74q5aGKyp3yTQIDskO2GUdvRus
-----END CERTIFICATE-----
"""
"""Of an authority that signs nothing: the system's own take long to load"""
