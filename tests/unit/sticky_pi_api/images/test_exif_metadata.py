import gc
import sys
import threading
import time
import warnings

import pytest
from sticky_pi_api.images.exif_metadata import read_metadata
from sticky_pi_api.images.tiff import ExifError
from sticky_pi_uploader.demo.pictures import FIELDS_2020

HEADER = b"v,T,H,B,L,lat,lng,a,l,b\n"
VALUES = "3.1.0,17.0,44.6,72,1.86,49.26140,-123.25103,81.7,1652811355,1"
ALL_2022 = {
    "device_version": "3.1.0", "temp": 17.0, "hum": 44.6, "bat": 72, "lum": 1.86,
    "lat": 49.2614, "lng": -123.25103, "alt": 81.7, "but": True,
}  # fmt: skip


@pytest.fixture
def of_2020(tiff_of):
    def read(**changed):
        return read_metadata(tiff_of(repr({**FIELDS_2020, **changed}).replace("inf", "1e999")))

    return read


@pytest.fixture
def of_2022(tiff_of):
    def read(values=VALUES, header=HEADER):
        return read_metadata(tiff_of("StickyPi", header + values.encode()))

    return read


def test_a_2020_picture_has_its_ten_fields_but_the_last_sync(of_2020):
    fields, doubts = of_2020()
    assert fields == {
        "lng": -121.7552, "lat": 49.243553, "alt": 22.0, "temp": 20.700000762939453, "hum": 82.0,
        "no_flash_exposure_time": 0.12499, "no_flash_iso": 400, "no_flash_bv": 0.46, "no_flash_shutter_speed": 3.000115,
    }  # fmt: skip
    assert doubts == []


def test_a_2022_picture_has_its_fields_by_their_types(of_2022):
    fields, doubts = of_2022()
    assert fields == ALL_2022
    assert {name: type(value) for name, value in fields.items()} == {
        name: type(value) for name, value in ALL_2022.items()
    }
    assert doubts == []


def test_no_fix_means_that_the_place_is_not_known(of_2020, of_2022):
    nowhere = {"lat": None, "lng": None, "alt": None}
    assert of_2020(lat=0.0, lng=0.0, alt=0.0)[0].items() >= nowhere.items()
    assert of_2022("3.1.0,17.0,44.6,72,1.86,0.00000,0.00000,0.0,0,0")[0].items() >= nowhere.items()


def test_on_the_equator_is_a_place(of_2020):
    fields, _ = of_2020(lat=0.0, lng=-78.5, alt=0.0)
    assert (fields["lat"], fields["lng"], fields["alt"]) == (0.0, -78.5, 0.0)


def test_swapped_coordinates_and_failed_sensors_are_kept_as_they_are(of_2020, of_2022):
    assert of_2020(lat=-121.7552)[0]["lat"] == -121.7552
    fields, doubts = of_2022("3.1.0,-300.0,-1.0,-1,1.86,49.26140,-123.25103,81.7,2000-01-01 00:00:00,0")
    assert (fields["temp"], fields["hum"], fields["bat"], fields["but"]) == (-300.0, -1.0, -1, False)
    assert doubts == []


@pytest.mark.parametrize("given", range(1, 10))
def test_values_that_a_cut_comment_had_no_room_for_are_not_there(of_2022, given):
    fields, doubts = of_2022(",".join(VALUES.split(",")[:given]))
    assert fields == dict(list(ALL_2022.items())[: min(given, 8)])
    assert doubts == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temp", "warm"),
        ("temp", None),
        ("temp", True),
        ("temp", float("inf")),
        ("temp", 10**400),
        ("temp", [21.0]),
        ("temp", 1j),
        ("hum", b"82"),
        ("no_flash_iso", 2**63),
        ("no_flash_iso", 400.5),
        ("no_flash_bv", (1.5, 2)),
        ("no_flash_bv", (10**300, 1)),
    ],
)
def test_a_2020_value_that_is_none_is_left_out_and_named(of_2020, field, value):
    fields, doubts = of_2020(**{field: value})
    assert field not in fields
    assert len(fields) == 8
    assert len(doubts) == 1
    assert field in doubts[0]
    assert doubts[0].isprintable()


