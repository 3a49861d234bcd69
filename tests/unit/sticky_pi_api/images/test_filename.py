# ruff: noqa: DTZ001 - naive datetimes are UTC throughout
from datetime import datetime

import pytest
from sticky_pi_api.exceptions import FilenameError, ImageError
from sticky_pi_api.images.filename import format_filename, parse_filename


@pytest.mark.parametrize(
    "name",
    [
        "5c173ff2.2020-06-20_21-33-24.jpg",
        "5c173ff2.2020-06-20_21-33-24.JPG",
        "/traps/ffffffff/1999-01-01/5c173ff2.2020-06-20_21-33-24.jpg",
    ],
)
def test_a_name_says_device_and_datetime_whatever_folder_it_is_in(name):
    assert parse_filename(name) == ("5c173ff2", datetime(2020, 6, 20, 21, 33, 24))


def test_the_device_is_kept_as_it_is_written():
    assert parse_filename("AB12cd34.2020-06-20_21-33-24.jpg")[0] == "AB12cd34"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("holiday.jpg", "2 fields"),
        ("", "1 fields"),
        ("5c173ff2.2020-06-20_21-33-24.jpg~", "extension"),
        ("5c173ff2.2020-06-20_21-33-24.jpeg", "extension"),
        ("5c173ff2.2020-06-20_21-33-24.1.jpg", "4 fields"),
        ("5c173ff.2020-06-20_21-33-24.jpg", "device"),
        ("5c173ff2f.2020-06-20_21-33-24.jpg", "device"),
        ("5c173ffg.2020-06-20_21-33-24.jpg", "device"),
        ("5c173ff٣.2020-06-20_21-33-24.jpg", "device"),
        (" 5c173ff.2020-06-20_21-33-24.jpg", "device"),
        ("5c173ff2.2020-06-20 21-33-24.jpg", "datetime"),
        ("5c173ff2.2020-6-20_21-33-24.jpg", "datetime"),
        ("5c173ff2.٢٠٢٠-06-20_21-33-24.jpg", "datetime"),
        ("5c173ff2.2020-06-20_21-33-24\n.jpg", "datetime"),
        ("5c173ff2.2021-02-29_21-33-24.jpg", "doesn't exist"),
        ("5c173ff2.2020-06-20_24-00-00.jpg", "doesn't exist"),
        ("5c173ff2.0000-06-20_21-33-24.jpg", "doesn't exist"),
        ("5c173ff2.2000-01-01_00-00-05.jpg", "the trap's clock wasn't set"),
        ("5c173ff2.2019-10-31_23-59-59.jpg", "2019-11-01"),
    ],
)
def test_each_wrong_field_has_its_reason(name, reason):
    with pytest.raises(FilenameError) as raised:
        parse_filename(name)
    assert reason in raised.value.reason
    assert raised.value.file == name
    assert isinstance(raised.value, ImageError)
    assert isinstance(raised.value, ValueError)


def test_all_wrong_fields_are_named_at_once():
    with pytest.raises(FilenameError, match=r"device .*; the datetime .*; the extension "):
        parse_filename("trap.yesterday.png")


@pytest.mark.parametrize("name", ["5c173ff2.2019-11-01_00-00-00.jpg", "5c173ff2.2099-12-31_23-59-59.jpg"])
def test_the_first_possible_second_and_the_far_future_are_taken(name):
    assert format_filename(*parse_filename(name)) == name


def test_a_name_that_is_not_utf8_or_long_has_a_reason_that_can_be_printed():
    with pytest.raises(FilenameError) as raised:
        parse_filename("5c17\udcff\x1b[2J." + "9" * 100 + ".jpg")
    assert str(raised.value).isprintable()
    assert str(raised.value).encode("utf-8")
    assert len(raised.value.reason) < 300
