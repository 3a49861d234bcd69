import errno
import hashlib
import io
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import piexif
import pytest
from PIL import Image
from small_files import small_files_only
from sticky_pi_uploader.demo.pictures import picture_bytes
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.models import Candidate, Fingerprint
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder
from tracing import traced

NAME = "1b74105a.2020-07-05_10-07-16.jpg"
TAKEN = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names
SMALL = (160, 120)
WHOLE = picture_bytes("1b74105a", TAKEN, size=SMALL)
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def image_dir(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.fixture
def take_in(tmp_path, image_dir):
    """Take in what lies at a path in image_dir; the trap's clock may be said."""
    thumbnails = ThumbnailFolder(os.fspath(tmp_path / "thumbnails"))

    def take(path=NAME, clock=NOW, *, synchronised=None):
        reader = PictureReader(os.fspath(image_dir), thumbnails, clock.timestamp, lambda: synchronised)
        return reader.read(Candidate(path, Fingerprint(0, 0, 0)), "the card")

    return take


def fingerprint(path):
    status = os.stat(path)
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def md5(blob):
    return hashlib.md5(blob, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("level", ["1b74105a", "1b74105a/2020-07-05"])
def test_a_picture_behind_a_link_in_the_place_of_a_folder_counts_as_gone(tmp_path, image_dir, take_in, level):
    """A scan enters no link; a folder may become one between its look at the name and the reading."""
    folder = image_dir / "1b74105a" / "2020-07-05"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(WHOLE)
    os.rename(image_dir / level, tmp_path / "elsewhere")
    (image_dir / level).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        take_in(f"1b74105a/2020-07-05/{NAME}")


@pytest.mark.parametrize("generation", [2020, 2022])
def test_a_whole_picture_is_settled_at_once_with_all_that_is_known_of_it(tmp_path, image_dir, take_in, generation):
    blob = picture_bytes("1b74105a", TAKEN, generation=generation, size=SMALL)
    (image_dir / NAME).write_bytes(blob)
    result = take_in()
    assert result.final
    taken = result.taken
    assert (taken.path, taken.fingerprint, taken.file_system) == (NAME, fingerprint(image_dir / NAME), "the card")
    assert (taken.device, taken.datetime, taken.md5) == ("1b74105a", "2020-07-05T10:07:16Z", md5(blob))
    assert (taken.suspect, taken.rejected) == (None, None)
    assert not taken.metadata.keys() & {"device", "datetime", "md5"}
    assert (taken.metadata["width"], taken.metadata["height"]) == SMALL
    kept = ThumbnailFolder(os.fspath(tmp_path / "thumbnails")).find(md5(blob))
    for encoded, most in ((kept.large, (512, 384)), (kept.mini, (128, 96))):
        with Image.open(io.BytesIO(encoded)) as thumbnail:
            assert thumbnail.width <= most[0]
            assert thumbnail.height <= most[1]


def test_real_pictures_of_both_generations_are_taken_in(samples, image_dir, take_in):
    for sample in samples.glob("*.jpg"):
        shutil.copy(sample, image_dir)
        result = take_in(sample.name)
        assert result.final, result
        assert (result.taken.rejected, result.taken.suspect) == (None, None)
        assert result.taken.md5 == md5(sample.read_bytes())
        assert result.taken.device == sample.name[:8]


def test_the_device_is_kept_as_the_name_has_it_and_the_folder_says_nothing(image_dir, take_in):
    path = "ffffffff/1999-01-01/1B74105A.2020-07-05_10-07-16.JPG"
    (image_dir / path).parent.mkdir(parents=True)
    (image_dir / path).write_bytes(WHOLE)
    taken = take_in(path).taken
    assert (taken.device, taken.datetime, taken.rejected) == ("1B74105A", "2020-07-05T10:07:16Z", None)


def with_exif(**tags):
    """Return a picture with other EXIF: ImageIFD tags by name, and `comment` for UserComment."""
    comment = tags.pop("comment", None)
    exif = {"0th": {getattr(piexif.ImageIFD, name): value for name, value in tags.items()}}
    if comment is not None:
        exif["Exif"] = {piexif.ExifIFD.UserComment: comment}
    target = io.BytesIO()
    piexif.insert(piexif.dump(exif), WHOLE, target)
    return target.getvalue()


def without_exif():
    target = io.BytesIO()
    piexif.remove(WHOLE, target)
    return target.getvalue()


def encoded(kind):
    with io.BytesIO() as file:
        Image.new("RGB", SMALL).save(file, kind)
        return file.getvalue()


def bomb():
    """Return a picture whose header claims 65,500 pixels each way."""
    frame = re.search(rb"\xff\xc0..\x08....", WHOLE, re.DOTALL)
    return WHOLE[: frame.end() - 4] + (65500).to_bytes(2, "big") * 2 + WHOLE[frame.end() :]


def damaged_exif():
    start = WHOLE.index(b"Exif\0\0") + 6
    return WHOLE[:start] + bytes(range(200)) + WHOLE[start + 200 :]


def huge_literal():
    """Return a picture with 10 MB of dict literal between its header and its data."""
    literal = b"{" + b"'a': 1, " * 1_250_000 + b"}"
    return WHOLE[:2] + b"\xff\xe1\xff\xffExif\0\0MM\0*\0\0\0\x08" + literal + WHOLE[2:]


WRONG = [
    pytest.param(b"", "empty: nothing of it was written", id="zero bytes"),
    pytest.param(bytes(4096), "nothing but zero bytes", id="only zeros"),
    pytest.param(b"hello, trap\n" * 100, "isn't a JPEG picture", id="text"),
    pytest.param(b'{"version": 1}', "isn't a JPEG picture: it is a JSON text", id="JSON"),
    pytest.param(encoded("PNG"), "it is a PNG picture", id="PNG named .jpg"),
    pytest.param(encoded("GIF"), "it is a GIF picture", id="GIF named .jpg"),
    pytest.param(without_exif(), "no EXIF, so it isn't a Sticky Pi's picture", id="no EXIF"),
    pytest.param(encoded("JPEG"), "no EXIF, so it isn't a Sticky Pi's picture", id="another program's JPEG"),
    pytest.param(with_exif(Make=b"Canon", Model=b"EOS"), "another camera's: Make is 'Canon'", id="another camera"),
    pytest.param(with_exif(Model=b"x"), "no Make", id="no Make"),
    pytest.param(with_exif(Make=b"StickyPi", comment=b"one line"), "UserComment has 1 lines", id="half a comment"),
    pytest.param(damaged_exif(), "its EXIF is", id="damaged EXIF"),
    pytest.param(huge_literal(), "EXIF is damaged", id="10 MB of literal"),
    pytest.param(with_exif(Make=b"{'a':" + b"[" * 1000 + b"]" * 1000 + b"}"), "EXIF is damaged", id="1,000 levels"),
    pytest.param(with_exif(Make=b"{" + b"'a': 1, " * 7000 + b"}"), "EXIF is damaged", id="the longest literal"),
    pytest.param(with_exif(Make=b"{'a': __import__('os').getpid()}"), "EXIF is damaged", id="code"),
    pytest.param(bomb(), "65500x65500 pixels, more than any trap's camera has", id="decompression bomb"),
]


@pytest.mark.parametrize(("blob", "why"), WRONG)
def test_what_is_no_picture_says_why_and_is_not_settled_as_it_may_still_be_being_written(
    tmp_path, image_dir, take_in, blob, why
):
    (image_dir / NAME).write_bytes(blob)
    result = take_in()
    taken = result.taken
    assert not result.final
    assert why in taken.rejected
    assert taken.rejected.isprintable()
    assert len(taken.rejected) < 200
    assert (taken.device, taken.datetime, taken.md5) == ("1b74105a", "2020-07-05T10:07:16Z", md5(blob))
    assert taken.fingerprint == fingerprint(image_dir / NAME)
    assert (taken.metadata, taken.suspect) == (None, None)
    assert not (tmp_path / "thumbnails").exists()


@pytest.mark.parametrize("left", [1, 2, 3, 20, 200, 400, 1000, len(WHOLE) // 2, len(WHOLE) - 100, len(WHOLE) - 2, -1])
def test_a_picture_cut_short_anywhere_is_called_cut_short(image_dir, take_in, left):
    (image_dir / NAME).write_bytes(WHOLE[:left])
    result = take_in()
    assert not result.final
    assert re.search("cut short|isn't a JPEG" if left == 1 else "cut short", result.taken.rejected)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("holiday.jpg", "2 fields between dots, where a picture's has 3"),
        ("1b74105a.2020-07-05_10-07-16.1.jpg", "4 fields"),
        ("1b74105.2020-07-05_10-07-16.jpg", "'1b74105', isn't 8 hexadecimal digits"),
        ("1b74105g.2020-07-05_10-07-16.jpg", "isn't 8 hexadecimal digits"),
        ("1b74105a.2020-13-05_10-07-16.jpg", "doesn't exist"),
        ("1b74105a.2020-02-30_10-07-16.jpg", "doesn't exist"),
        ("1b74105a.2020-07-05_24-07-16.jpg", "doesn't exist"),
        ("1b74105a.2020-07-05T10:07:16.jpg", "isn't written as YYYY-MM-DD_HH-MM-SS"),
        ("1b74105a..jpg", "isn't written as YYYY-MM-DD_HH-MM-SS"),
        ("1b74105a.2000-01-01_00-00-10.jpg", "before 2019-11-01: the trap's clock wasn't set"),
        ("1b74105a.2019-10-31_23-59-59.jpg", "before 2019-11-01"),
        (os.fsdecode(b"1b74105\xe9.2020-07-05_10-07-16.jpg"), "isn't 8 hexadecimal digits"),
        ("1b7\n105a.2020-07-05_10-07-16.jpg", "isn't 8 hexadecimal digits"),
    ],
)
def test_a_wrong_name_says_which_field_is_wrong(image_dir, take_in, name, why):
    (image_dir / name).write_bytes(WHOLE)
    result = take_in(name)
    assert why in result.taken.rejected
    assert result.taken.rejected.isprintable()
    assert (result.taken.device, result.taken.datetime) == (None, None)
    assert result.taken.fingerprint == fingerprint(image_dir / name)


@pytest.mark.parametrize("synchronised", [True, False, None])
def test_it_is_noted_whether_the_clock_was_synchronised(image_dir, take_in, synchronised):
    (image_dir / NAME).write_bytes(picture_bytes("1b74105a", TAKEN, size=SMALL))
    assert take_in(synchronised=synchronised).taken.clock_synchronised is synchronised
    (image_dir / NAME).write_bytes(b"no picture")
    assert take_in(synchronised=synchronised).taken.clock_synchronised is synchronised


def test_a_hole_of_zeros_makes_a_picture_suspect_but_it_is_sent(image_dir, take_in):
    # Large enough that the hole lies in plain data; nothing but noise can follow it.
    blob = bytearray(picture_bytes("1b74105a", TAKEN, size=(640, 480)))
    middle = len(blob) * 2 // 3
    blob[middle : middle + 4096] = bytes(4096)
    (image_dir / NAME).write_bytes(blob)
    result = take_in()
    assert (result.final, result.taken.rejected) == (True, None)
    assert "zero bytes in its place" in result.taken.suspect


def test_bytes_behind_the_end_are_noted_and_may_still_be_growing_while_the_file_is_young(image_dir, take_in):
    path, metadata = image_dir / NAME, {}
    for more, age, settled in (
        (b"", 0.0, True),
        (bytes(4096), 0.0, False),
        (bytes(4096), 1.9, False),
        (b"\n", 2.0, True),
    ):
        path.write_bytes(WHOLE + more)
        os.utime(path, (NOW.timestamp() - age,) * 2)
        result = take_in()
        assert (result.final, result.taken.rejected) == (settled, None)
        assert result.taken.suspect == (f"note: {len(more)} bytes behind the end" if more else None)
        metadata = metadata or result.taken.metadata
        assert result.taken.metadata == metadata
        assert "filename" not in metadata


def test_a_doubt_of_the_time_comes_before_notes(image_dir, take_in):
    name = "1b74105a.2099-01-01_00-00-00.jpg"
    (image_dir / name).write_bytes(WHOLE + b"\n")
    assert take_in(name).taken.suspect == (
        "dated in the future: the camera's clock was wrong, or the trap's is; note: 1 bytes behind the end"
    )


@pytest.mark.parametrize(
    ("name", "clock", "doubted"),
    [
        ("1b74105a.2099-01-01_00-00-00.jpg", NOW, True),
        ("1b74105a.2026-11-02_00-00-01.jpg", NOW, True),
        ("1b74105a.2026-11-01_23-59-59.jpg", NOW, False),
        ("1b74105a.2020-01-01_00-00-00.jpg", NOW, False),
        ("1b74105a.2099-01-01_00-00-00.jpg", datetime(2000, 1, 1, 0, 5, tzinfo=UTC), False),
        ("1b74105a.2020-01-01_00-00-00.jpg", datetime(2000, 1, 1, 0, 5, tzinfo=UTC), False),
        ("1b74105a.2099-01-01_00-00-00.jpg", datetime(2019, 11, 1, tzinfo=UTC), True),
    ],
)
def test_a_far_future_is_doubted_unless_it_is_the_trap_whose_clock_is_not_set(image_dir, take_in, name, clock, doubted):
    (image_dir / name).write_bytes(WHOLE)
    result = take_in(name, clock)
    assert (result.final, result.taken.rejected) == (True, None)
    assert ("dated in the future" in (result.taken.suspect or "")) is doubted


def test_both_doubts_are_told(image_dir, take_in):
    name = "1b74105a.2099-01-01_00-00-00.jpg"
    (image_dir / name).write_bytes(with_exif(Make=b"{'temp': 'warm', 'lat': 1.0, 'lng': 2.0, 'alt': 3.0}"))
    suspect = take_in(name).taken.suspect
    assert "no usable temp" in suspect
    assert "dated in the future" in suspect


def no_file(path, kind):
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    elif kind == "link to a picture":
        (path.parent / "real").write_bytes(WHOLE)
        path.symlink_to("real")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "folder gone":
        path.parent.rmdir()
    elif kind == "folder is a file":
        path.parent.rmdir()
        path.parent.touch()


@pytest.mark.parametrize(
    "kind",
    ["nothing", "FIFO", "folder", "socket", "link to a picture", "loop", "folder gone", "folder is a file"],
)
def test_what_is_no_file_any_more_when_it_is_read_counts_as_gone_and_is_not_waited_for(image_dir, take_in, kind):
    (image_dir / "a").mkdir()
    no_file(image_dir / "a" / NAME, kind)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        take_in(f"a/{NAME}")
    assert os.listdir("/proc/self/fd") == before


@contextmanager
def as_nobody(*open_to):
    """Give up root's rights for a while; the folders are opened to everybody before."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give its rights up")
    for folder in open_to:
        os.chmod(folder, 0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_file_is_not_rejected_for_want_of_descriptors_or_memory(image_dir, take_in, monkeypatch, error):
    (image_dir / NAME).write_bytes(WHOLE)

    def fail(*_):
        raise OSError(error, os.strerror(error), NAME)

    monkeypatch.setattr("sticky_pi_uploader.intake.read_picture.open_picture", fail)
    with pytest.raises(OSError, match=os.strerror(error)):
        take_in()


def test_an_unreadable_file_says_so_and_will_be_looked_at_again(tmp_path, image_dir, take_in):
    (image_dir / NAME).write_bytes(WHOLE)
    os.chmod(image_dir / NAME, 0o600)
    with as_nobody(image_dir, tmp_path, tmp_path.parent, tmp_path.parent.parent):
        result = take_in()
    assert not result.final
    assert result.taken.rejected == "can't be read: Permission denied"
    assert result.taken.fingerprint is None
    assert (result.taken.device, result.taken.datetime) == ("1b74105a", "2020-07-05T10:07:16Z")


def test_a_whole_picture_that_changes_while_it_is_read_is_not_settled(image_dir, take_in):
    path = image_dir / NAME
    path.write_bytes(picture_bytes("1b74105a", TAKEN, size=(1600, 1200)))
    stop = threading.Event()

    def touch():
        while not stop.is_set():
            os.utime(path)

    toucher = threading.Thread(target=touch)
    toucher.start()
    try:
        result = take_in()
    finally:
        stop.set()
        toucher.join()
    assert not result.final
    assert result.taken.rejected == "it changed while it was read"
    assert take_in().final


WRITER = """
import sys, time
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb", buffering=0) as target:
    while piece := source.read(2000):
        target.write(piece)
        time.sleep(0.005)
"""


def test_a_file_that_grows_is_not_settled_until_it_is_whole(tmp_path, image_dir, take_in):
    source = tmp_path / "source"
    source.write_bytes(picture_bytes("1b74105a", TAKEN, size=(800, 600)))
    (image_dir / NAME).touch()
    with subprocess.Popen([sys.executable, "-c", WRITER, source, image_dir / NAME]) as writer:
        looks = []
        while writer.poll() is None:
            looks.append(take_in())
    settled = [each for each in looks if each.final]
    assert all(each.taken.md5 == md5(source.read_bytes()) for each in settled)
    assert len(looks) - len(settled) > 1
    assert take_in().final


def test_thumbnails_that_cannot_be_written_are_an_error_and_no_fault_of_the_picture(image_dir, take_in):
    (image_dir / NAME).write_bytes(WHOLE)
    with small_files_only(), pytest.raises(OSError, match="thumbnails") as caught:
        take_in()
    assert caught.value.errno == errno.EFBIG
    assert take_in().final


TAKE_ONE = """
import sys
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.models import Candidate, Fingerprint
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder
reader = PictureReader(sys.argv[1], ThumbnailFolder(sys.argv[2]), lambda: 1.8e9)
print(reader.read(Candidate(sys.argv[3], Fingerprint(0, 0, 0)), "the card").final)
"""


def calls_on(path, *command):
    """Run a command, and return its system calls on one file: (name, result)."""
    log = f"{path}.strace"
    done = traced(["-y", "-o", log, "-e", "trace=openat,read,pread64,readv,mmap,fsync,fdatasync"], command)
    assert done.returncode == 0, done.stderr
    with open(log, encoding="utf-8", errors="replace") as file:
        # Not by strace's own choice of a path: it doesn't know one that counts from an open folder.
        lines = "".join(line for line in file if f"<{path}>" in line)
    return re.findall(r"^\d+ +(\w+)\(.* = (-?\w+)", lines, re.MULTILINE)


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(WHOLE, id="small"),
        pytest.param(picture_bytes("1b74105a", TAKEN, size=(1600, 1200)), id="large"),
        pytest.param(WHOLE[:-2], id="cut short"),
        pytest.param(bomb(), id="bomb"),
    ],
)
def test_a_file_is_opened_once_and_each_of_its_bytes_read_once(tmp_path, image_dir, blob):
    path = os.fspath(image_dir / NAME)
    (image_dir / NAME).write_bytes(blob)
    calls = calls_on(path, sys.executable, "-c", TAKE_ONE, image_dir, tmp_path / "thumbnails", NAME)
    assert [name for name, _ in calls].count("openat") == 1
    assert sum(int(result) for name, result in calls if name.startswith("read")) == len(blob)
    assert {"mmap", "pread64"}.isdisjoint(name for name, _ in calls)


def test_a_picture_is_flushed_before_it_counts_as_taken_in(tmp_path, image_dir):
    (image_dir / NAME).write_bytes(WHOLE)
    calls = calls_on(
        os.fspath(image_dir / NAME), sys.executable, "-c", TAKE_ONE, image_dir, tmp_path / "thumbnails", NAME
    )
    assert calls[-1] == ("fsync", "0")


def test_a_hundred_wrong_files_leave_memory_threads_and_files_as_they_were(image_dir, take_in):
    blobs = [param.values[0] for param in WRONG]

    def take_all(round_):
        for number in range(100):
            name = f"1b74105a.{TAKEN + timedelta(minutes=number):%Y-%m-%d_%H-%M-%S}.jpg"
            blob = blobs[number % len(blobs)]
            (image_dir / name).write_bytes(blob if number % 3 else WHOLE[: 200 + 37 * number])
            assert not take_in(name).final, (round_, number)

    take_all(0)  # what is loaded and grows to its size once
    threads, files, memory = threading.active_count(), os.listdir("/proc/self/fd"), rss()
    take_all(1)
    assert threading.active_count() == threads
    assert os.listdir("/proc/self/fd") == files
    assert rss() - memory < 20_000_000


def rss():
    """Return this process's memory in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
