"""A leaner `plain_script.py`: one decode of the picture, and the small thumbnail is made from the large one.

python tests/bench/lean_script.py PICTURE FOLDER [URL CA_FILE]
"""

import sys

from PIL import Image
from plain_script import SIZES, main


def each_from_the_one_before(image):
    """Yield each thumbnail's suffix and the thumbnail, the small one made from the large one."""
    for suffix, size in SIZES:
        image.thumbnail(size, Image.Resampling.LANCZOS, reducing_gap=None)
        yield suffix, image


if __name__ == "__main__":
    main(*sys.argv[1:], make_thumbnails=each_from_the_one_before)
