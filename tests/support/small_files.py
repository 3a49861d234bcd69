"""Files that may not grow, in place of a disk that is full."""

import resource
from contextlib import contextmanager


@contextmanager
def small_files_only(limit=0):
    """Let the kernel refuse every write behind this many bytes of a file (EFBIG), for this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
