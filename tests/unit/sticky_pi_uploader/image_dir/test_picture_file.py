"""Only regular files below the image folder are opened, and no link on the way is followed."""

import os
from types import SimpleNamespace

import pytest
from sticky_pi_uploader.image_dir.picture_file import fingerprint_of, open_at, open_picture


@pytest.fixture
def image_dir(tmp_path):
    folder = tmp_path / "images"
    (folder / "5c173ff2").mkdir(parents=True)
    (folder / "5c173ff2" / "a.jpg").write_bytes(b"a picture")
    return folder


def test_a_picture_is_opened_by_its_relative_path_and_named_by_its_whole_one(image_dir):
    with open_picture(str(image_dir), "5c173ff2/a.jpg") as file:
        assert (file.read(), file.name) == (b"a picture", str(image_dir / "5c173ff2" / "a.jpg"))


def _link(path):
    path.symlink_to(path.with_name("a.jpg"))


@pytest.mark.parametrize("make", [_link, os.mkfifo, os.mkdir], ids=["link", "FIFO", "folder"])
def test_what_is_no_file_counts_as_missing_and_is_not_opened(image_dir, make):
    make(image_dir / "5c173ff2" / "b.jpg")
    with pytest.raises(FileNotFoundError):
        open_picture(str(image_dir), "5c173ff2/b.jpg")


@pytest.mark.parametrize("path", ["5c173ff2/b.jpg", "b/a.jpg", "5c173ff2/a.jpg/a.jpg"])
def test_a_missing_picture_or_folder_is_reported_as_a_missing_file(image_dir, path):
    with pytest.raises(FileNotFoundError):
        open_picture(str(image_dir), path)


def test_no_link_to_a_folder_is_followed(image_dir):
    (image_dir / "linked").symlink_to(image_dir / "5c173ff2")
    with pytest.raises(FileNotFoundError):
        open_picture(str(image_dir), "linked/a.jpg")
    with pytest.raises(NotADirectoryError):
        open_at(str(image_dir), "linked")
    folder = open_at(str(image_dir), "5c173ff2")
    try:
        assert os.path.samestat(os.fstat(folder), (image_dir / "5c173ff2").stat())
    finally:
        os.close(folder)


def test_a_fingerprint_has_the_status_of_its_file(image_dir):
    status = (image_dir / "5c173ff2" / "a.jpg").stat()
    assert fingerprint_of(status) == (9, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def test_a_fingerprint_fits_into_the_database_however_damaged_the_inode_is():
    status = SimpleNamespace(st_size=1, st_mtime_ns=2**70, st_ctime_ns=2**63, st_ino=2**64 - 1)
    assert fingerprint_of(status) == (1, *[2**63 - 1] * 3)
