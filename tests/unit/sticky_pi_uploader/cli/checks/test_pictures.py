import os
import shlex
import subprocess

import pytest
from sticky_pi_uploader.cli.checks import pictures
from sticky_pi_uploader.config import load
from sticky_pi_uploader.ownership.run_as_service import LOST_FILES
from sticky_pi_uploader.ownership.service_unit import SERVICE, ServiceUnit
from sticky_pi_uploader.ownership.viewpoint import Viewpoint


@pytest.fixture
def found(public, as_somebody):
    """Return the findings about the pictures of some files that can't be read."""

    def found(*names):
        for name in names:
            file = public / name
            file.parent.mkdir(exist_ok=True)
            file.touch(mode=0)
        with as_somebody():
            config = load({"image_dir": str(public), "state_dir": f"{public}/.state"}, {}, os.devnull)
            return list(pictures.readable(config, Viewpoint()))

    return found


def test_a_name_from_the_card_is_one_word_of_the_command_to_paste(public, found):
    [finding] = found("x;reboot;.jpg")
    command = finding.advice.partition(": ")[2]
    assert shlex.split(command) == ["sudo", "chmod", "-R", "a+rX", f"{public}/x;reboot;.jpg"]


def test_one_command_mends_all_pictures_that_cannot_be_read(public, found):
    [finding] = found("a/1.jpg", "a/2.jpg", "a/3.jpg")
    assert finding.what == f"{public}/a/1.jpg can't be read by this user, and 2 more"
    assert finding.advice.endswith(f"a+rX {public}/a")


@pytest.fixture
def retention(public, as_somebody, tmp_path):
    """Return what is found about the removal of pictures for a service with the lines of retention.conf."""
    file = tmp_path / "config.toml"
    file.write_text("[retention]\nkeep_days = 30\n")
    flags = {"image_dir": str(public), "state_dir": f"{public}/.state", "api.url": "http://127.0.0.1:9"}
    config = load(flags, {}, str(file))

    def retention(*rights):
        lines = [f"{name}={' '.join(rights)}" for name in ("AmbientCapabilities", "CapabilityBoundingSet")]
        with as_somebody():
            [finding] = pictures.retention(config, Viewpoint(ServiceUnit(SERVICE, tuple(lines))))
        return finding

    return retention


@pytest.mark.parametrize(
    ("rights", "asked"),
    [
        ([], "AmbientCapabilities=CAP_DAC_OVERRIDE"),
        (["CAP_FOWNER"], "AmbientCapabilities=CAP_DAC_OVERRIDE"),
        (["CAP_DAC_OVERRIDE"], "PrivateUsers=no"),
        (["CAP_DAC_OVERRIDE", "CAP_FOWNER"], "PrivateUsers=no"),
    ],
)
def test_the_right_that_the_service_does_not_have_is_the_one_asked_for(public, retention, rights, asked):
    public.chmod(0o555)
    finding = retention(*rights)
    assert asked in finding.advice
    assert ("PrivateUsers" in finding.advice) == (asked == "PrivateUsers=no")


def test_no_right_is_asked_for_where_the_disk_is_read_only(public, retention):
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", public], check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        finding = retention("CAP_DAC_OVERRIDE")
    finally:
        subprocess.run(["umount", "-l", public], check=True)
    assert (finding.level, finding.what) == ("problem", f"{public} is on a file system that is read-only")
    assert finding.advice.startswith("mount it for writing")


@pytest.mark.parametrize(("value", "said"), [("2", ["2 files"]), ("0", []), ("", []), ("x", []), ("-3", [])])
def test_the_number_that_root_hands_on_is_reported_and_anything_else_is_not(tmp_path, value, said):
    config = load({"image_dir": str(tmp_path), "state_dir": f"{tmp_path}/.state"}, {}, os.devnull)
    found = [finding.what for finding in pictures.lost_and_found(config, {LOST_FILES: value})]
    assert found == [f"fsck put {files} into {tmp_path}/lost+found" for files in said]
