"""Keep machine-learning bundles in the embedded store, each in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from sticky_pi_api.bundles.files import checked_what, is_same, local_bundle_files_info
from sticky_pi_api.bundles.keys import checked_entries, checked_name, place
from sticky_pi_api.filesystem.store_folder import require_no_link
from sticky_pi_api.types import Info, Row


class BundleFolders:
    """The bundles below a folder; each file lies under its key, and its time tells which version it is."""

    def __init__(self, store: str, name: str) -> None:
        """Take the store's folder, and the name of theirs in it; nothing is made yet."""
        self._store, self._name = store, name

    def files(self, bundle_name: str, what: str = "all") -> list[Row]:
        """Return `key`, `url` (its path), `md5` and `mtime` of each file; [] where there is no such bundle."""
        checked_what(what)
        folder = self._folder_of(bundle_name)
        found = local_bundle_files_info(folder, what) if os.path.isdir(folder) else []
        return [{name: file[name] for name in ("key", "md5", "mtime")} | {"url": file["path"]} for file in found]

    def wanted(self, bundle_name: str, info: Iterable[Info]) -> list[Row]:
        """Return the entries of `info` that aren't there yet, or older and with other bytes, with `url`: their path."""
        folder = self._folder_of(bundle_name)
        entries = [{**entry, "url": place(folder, entry["key"])} for entry in checked_entries(info)]
        return [entry for entry in entries if _is_wanted(entry)]

    def _folder_of(self, bundle_name: str) -> str:
        """Return the folder of a bundle. Raises OSError where a link is in its place, or theirs."""
        path = os.path.join(self._name, checked_name(bundle_name))
        require_no_link(self._store, self._name, path)
        return os.path.join(self._store, path)


def _is_wanted(entry: Mapping[str, Any]) -> bool:
    try:
        mtime = os.stat(entry["url"]).st_mtime
    except FileNotFoundError:
        return True
    return bool(mtime < entry["mtime"]) and not is_same(entry["url"], entry["md5"])
