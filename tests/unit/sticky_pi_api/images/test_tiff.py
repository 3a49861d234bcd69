import struct
import tracemalloc
import warnings

import pytest
from sticky_pi_api.images.tiff import ExifError, read_exif

MAKE, EXIF_IFD, GPS_IFD = 0x010F, 0x8769, 0x8825
BYTE, ASCII, SHORT, LONG, UNDEFINED, DOUBLE = 1, 2, 3, 4, 7, 12
A_FEW_MB = 4 * 2**20


@pytest.fixture
def small_memory():
    """Fail when a test makes more than a few MB."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < A_FEW_MB


@pytest.mark.parametrize(
    "comment", [b"v,T\n3.1.0,17.0", b"ASCII\0\0\0v\n1", bytes(8) + b"v\n1\0\0", b"\xff\0", b"", b"v"]
)
def test_both_entries_are_given_as_they_are(tiff_of, comment):
    assert read_exif(tiff_of("StickyPi", comment)) == ("StickyPi", comment, True)


def test_what_is_not_there_is_empty(tiff_of):
    assert read_exif(tiff_of()) == ("", None, True)


def test_make_is_read_as_the_servers_read_it(directory):
    assert read_exif(directory((MAKE, ASCII, 9, 26), more=b"Sti\xffkyPi\0")) == ("Sti\xffkyPi", None, True)
    assert read_exif(directory((MAKE, ASCII, 8, 26), more=b"StickyPi")) == ("StickyPi", None, False)
    assert read_exif(directory((MAKE, ASCII, 10, 26), more=b"StickyPi\0\0")).make == "StickyPi\0"
    for kind in (BYTE, SHORT, UNDEFINED):
        assert read_exif(directory((MAKE, kind, 1, 5 << 16))) == (None, None, False)


@pytest.mark.parametrize("kind", [*range(14), 99, 65535])
@pytest.mark.parametrize("count", [0x40000000, 0xFFFFFFFF, 0x10000, 2000])
def test_a_false_count_is_damage_and_costs_nothing(directory, kind, count, small_memory):
    assert read_exif(directory((MAKE, kind, count, 8))) == ("", None, False)


def test_entries_that_all_hold_the_same_bytes_cost_nothing(directory, small_memory):
    known_tags = range(0x00FE, 0x0130)
    tiff = directory(*((tag, BYTE, 60_000, 8) for tag in known_tags), more=bytes(62_000))
    with pytest.raises(ExifError, match="more than there is"):
        read_exif(tiff)
    below = directory((EXIF_IFD, LONG, 1, 26), more=tiff[8:])
    with pytest.raises(ExifError, match="more than there is"):
        read_exif(below)


def test_a_second_header_is_damage_and_hides_nothing_from_the_bounds(directory, small_memory):
    """The servers' Pillow refuses it; newer ones pass over it, and would read another structure than was checked."""
    tiff = directory(*((tag, BYTE, 60_000, 8) for tag in range(0x00FE, 0x0130)), more=bytes(62_000))
    with pytest.raises(ExifError, match="its EXIF is damaged"):
        read_exif(b"Exif\0\0" + tiff)


def test_directories_that_point_to_themselves_or_each_other_end(directory, small_memory):
    for entry in ((EXIF_IFD, LONG, 1, 8), (GPS_IFD, LONG, 1, 8)):
        assert read_exif(directory(entry)).make == ""
    assert read_exif(directory(*[(EXIF_IFD, LONG, 1, 8)] * 900)).make == ""


def test_a_chain_of_directories_is_followed_no_further_than_piexif_does(directory):
    assert read_exif(directory(following=8)) == ("", None, True)


@pytest.mark.parametrize("kind", [BYTE, ASCII, UNDEFINED, DOUBLE])
def test_a_pointer_of_another_type_leads_nowhere(directory, kind):
    assert read_exif(directory((EXIF_IFD, kind, 1, 8))) == ("", None, False)


@pytest.mark.parametrize("tiff", [b"MM", b"MM\0*", b"x" * 65_000])
def test_what_has_no_whole_head_is_damage(tiff, small_memory):
    with pytest.raises(ExifError):
        read_exif(tiff)


@pytest.mark.parametrize("tiff", [b"", b"MM\0*\0\0\0\x08", b"MM\0*\xff\xff\xff\xff", b"II*\0" + b"\xff" * 200])
def test_a_head_that_leads_nowhere_has_nothing_to_read(tiff, small_memory):
    assert read_exif(tiff) == ("", None, False)


def test_more_entries_than_there_are_is_damage(directory, small_memory):
    tiff = directory(count=65535, more=struct.pack(">HHLL", MAKE, SHORT, 1, 0) * 5400)
    assert read_exif(tiff) == ("", None, False)


def test_what_pillow_warns_of_nobody_is_told(directory):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert read_exif(directory((MAKE, ASCII, 2000, 8))).make == ""
    assert warned == []


def test_cut_anywhere_or_changed_anywhere_it_is_read_or_damaged(tiff_of, small_memory):
    tiff = tiff_of("StickyPi", b"v,T\n3.1.0,17.0")
    read = damage = 0
    for at in range(len(tiff)):
        for damaged in (tiff[:at], *(tiff[:at] + bytes([value]) + tiff[at + 1 :] for value in (0, 255, tiff[at] ^ 1))):
            try:
                exif = read_exif(damaged)
            except ExifError:
                damage += 1
                continue
            read += 1
            assert isinstance(exif.make, str | None)
            assert isinstance(exif.user_comment, bytes | None)
    assert min(read, damage) > 0
