import logging
import os
import stat
import subprocess
import threading

import pytest
from program import python
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.models import Candidate, Fingerprint

NAME = "1b74105a.2020-07-05_10-07-16.jpg"
LATER = "1b74105a.2020-07-05_10-27-16.jpg"


def put(folder, name, content=b"x"):
    path = os.path.join(os.fspath(folder), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    return path


def found(image_dir, ignored=()):
    scanner = Scanner(os.fspath(image_dir), ignored)
    return [candidate.path for folder in scanner.folders() for candidate in scanner.candidates(folder) or ()]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"1b74105a/2020-07-05/{NAME}", id="as the camera writes them"),
        pytest.param(f"1b74105a/{NAME}", id="as harvesters lay them"),
        pytest.param(NAME, id="copied in by hand"),
        pytest.param(f"a/b/c/d/e/f/{NAME}", id="deeper"),
        pytest.param("1b74105a/holiday.JPG", id="any name, any case"),
        pytest.param("1b74105a/with space and\nnewline.jpg", id="odd characters"),
    ],
)
def test_a_picture_is_found_wherever_it_lies(tmp_path, path):
    put(tmp_path, path)
    assert found(tmp_path) == [path]


def test_several_devices_in_all_layouts_are_found_the_newest_dates_first(tmp_path):
    paths = {
        *(f"{device}/2020-07-0{day}/{device}.2020-07-0{day}_10-07-16.jpg" for device in ("aa", "bb") for day in (1, 2)),
        *(f"{device}/{NAME}" for device in ("aa", "bb")),
        NAME,
    }
    for path in paths:
        put(tmp_path, path)
    order = found(tmp_path)
    assert sorted(order) == sorted(paths)
    dates = [path.split("/")[1] for path in order if path.count("/") > 1]
    assert dates == ["2020-07-02", "2020-07-02", "2020-07-01", "2020-07-01"]


def test_within_a_folder_the_newest_comes_first_whatever_device_it_is_of(tmp_path):
    names = [
        "ff000000.2020-07-05_10-00-00.jpg",
        "00000001.2020-07-05_10-20-00.jpg",
        "aa000000.2020-07-05_10-40-00.jpg",
    ]
    for name in names:
        put(tmp_path, name)
    assert found(tmp_path) == names[::-1]


@pytest.mark.parametrize(
    "path",
    [
        f".{NAME}",
        f"{NAME}~",
        f"{NAME}.part",
        f"{NAME}.tmp",
        NAME.replace(".jpg", ".jpeg"),
        NAME.replace(".jpg", ".png"),
        "metadata.json",
        "sticky_pi.log",
        ".jpg",
        "jpg",
        f".hidden/{NAME}",
        f"1b74105a/.hidden/deeper/{NAME}",
        f".Trash-1000/files/{NAME}",
    ],
)
def test_hidden_temporary_and_foreign_files_are_ignored(tmp_path, path):
    put(tmp_path, path)
    scanner = Scanner(os.fspath(tmp_path))
    assert found(tmp_path) == []
    assert not scanner.is_candidate_name(path)
    assert scanner.look(path) is None


def test_symbolic_links_are_neither_followed_nor_taken_for_pictures(tmp_path):
    image_dir, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    real = put(elsewhere, NAME)
    put(image_dir, LATER)
    os.symlink(real, image_dir / NAME)
    os.symlink("nowhere", image_dir / "dangling.jpg")
    os.symlink(elsewhere, image_dir / "folder")
    os.symlink(".", image_dir / "loop")
    os.symlink("itself", image_dir / "itself")
    assert found(image_dir) == [LATER]
    assert Scanner(os.fspath(image_dir)).look(NAME) is None


def test_what_is_named_like_a_picture_but_is_no_file_is_ignored_and_not_opened(tmp_path, caplog):
    os.mkfifo(tmp_path / NAME)
    os.mknod(tmp_path / "socket.jpg", stat.S_IFSOCK | 0o600)
    put(tmp_path, f"folder.jpg/{LATER}")
    assert found(tmp_path) == [f"folder.jpg/{LATER}"]
    assert [Scanner(os.fspath(tmp_path)).look(name) for name in (NAME, "socket.jpg", "folder.jpg")] == [None] * 3
    assert caplog.records == []


def test_names_that_are_not_utf8_are_found_and_come_back_byte_for_byte(tmp_path):
    folder, name = b"caf\xe9", b"1b74105a.2020-07-05_10-07-16\xff.jpg"
    path = os.path.join(os.fsencode(tmp_path), folder, name)
    os.mkdir(os.path.dirname(path))
    with open(path, "wb"):
        pass
    (candidate,) = (Scanner(os.fspath(tmp_path)).look(path) for path in found(tmp_path))
    assert os.fsencode(candidate.path) == folder + b"/" + name


