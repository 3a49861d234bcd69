import os
import shlex
import subprocess
import tempfile

import pytest
from sticky_pi_uploader.cli.checks.places import left_out, not_writable
from sticky_pi_uploader.ownership.service_unit import SERVICE, ServiceUnit
from sticky_pi_uploader.ownership.viewpoint import Viewpoint
from sticky_pi_uploader.state_dir.folder import MARK

SERVICES = Viewpoint(ServiceUnit(SERVICE, ("User=trap",)))


@pytest.fixture
def advice(as_somebody):
    """Return the advice for a folder that the service may not write in."""

    def advice(folder):
        with as_somebody():
            return not_writable("state folder", str(folder), SERVICES).advice

    folder_mode = 0o555
    advice.make = lambda folder, *names: (
        folder.mkdir(),
        [(folder / name).touch() for name in names],
        folder.chmod(folder_mode),
    )
    return advice


@pytest.mark.parametrize("names", [(), (MARK, "outbox.db")], ids=["empty", "marked"])
def test_a_folder_of_its_own_is_given_to_the_service(public, advice, names):
    folder = public / "a place; of its own"
    advice.make(folder, *names)
    assert shlex.split(advice(folder)) == ["sudo", "chown", "-R", "trap", str(folder)]


def test_a_folder_with_other_things_is_not_given_away(public, advice):
    folder = public / "disks"
    advice.make(folder, "somebody's")
    assert "chown" not in advice(folder)
    assert advice(folder).startswith("name a folder of its own")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes a folder in /home")
@pytest.mark.parametrize("below", ["", "/store"])
def test_a_folder_that_is_bound_into_a_hidden_home_is_not_left_out(below):
    """As `ProtectHome=tmpfs` with `BindPaths=` has it."""
    view = Viewpoint(ServiceUnit(SERVICE, ("User=trap", "ProtectHome=tmpfs", "BindPaths=/home/pi/x")))
    with tempfile.TemporaryDirectory(dir="/home") as folder:
        assert "its sandbox leaves it out" in left_out("destination", folder + below, view).what
        done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=False, capture_output=True)
        if done.returncode != 0:
            pytest.skip("needs the right to mount")
        try:
            assert left_out("destination", folder + below, view) is None
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
