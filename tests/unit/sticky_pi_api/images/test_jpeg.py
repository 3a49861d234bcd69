import io
import struct

import pytest
from PIL import Image
from sticky_pi_api.images.jpeg import HOLE, JpegError, read_jpeg

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


@pytest.mark.parametrize("more", [b"\n", bytes(100), bytes(100_000), b"\xff\xd9", b"BRCMo" + b"\xff\xda\xff\xd9" * 50])
def test_bytes_behind_the_end_are_noted_and_nothing_else(picture, more):
    jpeg = read_jpeg(picture + more, MOST)
    assert (jpeg.end, jpeg.surplus) == (len(picture), len(more))
    assert jpeg.doubts == (f"note: {len(more)} bytes behind the end",)
    assert not jpeg.has_hole
    assert (jpeg.bare_header(), jpeg.coded()) == (read_jpeg(picture, MOST).bare_header(), jpeg.coded())
    assert jpeg.coded() == read_jpeg(picture, MOST).coded()


def test_a_second_picture_behind_the_end_is_no_part_of_the_first(picture, with_exif):
    jpeg = read_jpeg(picture + with_exif(None, size=(640, 480), progressive=True) * 10, MOST)
    assert (jpeg.width, jpeg.end) == (160, len(picture))


def test_without_an_end_mark_behind_its_data_a_picture_is_cut_short_whatever_follows(picture):
    header = picture[2 : read_jpeg(picture, MOST).scan]
    for blob in (picture[:-2], picture[:-1], picture[:-2] + bytes(100), picture[:-2] + b"\xff" * 9):
        with pytest.raises(JpegError, match="cut short"):
            read_jpeg(blob, MOST)
    # A small picture in the header, as the Pi's camera writes one, has an end mark of its own.
    inner = b"\xff\xfe" + struct.pack(">H", len(picture) + 2) + picture
    assert read_jpeg(b"\xff\xd8" + inner + picture[2:], MOST).end == len(inner) + len(picture)
    for blob in (b"\xff\xd8" + inner, b"\xff\xd8" + inner + header, b"\xff\xd8" + inner + picture[2:-2]):
        with pytest.raises(JpegError, match="cut short"):
            read_jpeg(blob + b"\0", MOST)


def test_any_number_of_fill_bytes_may_stand_before_a_marker(picture):
    plain = read_jpeg(picture, MOST)
    filled, at = b"\xff\xd8", 2
    while at < plain.scan:
        end = at + 2 + int.from_bytes(picture[at + 2 : at + 4], "big")
        filled, at = filled + b"\xff" * (at % 7) + picture[at:end], end
    filled += b"\xff" * 3 + picture[plain.scan : -2] + b"\xff" * 1000 + picture[-2:]
    jpeg = read_jpeg(filled, MOST)
    assert (jpeg.doubts, jpeg.surplus, jpeg.exif) == ((), 0, plain.exif)
    assert filled[jpeg.data] == picture[plain.data]
    with Image.open(io.BytesIO(filled)) as image, Image.open(io.BytesIO(picture)) as same:
        assert image.tobytes() == same.tobytes()


def test_bytes_that_belong_to_no_part_of_the_header_are_doubted(picture):
    at = read_jpeg(picture, MOST).scan
    jpeg = read_jpeg(picture[:at] + b"stray\xff\0" + picture[at:], MOST)
    assert "7 bytes in it belong to none of its parts" in jpeg.doubts[0]
    assert jpeg.bare_header() + jpeg.coded() == read_jpeg(picture, MOST).bare_header() + jpeg.coded()


def test_exif_segments_are_one_structure_whatever_stands_between(picture):
    exif = read_jpeg(picture, MOST).exif
    empty, other = b"\xff\xe1\0\x08Exif\0\0", b"\xff\xe1\0\x0bhttp://a\0"
    second = b"\xff\xe1\0\x0aExif\0\0MM"
    assert read_jpeg(picture[:2] + other + picture[2:], MOST).doubts == ()
    at = picture.index(b"\xff\xdb")
    assert read_jpeg(picture[:at] + second + picture[at:], MOST).exif == exif + b"MM"
    jpeg = read_jpeg(picture[:2] + empty + picture[2:], MOST)
    assert jpeg.exif == exif
    assert jpeg.doubts == ("note: an empty Exif segment before the one with metadata",)


