"""Check the names of bundles and the keys of their files, so that none leads out of its folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from sticky_pi_api.exceptions import BundleError, printable
from sticky_pi_api.filesystem.durable import TEMPORARY
from sticky_pi_api.types import Info

_LARGEST_MTIME = 1e11


def checked_name(bundle_name: str) -> str:
    """Return the name of a bundle. Raises BundleError for one that can't be the name of its folder."""
    reason = _wrong_with(bundle_name)
    if not reason and ("/" in bundle_name or bundle_name.startswith(".")):
        reason = "it must have no slash, and no dot at its start"
    if reason:
        raise BundleError(f"the bundle's name {_shown(bundle_name)} can't be used: {reason}")
    return bundle_name


def checked_key(key: str) -> str:
    """Return the key of a file, its path in the bundle.

    Raises BundleError for a key that may lead out of the bundle, or that looks like an incomplete file.
    """
    reason = _wrong_with(key)
    if not reason and any(part in ("", ".", "..") for part in key.split("/")):
        reason = "it must be a relative path, without '.' and '..'"
    if not reason and key.rpartition("/")[2].startswith(TEMPORARY):
        reason = f"names that begin with '{TEMPORARY}' are reserved for incomplete files: rename it"
    if reason:
        raise BundleError(f"the bundle's file {_shown(key)} can't be used: {reason}")
    return key


def place(folder: str, key: str) -> str:
    """Return the path of a key's file below a bundle's folder.

    Raises BundleError where the key, or a link to a folder on the way, leads out of the folder.
    """
    path = os.path.join(folder, *checked_key(key).split("/"))
    root, parent = os.path.realpath(folder), os.path.realpath(os.path.dirname(path))
    if parent != root and not parent.startswith(os.path.join(root, "")):
        raise BundleError(f"{printable(path)}: a link on the way leads out of the bundle's folder, to {parent}")
    return path


def checked_entries(info: Iterable[Info]) -> list[dict[str, Any]]:
    """Return the entries of a request, each with the `key`, `md5` and `mtime` of a file. Raises BundleError."""
    return [_checked_entry(entry) for entry in info]


def is_mtime(value: object) -> bool:
    """Return whether a value is a possible mtime of a file, in Unix seconds."""
    # Without a conversion: an int may be larger than any float. A comparison with NaN is false.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_MTIME


def _checked_entry(entry: Info) -> dict[str, Any]:
    for name in ("key", "md5", "mtime"):
        if not isinstance(entry, Mapping) or name not in entry:
            raise BundleError(f"'{name}' is missing in {entry!r}")
    checked_key(entry["key"])
    if not isinstance(entry["md5"], str):
        raise BundleError(f"'md5' isn't text in {entry!r}")
    if not is_mtime(entry["mtime"]):
        raise BundleError(f"'mtime' isn't a time in Unix seconds in {entry!r}")
    return dict(entry)


def _wrong_with(text: object) -> str:
    if not isinstance(text, str):
        return "it must be text"
    if not text:
        return "it must not be empty"
    if "\0" in text or "\\" in text:
        return "it must have no backslash, and no zero byte"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it isn't UTF-8"
    return ""


def _shown(text: object) -> str:
    return f"'{printable(text)}'" if isinstance(text, str) else repr(text)
