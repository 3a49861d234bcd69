import os

import pytest
from sticky_pi_uploader.thumbnails import ThumbnailFolder, Thumbnails

MD5 = "9e6e908d9c29d332b511f8d5121857f8"
BOTH = Thumbnails(b"\xff\xd8large\xff\xd9", b"\xff\xd8mini\xff\xd9")


@pytest.fixture
def folder(tmp_path):
    return ThumbnailFolder(str(tmp_path / "thumbnails"))


def files(tmp_path):
    return sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file())


def test_both_are_kept_by_the_md5_and_found_again(folder, tmp_path):
    folder.keep(MD5, BOTH)
    assert folder.find(MD5) == BOTH
    assert files(tmp_path) == [f"thumbnails/9e/{MD5}.thumbnail", f"thumbnails/9e/{MD5}.thumbnail_mini"]


def test_nothing_is_found_of_another_picture_and_nothing_is_made_by_asking(folder, tmp_path):
    assert folder.find(MD5) is None
    assert list(tmp_path.iterdir()) == []


def test_keeping_them_again_replaces_them(folder):
    folder.keep(MD5, Thumbnails(b"\xff\xd8old\xff\xd9", b"\xff\xd8old\xff\xd9"))
    folder.keep(MD5, BOTH)
    assert folder.find(MD5) == BOTH


@pytest.mark.parametrize("which", ["thumbnail", "thumbnail_mini"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xd8lar", bytes(12)], ids=["gone", "empty", "cut", "zeros"])
def test_one_that_a_power_cut_left_unfinished_counts_as_missing(folder, tmp_path, which, content):
    folder.keep(MD5, BOTH)
    file = tmp_path / "thumbnails" / "9e" / f"{MD5}.{which}"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert folder.find(MD5) is None


def test_one_that_cannot_be_read_counts_as_missing(folder, tmp_path):
    folder.keep(MD5, BOTH)
    file = tmp_path / "thumbnails" / "9e" / f"{MD5}.thumbnail"
    file.unlink()
    file.mkdir()
    assert folder.find(MD5) is None


def test_where_they_cannot_be_written_it_is_an_oserror(tmp_path):
    (tmp_path / "thumbnails").symlink_to("thumbnails")
    with pytest.raises(OSError, match="thumbnails"):
        ThumbnailFolder(str(tmp_path / "thumbnails")).keep(MD5, BOTH)


def test_no_half_written_one_has_the_final_name(folder, tmp_path):
    os.makedirs(tmp_path / "thumbnails" / "9e" / f"{MD5}.thumbnail_mini.part")
    folder.keep(MD5, BOTH)
    assert folder.find(MD5) is None
    assert files(tmp_path) == [f"thumbnails/9e/{MD5}.thumbnail"]


@pytest.mark.parametrize("where", [f"9e/{MD5}.thumbnail.part", f"9e/{MD5}.thumbnail_mini"])
def test_a_folder_in_the_way_means_that_they_are_made_again_each_time(folder, tmp_path, where):
    (tmp_path / "thumbnails" / where).mkdir(parents=True)
    folder.keep(MD5, BOTH)
    assert folder.find(MD5) is None
    assert list(folder.older_than(2e9)) in ([], [MD5])


def test_those_that_go_while_they_are_looked_for_are_passed_over(folder, tmp_path):
    others = ["a" + MD5[1:], "b" + MD5[1:]]
    for md5 in (MD5, *others):
        folder.keep(md5, BOTH)
    found = folder.older_than(2e9)
    assert next(found) == MD5
    for md5 in others:
        folder.remove(md5)
        (tmp_path / "thumbnails" / md5[:2]).rmdir()
    assert list(found) == []


def test_a_file_in_the_way_holds_up_no_others(folder, tmp_path):
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / "9e").write_bytes(b"a file")
    folder.keep(MD5, BOTH)
    assert folder.find(MD5) is None
    other = "a" + MD5[1:]
    folder.keep(other, BOTH)
    assert folder.find(other) == BOTH
    assert list(folder.older_than(2e9)) == [other]
