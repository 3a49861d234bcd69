import struct

import pytest
from sticky_pi_api.jpeg import HOLE, JpegError, read_jpeg

MOST = 89_478_485


def set_dimensions(blob, width, height):
    """Change what the start of frame claims."""
    at = blob.index(b"\xff\xc0") + 5
    return blob[:at] + struct.pack(">HH", height, width) + blob[at + 4 :]


def test_the_header_says_dimensions_exif_and_where_the_data_begin(picture):
    jpeg = read_jpeg(picture, MOST)
    assert (jpeg.width, jpeg.height) == (160, 120)
    assert jpeg.exif.startswith((b"MM\0*", b"II*\0"))
    assert picture[jpeg.scan : jpeg.scan + 2] == b"\xff\xda"


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "empty"),
        (bytes(5000), "never written"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "a PNG picture"),
        (b"GIF89a" + b"x" * 50, "a GIF picture"),
        (b"\0\0\0\x18ftypheic" + b"x" * 50, "a HEIC picture"),
        (b"RIFF1234WEBPVP8 ", "a WebP picture"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"some text", "begins as no picture does"),
        (b"\xff\xd8", "cut short"),
        (b"\xff", "begins as no picture does"),
        (b"\xff\xd8\xff\xd9", "no picture data"),
        (b"\xff\xd8\xff\xe1\0\x10abc\xff\xd9", "no picture data"),
        (b"\xff\xd8\xff\xe1\0\0\xff\xd9", "no picture data"),
        (b"\xff\xd8\xff\xe1\0\4\xff\xd9", "no picture data"),  # a segment that ends with the file
        (b"\xff\xd8\xff\xd0\xff\xd9", "no picture data"),
        (b"\xff\xd8\xff\xfe\0\x02\0\xda\0\x02\xff\xd9", "no picture data"),  # a segment without its mark
        (b"\xff\xd8" + b"\xff" * 5000 + b"\xff\xd9", "no picture data"),
        (b"\xff\xd8\xff\xd9" * 100, "no picture data"),
        (b"\xff\xd8" + b"\xff\xfe\0\x02" * 100_000 + b"\xff\xd9", "no picture data"),
        (b"\xff\xd8\xff\xda\0\x02\xff\xd9", "describes 0 pictures"),
        (b"\xff\xd8\xff\xc0\0\x02\xff\xda\0\x02\xff\xd9", "0x0 pixels"),
    ],
)
def test_what_is_no_whole_jpeg_is_named(blob, reason):
    with pytest.raises(JpegError, match=reason):
        read_jpeg(blob, MOST)


def test_a_picture_that_is_followed_by_something_is_cut_short(picture):
    with pytest.raises(JpegError, match="cut short"):
        read_jpeg(picture + b"\0" * 100, MOST)


def test_absurd_dimensions_are_named_before_anything_is_decoded(picture):
    with pytest.raises(JpegError, match="65500x65500"):
        read_jpeg(set_dimensions(picture, 65500, 65500), MOST)
    with pytest.raises(JpegError, match="160x0"):
        read_jpeg(set_dimensions(picture, 160, 0), MOST)


def test_a_limit_that_the_user_took_away_is_none(picture):
    assert read_jpeg(set_dimensions(picture, 65500, 65500), None).width == 65500


def test_two_frames_are_a_damaged_header(picture):
    at = picture.index(b"\xff\xc0")
    frame = picture[at : at + 19]
    with pytest.raises(JpegError, match="describes 2 pictures"):
        read_jpeg(picture[:at] + frame + picture[at:], MOST)


def test_a_hole_counts_only_in_the_data(picture):
    assert not read_jpeg(picture, MOST).has_hole
    middle = read_jpeg(picture, MOST).scan + 100
    assert read_jpeg(picture[:middle] + HOLE + picture[middle:], MOST).has_hole
    assert not read_jpeg(picture[:middle] + HOLE[1:] + b"\1" + picture[middle:], MOST).has_hole
    in_header = b"\xff\xd8\xff\xfe" + struct.pack(">H", 102) + bytes(100) + picture[2:]
    assert not read_jpeg(in_header, MOST).has_hole


def test_a_progressive_picture_is_taken_but_not_one_of_too_many_scans_or_pixels(with_exif):
    blob = with_exif(None, progressive=True)
    assert read_jpeg(blob, MOST).width == 64
    last = blob.rindex(b"\xff\xda")
    with pytest.raises(JpegError, match="scans"):
        read_jpeg(blob[:-2] + blob[last:-2] * 100 + b"\xff\xd9", MOST)
    at = blob.index(b"\xff\xc2") + 5
    with pytest.raises(JpegError, match="progressive and large"):
        read_jpeg(blob[:at] + struct.pack(">HH", 6000, 6000) + blob[at + 4 :], MOST)


def test_a_decoder_gets_all_but_the_metadata(picture):
    bare = read_jpeg(picture, MOST).without_metadata()
    assert b"Exif" not in bare
    again = read_jpeg(bare, MOST)
    assert (again.width, again.height, again.exif) == (160, 120, None)
    assert bare[again.scan :] == picture[read_jpeg(picture, MOST).scan :]
