import pytest
from sticky_pi_api.configuration import LocalAPIConf
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.storage import DiskStorage


@pytest.fixture
def storage(tmp_path):
    return DiskStorage(LocalAPIConf(LOCAL_DIR=str(tmp_path / "store")))


def test_the_three_files_are_where_their_urls_say(storage, make_trap_picture, tmp_path):
    path = make_trap_picture()
    parser = ImageParser(path)
    storage.store_image_files(parser)
    folder = tmp_path / "store" / "raw_images" / "1b74105a"
    assert storage.get_url_for_image(parser) == ""
    for what, content in (
        ("image", path.read_bytes()),
        ("thumbnail", parser.thumbnail_jpeg),
        ("thumbnail_mini", parser.thumbnail_mini_jpeg),
    ):
        place = folder / (path.name if what == "image" else f"{path.name}.{what}")
        assert storage.get_url_for_image(parser, what) == str(place)
        assert place.read_bytes() == content


def test_what_lies_in_their_place_is_replaced_and_nothing_is_left_over(storage, make_trap_picture, tmp_path):
    parser = ImageParser(make_trap_picture())
    storage.store_image_files(parser)
    other = ImageParser(make_trap_picture(tmp_path / "other", when=parser["datetime"], seed=9))
    storage.store_image_files(other)
    with open(storage.get_url_for_image(parser, "image"), "rb") as file:
        assert file.read() == other.file_blob
    assert not list((tmp_path / "store" / "raw_images" / ".incoming").iterdir())


def test_what_is_asked_for_must_be_known(storage, make_trap_picture):
    parser = ImageParser(make_trap_picture())
    with pytest.raises(ValueError, match="metadata, image, thumbnail, thumbnail_mini"):
        storage.get_url_for_image(parser, "film")
