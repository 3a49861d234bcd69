"""What somebody would write in an afternoon: reads a picture, makes its thumbnails, and copies or posts all of it.

    python tests/bench/plain_script.py PICTURE FOLDER [URL CA_FILE]

It is what the uploader is compared with: everything at full size, LANCZOS, and nothing made safe.
"""

import hashlib
import io
import os
import sys

from PIL import Image

SIZES = ((".thumbnail", (512, 384)), (".thumbnail_mini", (128, 96)))


def main(path, folder, url=None, ca_file=None, *, make_thumbnails=None):
    with open(path, "rb") as file:
        blob = file.read()
    md5 = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    name = os.path.basename(path)
    os.makedirs(folder, exist_ok=True)
    with Image.open(io.BytesIO(blob)) as image:
        image.load()
        for suffix, small in (make_thumbnails or each_from_the_whole)(image):
            small.save(os.path.join(folder, name + suffix), "JPEG")
    if url is None:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(blob)
    else:
        post(url, ca_file, name, blob, md5)


def each_from_the_whole(image):
    """Yield each thumbnail's suffix and the thumbnail, made from the whole picture."""
    for suffix, size in SIZES:
        small = image.copy()
        small.thumbnail(size, Image.Resampling.LANCZOS, reducing_gap=None)
        yield suffix, small


def post(url, ca_file, name, blob, md5):
    import requests

    with requests.Session() as session:
        session.verify = ca_file
        token = session.post(f"{url}/get_token", auth=("trap", "pollen"), timeout=60).json()["token"]
        files = {name: (name, blob, "application/octet-stream"), f"{name}.md5": (None, md5)}
        session.post(f"{url}/_put_new_images", files=files, auth=(token, ""), timeout=60).raise_for_status()


if __name__ == "__main__":
    main(*sys.argv[1:])
