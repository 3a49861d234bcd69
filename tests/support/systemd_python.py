"""Whether systemd-python is installed."""

import importlib.util


def is_installed():
    """Tell the library from this project's folder of the same name, which is on the path where tests are run from."""
    found = importlib.util.find_spec("systemd")
    return found is not None and found.origin is not None
