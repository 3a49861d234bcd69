"""A short path of a folder: the path of a socket has at most 107 bytes, however long that of the tests' folder is."""

import os
from contextlib import contextmanager


@contextmanager
def short_path(folder):
    """Give a path of `folder` that leads there, for every process of this user, as long as the block lasts."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/{os.getpid()}/fd/{opened}"
    finally:
        os.close(opened)
