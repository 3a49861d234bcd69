"""Makes small pictures as large as a test needs them, in no time."""

from random import Random

_LONGEST = 65_000
"""bytes of a comment"""


def padded(blob, size, seed=0):
    """Return a picture of about `size` bytes, by comments behind its EXIF; another seed gives other bytes."""
    random = Random(seed)
    start = 4 + int.from_bytes(blob[4:6], "big")
    comments = []
    missing = max(100, size - len(blob))
    while missing > 0:
        comment = random.randbytes(max(16, min(missing - 4, _LONGEST)))
        comments.append(b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment)
        missing -= len(comments[-1])
    return blob[:start] + b"".join(comments) + blob[start:]
