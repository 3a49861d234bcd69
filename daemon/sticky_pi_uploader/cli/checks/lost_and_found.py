"""Check `lost+found`, in which fsck puts files that have lost their names: pictures may be among them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ...config import Config
from ...ownership.run_as_service import LOST_FILES
from ...state_dir.mounts import lost_files
from ...wording import counted
from .finding import Finding, warning


def lost_and_found(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Report that something is in the `lost+found` of the image folder's disk; in most cases only root can see it."""
    folder = os.path.join(config.image_dir, "lost+found")
    handed_on = environ.get(LOST_FILES, "")
    if count := lost_files(config.image_dir) or (int(handed_on) if handed_on.isdecimal() else 0):
        advice = "look at what it is; move pictures to the image folder under their names, and remove the rest"
        yield warning("lost+found", f"fsck put {counted(count, 'file')} into {folder}", advice)