def test_a_candidate_carries_what_tells_whether_it_changed(tmp_path):
    path = put(tmp_path, NAME, b"12345")
    os.utime(path, ns=(1, 1_594_000_000_123_456_789))
    found = os.stat(path)
    expected = Candidate(NAME, Fingerprint(5, 1_594_000_000_123_456_789, found.st_ino, found.st_ctime_ns))
    scanner = Scanner(os.fspath(tmp_path))
    assert scanner.look(NAME) == expected
    assert scanner.candidates("") == [expected]


@pytest.mark.parametrize("inside", [".sticky-pi-uploader", "state", "1b74105a/state", "state/deeper"])
def test_the_state_folder_and_the_store_in_the_image_dir_are_ignored(tmp_path, inside):
    state = tmp_path / inside
    put(state, f"raw_images/1b74105a/{NAME}")
    put(state, NAME)
    put(tmp_path, f"1b74105a/{LATER}")
    beside = f"{inside}-not/{LATER}".lstrip(".")
    put(tmp_path, beside)
    scanner = Scanner(os.fspath(tmp_path), [os.fspath(state)])
    assert sorted(found(tmp_path, [os.fspath(state)])) == sorted([f"1b74105a/{LATER}", beside])
    assert not scanner.is_watched_folder(inside)
    assert not scanner.is_watched_folder(f"{inside}/raw_images")
    assert not scanner.is_candidate_name(f"{inside}/raw_images/1b74105a/{NAME}")
    assert scanner.folders(inside) == scanner.folders(f"{inside}/raw_images") == []


def test_an_ignored_folder_beside_the_image_dir_changes_nothing(tmp_path):
    put(tmp_path / "images", NAME)
    assert found(tmp_path / "images", [os.fspath(tmp_path / "state"), "/"]) == [NAME]


def test_one_folder_and_what_is_below_it_can_be_listed(tmp_path):
    for path in ("a/1/x.jpg", "a/2/x.jpg", "b/x.jpg"):
        put(tmp_path, path)
    assert Scanner(os.fspath(tmp_path)).folders("a") == ["a", "a/2", "a/1"]
    assert Scanner(os.fspath(tmp_path)).folders("b") == ["b"]


def test_a_folder_that_is_not_there_has_no_list_and_is_no_news(tmp_path, caplog):
    put(tmp_path, NAME)
    scanner = Scanner(os.fspath(tmp_path))
    assert scanner.candidates("gone") is None
    assert scanner.candidates(NAME) is None
    assert scanner.look("gone/x.jpg") is None
    assert scanner.look(f"{NAME}/x.jpg") is None
    assert caplog.records == []


def test_an_image_dir_that_is_not_there_holds_nothing(tmp_path):
    assert found(tmp_path / "gone") == []


def test_files_and_folders_that_come_and_go_while_listed_disturb_nothing_else(tmp_path):
    put(tmp_path, f"1b74105a/{NAME}")
    stop = threading.Event()

    def come_and_go():
        while not stop.is_set():
            paths = [put(tmp_path, f"1b74105a/{n}.jpg") for n in range(50)]
            os.mkdir(tmp_path / "1b74105a/x")
            for path in paths:
                os.unlink(path)
            os.rmdir(tmp_path / "1b74105a/x")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        lists = [found(tmp_path) for _ in range(200)]
    finally:
        stop.set()
        thread.join()
    assert all(f"1b74105a/{NAME}" in paths for paths in lists)


def as_nobody(code, *arguments):
    """Run code in a process without root's rights; its output."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give its rights up")
    prelude = "import os, sys\nos.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    # Loaded before the rights are gone: nobody need not be able to read Python or the checkout.
    imports = "import encodings.unicode_escape, logging\nfrom sticky_pi_uploader.intake.scanner import Scanner\n"
    done = python(imports + prelude + code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def public(tmp_path):
    """An image dir that another user can get to."""
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        os.chmod(folder, 0o755)
    image_dir = tmp_path / "images"
    image_dir.mkdir()
    return image_dir


LIST_TWICE = """
logging.basicConfig(stream=sys.stdout, format="%(message)s")
scanner = Scanner(sys.argv[1])
for _ in range(2):
    print([candidate.path for folder in scanner.folders() for candidate in scanner.candidates(folder) or ()])
