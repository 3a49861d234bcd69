"""The stored objects, as S3 hands them out: by GET on a row's url, with an ETag that is the md5."""

import hashlib

from sticky_pi_api.images.jpeg import JpegError, read_jpeg
from sticky_pi_api.images.thumbnails import decode

from .wire import Answer, page

PREFIX = "/objects/"
_THUMBNAILS = (".thumbnail", ".thumbnail-mini")


def object_answer(request, store):
    """Answer a request for an object."""
    if request.method != "GET":
        # The urls are signed for one method.
        return page(403)
    name = request.path.removeprefix(PREFIX)
    blob = _thumbnail(name, store) if name.endswith(_THUMBNAILS) else store.read_object(name)
    if blob is None:
        return page(404)
    if not blob and "Range" in request.headers:
        return page(416)
    md5 = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return Answer(200, blob, "image/jpeg", (("ETag", f'"{md5}"'),))


def _thumbnail(name, store):
    name, _, size = name.rpartition(".")
    blob = store.read_object(name)
    try:
        return blob and decode(read_jpeg(blob, None))[_THUMBNAILS.index("." + size)]
    except JpegError:
        return None
