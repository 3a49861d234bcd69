"""Keep machine-learning bundles in the embedded store: each in a folder, with its files under their keys."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from functools import partial

from sticky_pi_api.bundles.files import checked_what, is_outdated, local_bundle_files_info
from sticky_pi_api.bundles.keys import checked_entries, checked_name, place
from sticky_pi_api.filesystem.store_folder import BUNDLES, require_no_link
from sticky_pi_api.types import Info, Row


def list_files(store: str, bundle_name: str, what: str = "all") -> list[Row]:
    """Return `key`, `url` (its path), `md5` and `mtime` of each file; [] where there is no such bundle."""
    checked_what(what)
    folder = _folder_of(store, bundle_name)
    found = local_bundle_files_info(folder, what) if os.path.isdir(folder) else []
    return [{name: file[name] for name in ("key", "md5", "mtime")} | {"url": file["path"]} for file in found]


def list_wanted(store: str, bundle_name: str, info: Iterable[Info]) -> list[Row]:
    """Return the entries of `info` that are missing, or older and with other bytes, with their path as `url`."""
    folder = _folder_of(store, bundle_name)
    entries = [{**entry, "url": place(folder, entry["key"])} for entry in checked_entries(info)]
    return [entry for entry in entries if is_outdated(entry["url"], entry["md5"], partial(operator.gt, entry["mtime"]))]


def _folder_of(store: str, bundle_name: str) -> str:
    """Return the folder of a bundle. Raises OSError where a link is in its place, or above it."""
    path = os.path.join(BUNDLES, checked_name(bundle_name))
    require_no_link(store, BUNDLES, path)
    return os.path.join(store, path)
