"""The Debian package, built once."""

import os
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def build_deb():
    """Return what builds the package into a folder, with these variables added, and gives its path."""

    def build(folder, **variables):
        command = [PROJECT / "systemd" / "build-deb", folder]
        environment = {**os.environ, **variables}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            command, cwd="/", env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return Path(done.stdout.rstrip("\n"))

    return build


@pytest.fixture(scope="session")
def deb(build_deb, tmp_path_factory):
    if not Path("/usr/bin/dpkg-deb").exists():
        pytest.skip("there is no dpkg-deb here to build the Debian package with: apt-get install dpkg")
    return build_deb(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def installed(deb, tmp_path_factory):
    """Return a folder with the files of the package, as they lie below / on a trap."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(["dpkg-deb", "--extract", deb, folder], check=True, timeout=60)
    return folder