@pytest.mark.parametrize(
    ("field", "column", "text"),
    [
        ("temp", 1, "nan"),
        ("temp", 1, "1_7.0"),
        ("temp", 1, "1e999"),
        ("hum", 2, "٤٤"),
        ("but", 9, "2"),
        ("device_version", 0, "v" * 100),
        ("device_version", 0, "3\x1b[2J"),
    ],
)
def test_a_2022_value_that_is_none_is_left_out_and_named(of_2022, field, column, text):
    values = VALUES.split(",")
    values[column] = text
    fields, doubts = of_2022(",".join(values))
    assert fields == {name: value for name, value in ALL_2022.items() if name != field}
    assert len(doubts) == 1
    assert field in doubts[0]
    assert doubts[0].isprintable()


def test_the_header_may_end_as_on_windows_and_columns_come_in_any_order(of_2022):
    assert of_2022(" 17.0,3.1.0\r", b"T,v,new\r\n") == ({"temp": 17.0, "device_version": "3.1.0"}, [])


def test_another_name_in_a_2022_pictures_make_is_doubted(tiff_of):
    fields, doubts = read_metadata(tiff_of("StickyPj", HEADER + VALUES.encode()))
    assert fields == ALL_2022
    assert doubts == ["its Make is 'StickyPj', where a Sticky Pi's is 'StickyPi'"]


@pytest.mark.parametrize("comment", [None, b"", b"v,T,H", b"v,T\n3.1.0,17.0\n3.1.0,18.0"])
def test_a_2022_picture_without_its_two_lines_is_refused(tiff_of, comment):
    with pytest.raises(ExifError, match="UserComment has"):
        read_metadata(tiff_of("StickyPi", comment))


def test_no_exif_and_no_make_are_named(tiff_of):
    with pytest.raises(ExifError, match="no EXIF"):
        read_metadata(None)
    with pytest.raises(ExifError, match="no Make"):
        read_metadata(tiff_of(None, b"v,T\n3.1.0,17.0"))


@pytest.mark.parametrize("make", ["Canon", "[1, 2]", "{1, 2}", "StickyPi2", "\x1b[2J"])
def test_another_cameras_make_is_named(tiff_of, make):
    with pytest.raises(ExifError, match="another camera's") as raised:
        read_metadata(tiff_of(make))
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "make",
    [
        "{" * 20_000,
        "{'a': " * 1000 + "1" + "}" * 1000,
        "{'a': " + "[" * 40 + "]" * 40 + "}",
        "{'a': " + "-" * 4000 + "1}",
        "{'a': " + "not " * 1000 + "1}",
        "{'a': '" + "x" * 60_000 + "'}",
        "{'a': __import__('os').abort()}",
        "{'a': 1, **{}}",
        "{[]: 1}",
        "{'a': 2**1000000}",
        "{'a': f'{1}'}",
        "{'lng': 0.0, 'lat",
        "{'a': 'b\\d'}",
        "{'a': 1if 1else 2}",
        "{'a': 0xfor 1}",
        "{'a': b'\udcff'}",
        "{" + "'a':1+" + "1+" * 1900 + "1}",
    ],
)
def test_a_hostile_literal_is_damage_and_says_so_shortly(tiff_of, make):
    with pytest.raises(ExifError, match="damaged") as raised:
        read_metadata(tiff_of(make.encode("utf-8", "surrogateescape")))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("number", ["1if 1else 2", "0xfor 1", "82.not 1", "1.5if 1else 2", "'b\\d'"])
def test_nobody_is_told_what_pythons_parser_warns_of(tiff_of, number):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(ExifError, match="damaged"):
            read_metadata(tiff_of(f"{{'a': {number}}}"))
    assert warned == []


def test_threads_may_read_metadata_at_once(tiff_of):
    make = tiff_of(repr({"lat": 1.0, "lng": 2.0, "alt": 3.0, **{str(i): (i, i) for i in range(20)}}))
    results = []

    def take_turns(*_):
        time.sleep(0)

    # Threads take turns within the parser only where the collector calls back into Python.
    switching, threshold = sys.getswitchinterval(), gc.get_threshold()
    gc.callbacks.append(take_turns)
    gc.set_threshold(20)
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: results.extend(read_metadata(make)[0]["lat"] for _ in range(20)))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switching)
        gc.set_threshold(*threshold)
        gc.callbacks.remove(take_turns)
    assert results == [1.0] * 120
