# ruff: noqa: DTZ001 - naive datetimes are UTC throughout
import errno
import hashlib
import io
import os
import traceback
from datetime import datetime

import pytest
from sticky_pi_api.exceptions import ImageError
from sticky_pi_api.filesystem.safe_open import FileFailedError, open_regular, unwrapped
from sticky_pi_api.utils import datetime_to_string, md5, multipart_etag, string_to_datetime

NOON = datetime(2020, 6, 20, 12, 0, 9)


def md5_of(blob):
    return hashlib.md5(blob, usedforsecurity=False)


@pytest.mark.parametrize("blob", [b"", b"a", b"picture" * 10_000])
def test_md5_is_of_the_whole_file_however_it_is_given(tmp_path, blob):
    path = tmp_path / "file"
    path.write_bytes(blob)
    expected = md5_of(blob).hexdigest()
    assert md5(path) == md5(str(path)) == md5(io.BytesIO(blob), chunk_size=7) == expected


def test_file_like_objects_are_read_from_their_start_and_left_there():
    file = io.BytesIO(b"0123456789")
    file.seek(5)
    assert md5(file) == md5_of(b"0123456789").hexdigest()
    assert file.tell() == 0
    file.seek(5)
    assert multipart_etag(file, 100) == md5_of(b"0123456789").hexdigest()
    assert file.tell() == 0


def test_an_etag_is_made_of_the_parts_md5s(tmp_path):
    parts = [b"a" * 8, b"b" * 8, b"c"]
    path = tmp_path / "file"
    path.write_bytes(b"".join(parts))
    expected = md5_of(b"".join(md5_of(part).digest() for part in parts)).hexdigest() + "-3"
    assert multipart_etag(path, 8) == expected


def test_an_etag_of_one_part_is_its_md5_and_of_an_empty_file_nothing():
    assert multipart_etag(io.BytesIO(b"12345678"), 8) == md5_of(b"12345678").hexdigest()
    assert multipart_etag(io.BytesIO(b""), 8) == ""


def test_datetimes_go_to_text_and_back():
    assert datetime_to_string(NOON) == "2020-06-20_12-00-09"
    assert string_to_datetime("2020-06-20_12-00-09") == NOON
    assert string_to_datetime("2020-06-20T12:00:09Z") == NOON
    assert string_to_datetime(NOON) is NOON
    assert datetime_to_string("2020-06-20T12:00:09Z") == "2020-06-20_12-00-09"


def test_years_are_written_with_four_digits():
    assert datetime_to_string(datetime(1, 2, 3)) == "0001-02-03_00-00-00"


@pytest.mark.parametrize(
    "text",
    [
        *("", "2020-06-20", "2020-06-20 12:00:09", "2020-06-20T12:00:09", "2020-06-20_12:00:09", "2020-6-20_12-00-09"),
        *("2020-06-31_12-00-09", "2020-06-20_12-00-60", "2020-06-20_12-00-09\n", "٢٠٢٠-06-20_12-00-09", None, 0),
    ],
)
def test_other_text_is_no_datetime(text):
    with pytest.raises(ValueError, match="isn't a datetime"):
        string_to_datetime(text)


def test_what_is_no_regular_file_is_named_and_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    open_before = len(os.listdir("/proc/self/fd"))
    for path, what in ((tmp_path / "fifo", "a pipe"), (tmp_path, "a folder"), ("/dev/null", "a device")):
        with pytest.raises(ImageError, match=what):
            md5(path)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_path_that_no_file_can_have_is_the_pictures_fault():
    with pytest.raises(ImageError, match="zero byte"):
        open_regular("a\0b")


def test_what_the_file_system_said_is_raised_as_it_was():
    said = OSError(errno.EIO, "Input/output error", "/card/a.yaml")
    with pytest.raises(OSError, match=r"Input/output error: '/card/a\.yaml'") as raised, unwrapped():
        raise FileFailedError(said)
    assert raised.value is said
    assert "FileFailedError" not in "".join(traceback.format_exception(said))
    with pytest.raises(KeyError), unwrapped():
        raise KeyError


def test_links_to_files_are_followed(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert md5(tmp_path / "link") == md5_of(b"x").hexdigest()