"""


def test_an_unreadable_folder_is_complained_about_once_and_the_others_are_listed(public):
    put(public, f"1b74105a/{NAME}")
    put(public, f"closed\n/{NAME}")
    os.chmod(public / "closed\n", 0o700)
    assert as_nobody(LIST_TWICE, public).splitlines() == [
        r"closed\n can't be read, so no picture there is seen: Permission denied",
        *2 * [f"['1b74105a/{NAME}']"],
    ]


def test_lost_and_found_which_only_root_can_read_is_no_news(public):
    put(public, NAME)
    (public / "lost+found").mkdir(mode=0o700)
    assert as_nobody(LIST_TWICE, public).splitlines() == 2 * [f"['{NAME}']"]


def test_a_folder_whose_files_cannot_be_looked_at_is_named(public):
    put(public, f"no-x/{NAME}")
    os.chmod(public / "no-x", 0o744)
    assert as_nobody(LIST_TWICE, public).splitlines() == [
        "no-x can't be read, so no picture there is seen: Permission denied",
        "[]",
        "[]",
    ]


@pytest.mark.parametrize("mode", [0o744, 0o700])
def test_a_file_that_cannot_be_looked_at_is_not_taken_for_gone(public, mode):
    put(public, f"closed/{NAME}")
    os.chmod(public / "closed", mode)
    code = "print(Scanner(sys.argv[1]).is_gone(sys.argv[2]), Scanner(sys.argv[1]).is_gone('other.jpg'))"
    assert as_nobody(code, public, f"closed/{NAME}").split() == ["False", "True"]


def test_gone_is_what_is_not_there_any_more_as_a_file(tmp_path):
    put(tmp_path, f"there/{NAME}")
    (tmp_path / "folder.jpg").mkdir()
    os.symlink(tmp_path / "there" / NAME, tmp_path / "link.jpg")
    scanner = Scanner(os.fspath(tmp_path))
    assert not scanner.is_gone(f"there/{NAME}")
    assert all(map(scanner.is_gone, ["there/other.jpg", "gone/x.jpg", f"there/{NAME}/x.jpg", "folder.jpg", "link.jpg"]))


@pytest.fixture
def deep_folder(tmp_path):
    """A folder in tmp_path whose files' paths are too long for the system where their names are long."""
    below = "/".join(["d" * 200] * 19)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for part in below.split("/"):
        os.mkdir(part, dir_fd=descriptor)
        deeper = os.open(part, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    yield below, descriptor
    os.close(descriptor)
    subprocess.run(["rm", "-rf", "--", tmp_path / ("d" * 200)], check=True)


def test_a_file_whose_entry_cannot_be_read_is_named_once_and_hides_no_other(tmp_path, deep_folder, caplog):
    below, descriptor = deep_folder
    unreadable = "y" * 240 + ".jpg"
    for name in (NAME, unreadable):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    scanner = Scanner(os.fspath(tmp_path))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert [each.path for each in scanner.candidates(below)] == [f"{below}/{NAME}"]
    assert [message.partition(" can't be read")[0] for message in caplog.messages] == [f"{below}/{unreadable}"]
    assert not scanner.is_gone(f"{below}/{unreadable}")


def test_a_folder_that_stays_unreadable_is_told_once_an_hour_and_its_end_with_how_long_it_lasted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    now = 0.0
    scanner = Scanner(os.fspath(tmp_path), monotonic=lambda: now)
    (tmp_path / "a").symlink_to("a")
    for _ in range(13):
        assert scanner.candidates("a") is None
        now += 600
    (tmp_path / "a").unlink()
    (tmp_path / "a").mkdir()
    for _ in range(2):
        assert scanner.candidates("a") == []
    why = "a can't be read, so no picture there is seen: Too many levels of symbolic links"
    assert caplog.messages == [
        why,
        f"{why} (7 times in 1.0 h)",
        f"{why} (13 times in 2.0 h)",
        "a can be read again, after 2.2 h",
    ]


def test_what_cannot_be_read_is_known_with_its_reason_until_it_can_or_is_gone(tmp_path):
    scanner = Scanner(os.fspath(tmp_path))
    why = "Too many levels of symbolic links"
    for name in ("a", "b", "c"):
        (tmp_path / name).symlink_to(name)
        assert scanner.candidates(name) is None
    assert scanner.unreadable() == [("a", why), ("b", why), ("c", why)]
    (tmp_path / "b").unlink()
    (tmp_path / "b").mkdir()
    assert scanner.candidates("b") == []
    assert scanner.unreadable() == [("a", why), ("c", why)]
    scanner.missed.clear()
    assert scanner.unreadable() == [("a", why), ("c", why)]
    assert scanner.candidates("c") is None
    scanner.end_scan()
    assert scanner.unreadable() == [("c", why)]
