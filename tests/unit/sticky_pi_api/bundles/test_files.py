"""What of a folder is part of a bundle, where a bundle's files lie, and how one comes to its place."""

import hashlib
import os
import sys
import threading
import time

import pytest
from sticky_pi_api.bundles.etag import PART, Etag
from sticky_pi_api.bundles.keys import place
from sticky_pi_api.configuration import LocalAPIConf
from sticky_pi_api.exceptions import BundleError
from sticky_pi_api.filesystem.durable import placed, sweep
from sticky_pi_api.storage import DiskStorage
from sticky_pi_api.utils import local_bundle_files_info, multipart_etag

PATIENCE = 10.0


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bundle" / "data").mkdir(parents=True)
    return tmp_path / "bundle"


def test_all_is_known_of_each_file_in_the_order_of_the_keys(folder):
    for name in ("b.yaml", "a.yaml", "data/c.jpg", "data/c.JPG", "data/c.txt"):
        (folder / name).write_bytes(name.encode() * 3)
    os.utime(folder / "a.yaml", (1.5, 1.5))
    info = local_bundle_files_info(str(folder), n_threads=2)
    assert [one["key"] for one in info] == ["a.yaml", "b.yaml", "data/c.jpg"]
    assert info[0] == {
        "key": "a.yaml",
        "path": str(folder / "a.yaml"),
        "md5": hashlib.md5(b"a.yaml" * 3).hexdigest(),
        "mtime": 1.5,
    }


def test_suffixes_folders_and_parts_can_be_others(folder):
    (folder / "data" / "x.txt").write_bytes(b"12345")
    (folder / "y.txt").write_bytes(b"12345")
    (one,) = local_bundle_files_info(folder, "data", (".txt",), ("data",), (), 2)
    assert (one["key"], one["md5"]) == ("data/x.txt", multipart_etag(folder / "y.txt", 2))
    assert local_bundle_files_info(folder, "model", (".txt",), ("data",), (), 2) == []


def test_the_name_of_the_bundles_own_folder_means_nothing(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "a.yaml").write_bytes(b"x")
    assert local_bundle_files_info(tmp_path / "config", "data") == []


@pytest.mark.parametrize("n_threads", [1, 8])
def test_a_bad_file_among_many_is_named(folder, n_threads):
    for number in range(30):
        (folder / f"{number}.yaml").write_bytes(b"x")
    (folder / "lost.yaml").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=r"lost\.yaml"):
        local_bundle_files_info(folder, n_threads=n_threads)
    (folder / "lost.yaml").unlink()
    os.mkfifo(folder / "pipe.yaml")
    with pytest.raises(BundleError, match=r"pipe\.yaml: it isn't a regular file"):
        local_bundle_files_info(folder, n_threads=n_threads)


def test_a_file_that_cannot_be_read_to_its_end_is_named_by_its_own_error(folder):
    # The kernel has it as a regular file, and nothing is mapped where its bytes begin.
    (folder / "bad.yaml").symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match=r"Input/output error: .*bad\.yaml"):
        local_bundle_files_info(folder)


_reading = []
"""What is called with the path of each file that is opened, while a test listens"""
sys.addaudithook(lambda event, arguments: [hear(arguments[0]) for hear in _reading] if event == "open" else None)


def test_four_files_at_a_time_are_read_where_nothing_else_is_said(folder):
    for number in range(8):
        (folder / f"{number}.yaml").write_bytes(b"x")
    threads, four, five = set(), threading.Event(), threading.Event()

    def hear(path):
        if str(path).endswith(".yaml"):
            threads.add(threading.get_ident())
            if len(threads) == 4:
                four.set()
            elif len(threads) > 4:
                five.set()
            four.wait(PATIENCE)
            four.set()
            five.wait(0.1)

    _reading.append(hear)
    try:
        assert len(local_bundle_files_info(folder)) == 8
    finally:
        _reading.clear()
    assert len(threads) == 4


def test_links_to_files_are_followed_and_to_folders_inside_passed_over(folder):
    (folder / "data" / "a.jpg").write_bytes(b"x")
    (folder / "latest").symlink_to("data")
    (folder / "b.jpg").symlink_to("data/a.jpg")
    assert [one["key"] for one in local_bundle_files_info(folder)] == ["b.jpg", "data/a.jpg"]


