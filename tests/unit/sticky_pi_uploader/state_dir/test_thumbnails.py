import os
import resource
import signal
import threading

import pytest
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder, Thumbnails

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


FOUND_INSTEAD = {
    "nothing": lambda _: None,
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(b"\xff\xd8lar"),
    "zeros": lambda file: file.write_bytes(bytes(12)),
    "unreadable": lambda file: file.mkdir(),
}


@pytest.mark.parametrize("which", ["thumbnail", "thumbnail_mini"])
@pytest.mark.parametrize("instead", FOUND_INSTEAD)
def test_one_that_a_power_cut_left_unfinished_or_cannot_be_read_counts_as_missing(folder, tmp_path, which, instead):
    folder.keep(MD5, BOTH)
    file = tmp_path / "thumbnails" / "9e" / f"{MD5}.{which}"
    file.unlink()
    FOUND_INSTEAD[instead](file)
    assert folder.find(MD5) is None


@pytest.mark.parametrize("which", ["thumbnail", "thumbnail_mini"])
def test_a_pipe_in_its_place_holds_nothing_up(folder, tmp_path, which):
    folder.keep(MD5, BOTH)
    file = tmp_path / "thumbnails" / "9e" / f"{MD5}.{which}"
    file.unlink()
    os.mkfifo(file)
    assert folder.find(MD5) is None
    folder.keep(MD5, BOTH)
    assert folder.find(MD5) == BOTH


def test_where_they_cannot_be_written_it_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="gone/thumbnails"):
        ThumbnailFolder(str(tmp_path / "gone" / "thumbnails")).keep(MD5, BOTH)


def test_two_threads_that_keep_the_same_ones_get_in_each_others_way_nowhere(folder, tmp_path):
    """The intake reads a picture again while the uploader makes its missing thumbnails."""
    big = Thumbnails(*(b"\xff\xd8" + content * 200_000 + b"\xff\xd9" for content in (b"large", b"mini")))
    errors, halves = [], []

    def keep():
        for _ in range(100):
            try:
                folder.keep(MD5, big)
            except OSError as error:
                errors.append(error)
            if folder.find(MD5) != big:
                halves.append(folder.find(MD5))

    threads = [threading.Thread(target=keep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, halves) == ([], [])
    assert files(tmp_path) == [f"thumbnails/9e/{MD5}.thumbnail", f"thumbnails/9e/{MD5}.thumbnail_mini"]


def test_what_a_kill_left_half_written_goes_with_the_next_ones(folder, tmp_path):
    (tmp_path / "thumbnails").mkdir()
    left = tmp_path / "thumbnails" / f"{MD5}.thumbnail.7.0a1b2c3d.part"
    left.write_bytes(b"\xff\xd8lar")
    folder.keep(MD5, BOTH)
    assert files(tmp_path) == [f"thumbnails/9e/{MD5}.thumbnail", f"thumbnails/9e/{MD5}.thumbnail_mini"]


def test_no_link_is_followed_that_lies_where_one_is_to_be_written(folder, tmp_path):
    kept = tmp_path / "kept"
    kept.write_bytes(b"somebody's file")
    (tmp_path / "thumbnails" / "9e").mkdir(parents=True)
    for name in (f"{MD5}.thumbnail", f"{MD5}.thumbnail.part"):
        (tmp_path / "thumbnails" / "9e" / name).symlink_to(kept)
    folder.keep(MD5, BOTH)
    assert kept.read_bytes() == b"somebody's file"
    assert folder.find(MD5) == BOTH


@pytest.mark.parametrize("which", ["thumbnails", "thumbnails/9e"])
def test_a_link_in_the_place_of_their_folder_is_not_followed(folder, tmp_path, which):
    elsewhere = tmp_path / "elsewhere"
    ThumbnailFolder(str(elsewhere)).keep(MD5, Thumbnails(b"\xff\xd8old\xff\xd9", b"\xff\xd8old\xff\xd9"))
    before = {file: file.read_bytes() for file in elsewhere.rglob("*.thumb*")}
    (tmp_path / "thumbnails").mkdir()
    if which == "thumbnails":
        (tmp_path / "thumbnails").rmdir()
    (tmp_path / which).symlink_to(elsewhere / which.removeprefix("thumbnails").lstrip("/"))
    folder.keep(MD5, BOTH)
    assert folder.find(MD5) is None
    folder.remove(MD5)
    assert list(folder.older_than(2**40)) == []
    assert {file: file.read_bytes() for file in elsewhere.rglob("*") if file.is_file()} == before


def test_what_cant_be_written_whole_has_no_final_name_and_leaves_nothing_behind(folder, tmp_path):
    folder.keep("a" + MD5[1:], BOTH)
    before, limit = files(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    heeded = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.keep(MD5, BOTH)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, heeded)
    assert files(tmp_path) == before


def test_a_folder_in_the_way_means_that_they_are_made_again_each_time(folder, tmp_path):
    (tmp_path / "thumbnails" / "9e" / f"{MD5}.thumbnail_mini").mkdir(parents=True)
    folder.keep(MD5, BOTH)
    assert folder.find(MD5) is None
    assert list(folder.older_than(2e9)) == [MD5]
    assert files(tmp_path) == [f"thumbnails/9e/{MD5}.thumbnail"]


@pytest.mark.parametrize("name", ["thumbnail_mini", "thumbnail.part", "thumbnail_mini.part"])
def test_what_is_left_of_a_pair_is_found_and_removed_too(folder, tmp_path, name):
    (tmp_path / "thumbnails" / "9e").mkdir(parents=True)
    (tmp_path / "thumbnails" / "9e" / f"{MD5}.{name}").write_bytes(b"\xff\xd8")
    assert list(folder.older_than(2e9)) == [MD5]
    folder.remove(MD5)
    assert files(tmp_path) == []


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
