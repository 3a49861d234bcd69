"""Whether systemd-python is installed."""

import importlib.util

MISSING = "there is no systemd-python here: pip install systemd-python, or, for tests/run --debian, python3-systemd"
"""Why what takes it is skipped without"""


def is_installed():
    """Tell the library from this project's folder of the same name, which is on the path where tests are run from."""
    found = importlib.util.find_spec("systemd")
    return found is not None and found.origin is not None
