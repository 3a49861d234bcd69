import struct
import tracemalloc

import pytest
from sticky_pi_api.exif import ExifError, read_exif

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


@pytest.mark.parametrize("code", [b"", b"ASCII\0\0\0", bytes(8)])
def test_both_texts_are_read_with_and_without_a_character_code(tiff_of, code):
    exif = read_exif(tiff_of("StickyPi", code + b"v,T\n3.1.0,17.0\0\0"))
    assert (exif.make, exif.user_comment) == ("StickyPi", "v,T\n3.1.0,17.0")


def test_what_is_not_there_is_empty(tiff_of, directory):
    assert read_exif(tiff_of()).make == ""
    assert read_exif(directory((MAKE, SHORT, 1, 5 << 16))).make == ""


def test_text_that_is_not_utf8_is_read_as_far_as_it_goes(directory):
    assert read_exif(directory((MAKE, ASCII, 9, 26), more=b"Sti\xffkyPi\0")).make == "Sti�kyPi"


@pytest.mark.parametrize("kind", [*range(14), 99, 65535])
@pytest.mark.parametrize("count", [0x40000000, 0xFFFFFFFF, 0x10000, 2000])
def test_a_false_count_is_damage_and_costs_nothing(directory, kind, count, small_memory):
    with pytest.raises(ExifError, match="damaged"):
        read_exif(directory((MAKE, kind, count, 8)))


def test_entries_that_all_hold_the_same_bytes_cost_nothing(directory, small_memory):
    known_tags = range(0x00FE, 0x0130)
    tiff = directory(*((tag, BYTE, 60_000, 8) for tag in known_tags), more=bytes(62_000))
    with pytest.raises(ExifError, match="more than there is"):
        read_exif(tiff)


def test_directories_that_point_to_themselves_or_each_other_end(directory, small_memory):
    for entry in ((EXIF_IFD, LONG, 1, 8), (GPS_IFD, LONG, 1, 8)):
        with pytest.raises(ExifError, match="more than there is"):
            read_exif(directory(entry))
    with pytest.raises(ExifError, match="more than there is"):
        read_exif(directory(*[(EXIF_IFD, LONG, 1, 8)] * 900))


def test_a_chain_of_directories_is_followed_no_further_than_piexif_does(directory):
    assert read_exif(directory(following=8)).make == ""


@pytest.mark.parametrize("kind", [BYTE, ASCII, UNDEFINED, DOUBLE])
def test_a_pointer_of_another_type_is_damage(directory, kind):
    with pytest.raises(ExifError, match="can't be found"):
        read_exif(directory((EXIF_IFD, kind, 1, 8)))


@pytest.mark.parametrize(
    "tiff",
    [b"", b"MM", b"MM\0*", b"MM\0*\0\0\0\x08", b"MM\0*\xff\xff\xff\xff", b"II*\0" + b"\xff" * 200, b"x" * 65_000],
)
def test_a_structure_that_is_cut_short_is_damage(tiff, small_memory):
    with pytest.raises(ExifError, match="damaged"):
        read_exif(tiff)


def test_more_entries_than_there_are_is_damage(directory, small_memory):
    with pytest.raises(ExifError, match="damaged"):
        read_exif(directory(count=65535, more=struct.pack(">HHLL", MAKE, SHORT, 1, 0) * 5400))


def test_cut_anywhere_or_changed_anywhere_it_is_read_or_damaged(tiff_of, small_memory):
    tiff = tiff_of("StickyPi", b"v,T\n3.1.0,17.0")
    for at in range(len(tiff)):
        for damaged in (tiff[:at], *(tiff[:at] + bytes([value]) + tiff[at + 1 :] for value in (0, 255, tiff[at] ^ 1))):
            try:
                exif = read_exif(damaged)
            except ExifError:
                continue
            assert isinstance(exif.make, str)
