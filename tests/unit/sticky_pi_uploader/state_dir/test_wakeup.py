import os
import select

import pytest
from sticky_pi_uploader.state_dir.wakeup import Doorbell, ring


def is_ringing(bell):
    return select.select([bell.descriptor], [], [], 0)[0] != []


@pytest.fixture
def bell(tmp_path):
    with Doorbell(str(tmp_path)) as bell:
        yield bell


def test_whoever_rings_is_heard_until_that_is_answered(tmp_path, bell):
    assert not is_ringing(bell)
    ring(str(tmp_path))
    ring(str(tmp_path))
    assert is_ringing(bell)
    bell.answer()
    assert not is_ringing(bell)
    bell.answer()
    ring(str(tmp_path))
    assert is_ringing(bell)


def test_a_bell_that_nobody_answers_holds_nobody_up(tmp_path, bell):
    for _ in range(100_000):
        ring(str(tmp_path))
    assert is_ringing(bell)


def test_ringing_where_nobody_is_at_work_leaves_nothing_behind(tmp_path):
    ring(str(tmp_path))
    ring(str(tmp_path / "nowhere"))
    assert os.listdir(tmp_path) == []


def test_a_bell_that_a_killed_daemon_left_is_used_again_and_removed_in_the_end(tmp_path):
    os.mkfifo(tmp_path / "doorbell")
    ring(str(tmp_path))  # waits for nobody
    with Doorbell(str(tmp_path)) as bell:
        ring(str(tmp_path))
        assert is_ringing(bell)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("in_the_way", ["file", "link"])
def test_what_is_in_its_place_stays_as_it_is(tmp_path, in_the_way):
    (tmp_path / "notes").write_text("mine")
    place = tmp_path / "doorbell"
    place.symlink_to("notes") if in_the_way == "link" else place.write_text("mine")
    with Doorbell(str(tmp_path)) as bell:
        ring(str(tmp_path))
        assert bell.descriptor is None
        bell.answer()
    assert place.read_text() == (tmp_path / "notes").read_text() == "mine"
