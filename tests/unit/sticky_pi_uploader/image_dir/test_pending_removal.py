"""A picture that is hidden for its removal is still on the card, and gets its name back."""

import os

import pytest
from sticky_pi_uploader.image_dir.pending_removal import (
    PendingRemovals,
    hidden,
    hide,
    is_stuck,
    is_there,
    original,
    place_of,
)

PATH = "5c173ff2/a.jpg"


@pytest.fixture
def image_dir(tmp_path):
    (tmp_path / "5c173ff2").mkdir()
    (tmp_path / PATH).write_bytes(b"a picture")
    return tmp_path


def hide_it(image_dir):
    folder = os.open(image_dir / "5c173ff2", os.O_RDONLY)
    try:
        hide(folder, "a.jpg")
    finally:
        os.close(folder)


def test_only_the_hidden_name_tells_the_name_before():
    assert hidden(PATH) == "5c173ff2/.a.jpg.removing"
    assert original(".a.jpg.removing") == "a.jpg"
    assert [original(name) for name in ("a.jpg", ".a.jpg", "a.jpg.removing")] == [None] * 3


def test_a_hidden_picture_is_there_and_gets_its_name_back(image_dir):
    hide_it(image_dir)
    assert not (image_dir / PATH).exists()
    assert is_there(str(image_dir), PATH)
    assert place_of(str(image_dir), PATH) == str(image_dir / hidden(PATH))
    removals = PendingRemovals(str(image_dir))
    assert removals.is_pending(PATH)
    assert removals.restore(PATH) is True
    assert (image_dir / PATH).read_bytes() == b"a picture"
    assert not removals.is_pending(PATH)
    assert removals.restore(PATH) is None


def test_a_hidden_picture_stays_hidden_where_another_file_has_its_name(image_dir):
    hide_it(image_dir)
    (image_dir / PATH).write_bytes(b"another one")
    assert PendingRemovals(str(image_dir)).restore(PATH) is False
    assert is_stuck(str(image_dir), PATH)
    assert (image_dir / PATH).read_bytes() == b"another one"
    assert (image_dir / hidden(PATH)).read_bytes() == b"a picture"


def test_a_file_with_both_names_keeps_the_visible_one(image_dir):
    os.link(image_dir / PATH, image_dir / hidden(PATH))
    assert not is_stuck(str(image_dir), PATH)
    assert PendingRemovals(str(image_dir)).restore(PATH) is True
    assert os.listdir(image_dir / "5c173ff2") == ["a.jpg"]


def test_a_removal_in_progress_is_left_alone(image_dir):
    removals = PendingRemovals(str(image_dir))
    with removals.removing([PATH]):
        assert removals.is_pending(PATH)
        hide_it(image_dir)
        assert removals.restore(PATH) is None
        assert (image_dir / hidden(PATH)).exists()
    assert removals.restore(PATH) is True
