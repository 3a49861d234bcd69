"""Check `lost+found`, in which fsck puts files that have lost their names: pictures may be among them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sticky_pi_api.filesystem.safe_open import open_folder

from ...config import Config
from ...wording import counted
from .finding import Finding, warning


def lost_and_found(config: Config) -> Iterator[Finding]:
    """Report that something is in the `lost+found` of the image folder's disk; in most cases only root can see it."""
    folder = os.path.join(config.image_dir, "lost+found")
    try:
        descriptor = open_folder(folder)
        try:
            count = len(os.listdir(descriptor))
        finally:
            os.close(descriptor)
    except OSError:
        return
    if count:
        advice = "look at what it is; move pictures to the image folder under their names, and remove the rest"
        yield warning("lost+found", f"fsck put {counted(count, 'file')} into {folder}", advice)
