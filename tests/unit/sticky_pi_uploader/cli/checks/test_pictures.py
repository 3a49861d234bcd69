import os
import shlex

import pytest
from sticky_pi_uploader.cli.checks import pictures
from sticky_pi_uploader.config import load
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
