"""`/_put_new_images`: what was received, and storing it, with all that is wrong about how the servers do that."""

import hashlib
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sticky_pi_api.exceptions import FilenameError

from .examine import Kind, Picture, examine
from .multipart import MultipartError, read_parts, read_parts_so_far
from .rows import new_row, written
from .store import Key
from .wire import REFUSED, json_answer, page

PATH = "/_put_new_images"


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file of an upload, as far as it came; `held` tells whether its key was when it had come."""

    name: str
    blob: bytes
    md5: str
    held: bool
    picture: Picture


@dataclass(frozen=True, slots=True)
class Upload:
    """The files and the plain fields of a request's body; nothing of either when it isn't well formed."""

    files: tuple[ReceivedFile, ...] = ()
    fields: Mapping[str, str] | None = None


def read_upload(request, store):
    """Take an upload's body apart, be it whole or not."""
    read = read_parts if request.whole else read_parts_so_far
    try:
        parts = read(request.headers.get("Content-Type", ""), request.body)
    except MultipartError:
        return Upload()
    files = tuple(_received(part, store) for part in parts if part.filename is not None)
    return Upload(files, {part.name: part.content.decode("latin-1") for part in parts if part.filename is None})


def _received(part, store):
    try:
        key = Key.of_name(part.name)
        held = store.find(key.device, key.datetime) is not None
    except FilenameError:
        held = False
    md5 = hashlib.md5(part.content, usedforsecurity=False).hexdigest()
    return ReceivedFile(part.name, part.content, md5, held, examine(part.content))


class RefusedError(Exception):
    """The server can't take a file; nobody is told why."""


class HangError(Exception):
    """The worker doesn't return from a file."""


class Uploads:
    """Stores what is uploaded."""

    def __init__(self, options, generation, store):
        """Keep what is needed, and count the uploads from here on."""
        self._options = options
        self._generation = generation
        self._store = store
        self._lock = threading.Lock()
        self._begun = self._running = 0

    def put(self, upload, account):
        """Store the files one after the other, up to the first that can't be."""
        with self._counted() as unlucky:
            if unlucky or upload.fields is None:
                return REFUSED
            time.sleep(self._options.upload_time)
            try:
                return json_answer([self._put_file(file, upload.fields, account) for file in upload.files])
            except RefusedError:
                return REFUSED
            except HangError:
                return replace(page(502), delay=self._options.hang, kills_worker=True)

    @contextmanager
    def _counted(self):
        """Yield whether this is an upload that a server that has just started can't cope with."""
        with self._lock:
            self._begun += 1
            self._running += 1
            unlucky = self._begun <= self._options.cold_uploads and self._running > 1 and self._begun % 3 == 0
        try:
            yield unlucky
        finally:
            with self._lock:
                self._running -= 1

    def _put_file(self, file, fields, account):
        self._check(file, fields)
        try:
            key = Key.of_name(file.name)
            # The order is the servers': the object is overwritten before the database finds the duplicate.
            self._store.write_object(key.object_name, file.blob)
            row = new_row(key, file.md5, file.picture.fields, account)
            self._store.insert(row)
        except (FilenameError, sqlite3.IntegrityError) as error:
            raise RefusedError from error
        return written(row, self._generation)

    def _check(self, file, fields):
        """Raise RefusedError or HangError where the bytes can't be stored."""
        if file.picture.kind is Kind.BROKEN and self._options.hang:
            raise HangError
        if file.picture.fields is None:
            raise RefusedError
        if file.picture.generation == 2022 and not self._generation.takes_2022_pictures:
            raise RefusedError
        if self._generation.checks_md5 and fields.get(f"{file.name}.md5") != file.md5:
            raise RefusedError