@pytest.mark.parametrize("marker", sorted({*range(0x02, 0xFF)} - {*range(0xD0, 0xDA)}))
def test_a_marker_that_has_no_place_in_the_data_is_doubted_or_hides_the_end(picture, marker):
    at = read_jpeg(picture, MOST).data.start + 100
    jpeg = read_jpeg(picture[:at] + bytes([0xFF, marker, 0, 2]) + picture[at + 4 :], MOST)
    assert f"(FF {marker:02X})" in jpeg.doubts[0]
    with pytest.raises(JpegError, match="a marker amid them hides the end"):
        read_jpeg(picture[:at] + bytes([0xFF, marker, 0xFF, 0xFE]) + picture[at + 4 :], MOST)


@pytest.mark.parametrize(
    ("order", "is_doubted"), [(b"01234567012", False), (b"0124", True), (b"1", True), (b"00", True)]
)
def test_restart_markers_out_of_order_are_doubted(picture, order, is_doubted):
    jpeg = read_jpeg(picture, MOST)
    restarts = b"".join(bytes([1, 0xFF, 0xD0 + digit - 0x30]) for digit in order)
    with_interval = picture[: jpeg.scan] + b"\xff\xdd\0\4\0\1" + picture[jpeg.scan : jpeg.data.start]
    doubts = read_jpeg(with_interval + restarts + b"\xff\xd9", MOST).doubts
    assert doubts == (("its data are damaged: their restart markers are out of order",) if is_doubted else ())


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
    assert not read_jpeg(picture + HOLE * 100, MOST).has_hole


def test_a_progressive_picture_is_taken_but_not_one_of_too_many_scans_or_pixels(with_exif):
    blob = with_exif(None, progressive=True)
    assert read_jpeg(blob, MOST).width == 64
    last = blob.rindex(b"\xff\xda")
    with pytest.raises(JpegError, match="scans"):
        read_jpeg(blob[:-2] + blob[last:-2] * 100 + b"\xff\xd9", MOST)
    at = blob.index(b"\xff\xc2") + 5
    with pytest.raises(JpegError, match="large, and not kept row by row"):
        read_jpeg(blob[:at] + struct.pack(">HH", 6000, 6000) + blob[at + 4 :], MOST)


def test_what_a_decoder_keeps_whole_is_bounded_however_few_its_scans_are(picture, with_exif):
    first = with_exif(None, progressive=True, subsampling=0)
    first = first[: first.index(b"\xff\xda", first.index(b"\xff\xda") + 2)]
    sequential = read_jpeg(picture, MOST)
    one_of_three = picture[: sequential.scan] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + picture[sequential.data.start :]
    for blob, marker in ((first + b"\xff\xd9", b"\xff\xc2"), (one_of_three, b"\xff\xc0")):
        at = blob.index(marker) + 5
        for size, is_too_much in ((4000, False), (6700, True)):
            sized = blob[:at] + struct.pack(">HH", size, size) + blob[at + 4 :]
            if is_too_much:
                with pytest.raises(JpegError, match="would take too much memory"):
                    read_jpeg(sized, MOST)
            else:
                assert read_jpeg(sized, MOST).width == size
    at = picture.index(b"\xff\xc0") + 5
    assert read_jpeg(picture[:at] + struct.pack(">HH", 9000, 9000) + picture[at + 4 :], MOST).width == 9000


def test_a_decoder_gets_all_but_the_metadata(picture):
    jpeg = read_jpeg(picture, MOST)
    bare = jpeg.bare_header() + jpeg.coded()
    assert b"Exif" not in bare
    again = read_jpeg(bare, MOST)
    assert (again.width, again.height, again.exif) == (160, 120, None)
    assert bare[again.scan :] == picture[jpeg.scan :]
    assert bare[again.data] == picture[jpeg.data] == jpeg.coded()[:-2]