def test_a_link_to_a_folder_outside_is_an_error_that_names_it(folder, tmp_path):
    (tmp_path / "big").mkdir()
    (folder / "data" / "big").symlink_to(tmp_path / "big")
    with pytest.raises(BundleError, match="data/big: it links to a folder outside"):
        local_bundle_files_info(folder)


def test_a_name_that_is_not_utf_8_is_named(folder):
    (folder / os.fsdecode(b"\xff.yaml")).write_bytes(b"x")
    with pytest.raises(BundleError, match="isn't UTF-8"):
        local_bundle_files_info(folder)


def test_without_threads_nothing_is_read(folder):
    with pytest.raises(ValueError, match="at least 1"):
        local_bundle_files_info(folder, n_threads=0)


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 2 * PART])
def test_an_etag_is_compared_in_the_form_that_it_has(size):
    blob = bytes(size)
    whole = hashlib.md5(blob).hexdigest()
    of_parts = Etag()
    of_parts.update(blob)
    for form in (whole, f'"{whole.upper()}"', str(of_parts)):
        other = Etag.like(form)
        for start in range(0, size, 1_000_003):
            other.update(blob[start : start + 1_000_003])
        assert other.matches(form)
        other.update(b"more")
        assert not other.matches(form)
    assert ("-" in str(of_parts)) == (size > PART)


def test_an_etag_needs_parts():
    with pytest.raises(ValueError, match="at least 1"):
        Etag(0)


def test_a_file_gets_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file"
    with placed(str(path), 1.25) as stream:
        stream.write(b"new")
        assert not path.exists()
    assert (path.read_bytes(), path.stat().st_mtime) == (b"new", 1.25)
    with pytest.raises(TypeError), placed(str(path), 2.0) as stream:
        stream.writelines([b"half", None])
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


def test_leftovers_go_after_an_hour(tmp_path):
    """A file's own age can't be set back: what is looked at is when it last changed at all."""
    left, own = ".incoming-1234.0123456789ab", {".incoming-notes.yaml", ".incoming-1234.0123456789ab.yaml"}
    for name in (left, *own):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (1.0, 1.0))
    with placed(str(tmp_path / "file"), time.time()):
        pass
    assert set(os.listdir(tmp_path)) == {left, "file", *own}
    sweep(str(tmp_path), time.time() + 3601)
    assert set(os.listdir(tmp_path)) == {"file", *own}


def test_a_file_lies_below_its_bundle(tmp_path):
    assert place(str(tmp_path), "a/b.yaml") == str(tmp_path / "a" / "b.yaml")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle-2").mkdir()
    (tmp_path / "bundle" / "link").symlink_to(tmp_path / "bundle-2")
    with pytest.raises(BundleError, match="leads out"):
        place(str(tmp_path / "bundle"), "link/b.yaml")


def test_a_storage_lists_its_bundles_and_wants_what_is_missing_or_older(tmp_path):
    storage = DiskStorage(LocalAPIConf(LOCAL_DIR=str(tmp_path)))
    assert storage.get_ml_bundle_file_list("b") == []
    path = tmp_path / "ml" / "b" / "config" / "a.yaml"
    entry = {"key": "config/a.yaml", "md5": hashlib.md5(b"x").hexdigest(), "mtime": 5.0, "more": 1}
    assert storage.get_ml_bundle_upload_links("b", [entry]) == [{**entry, "url": str(path)}]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    os.utime(path, (5.0, 5.0))
    assert storage.get_ml_bundle_upload_links("b", [entry, {**entry, "mtime": 9.0}]) == []
    changed = {**entry, "md5": hashlib.md5(b"y").hexdigest(), "mtime": 5.5}
    assert storage.get_ml_bundle_upload_links("b", [changed, {**changed, "mtime": 5.0}]) == [
        {**changed, "url": str(path)}
    ]
    (row,) = storage.get_ml_bundle_file_list("b", "model")
    assert row == {"key": "config/a.yaml", "url": str(path), "md5": entry["md5"], "mtime": 5.0}
