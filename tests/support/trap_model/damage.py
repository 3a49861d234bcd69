"""What may have become of an outbox while the trap was off."""

import os
from functools import partial

FILE, LOG = "outbox.db", "outbox.db-wal"


def _cut(part, file):
    os.truncate(file, int(file.stat().st_size * part))


def _overwrite(content, file):
    with file.open("r+b") as stream:
        stream.write(content)


def _remove(file):
    file.unlink()


DAMAGE = {
    "emptied": {FILE: partial(_cut, 0)},
    "half is gone": {FILE: partial(_cut, 0.5)},
    "begins with zeros": {FILE: partial(_overwrite, bytes(4096))},
    "begins with garbage": {FILE: partial(_overwrite, bytes(range(1, 255)) * 16)},
    "gone": {FILE: _remove, LOG: _remove},
    "gone but for its log": {FILE: _remove},
    "its log is gone": {LOG: _remove},
    "its log is cut": {LOG: partial(_cut, 0.7)},
    "its log is garbage": {LOG: partial(_overwrite, b"garbage!" * 512)},
}
"""By name, what is done to which of its files"""


def damage(state, kind):
    """Damage the outbox of a state folder, as far as it is there."""
    for name, harm in DAMAGE[kind].items():
        if (state / name).exists():
            harm(state / name)
