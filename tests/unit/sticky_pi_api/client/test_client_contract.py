# ruff: noqa: DTZ001 - naive datetimes are UTC throughout
"""What every client does, whatever is behind it."""

import os
import threading
import warnings
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sticky_pi_api.exceptions import (
    ConflictError,
    ConflictWarning,
    DamagedImageError,
    FilenameError,
    ImageChangedError,
    MetadataError,
    PutImagesError,
)
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.types import Outcome
from sticky_pi_uploader.demo.pictures import make_picture

TAKEN = datetime(2020, 7, 5, 10, 7, 16)
KEY = {"device": "1b74105a", "datetime": TAKEN}
NAME = "1b74105a.2020-07-05_10-07-16.jpg"
EVER = {"start_datetime": "2019-11-01_00-00-00", "end_datetime": "2100-01-01_00-00-00"}


@pytest.fixture
def outcomes(client):
    """Put files, and return what became of each."""

    def put(files):
        seen = []
        client.put_images(files, on_outcome=seen.append)
        return seen

    return put


def stored_now(client, what="metadata"):
    return client.get_image_series([{"device": "%", **EVER}], what)


def without_id(row):
    """Leave out what no server says of a picture that it has just got."""
    return {name: value for name, value in row.items() if name != "id"}


def test_a_new_picture_is_stored_and_its_metadata_come_back(client, make_trap_picture):
    path = make_trap_picture()
    (row,) = client.put_images([str(path)])
    # The server of 2023 has no columns for what only pictures of 2020 say.
    assert row.items() >= {name: value for name, value in ImageParser(path).items() if name in row}.items()
    assert row.keys() >= {"device", "datetime", "md5", "width", "height", "lng", "lat", "alt", "temp", "hum"}
    assert row["url"] == ""
    assert row["datetime"] == TAKEN
    assert row["datetime_created"].tzinfo is None
    (found,) = client.get_images([KEY])
    assert without_id(found) == without_id(row)


def test_a_2022_picture_has_its_fields_and_none_where_it_has_none(kind, client, make_trap_picture):
    if kind == 2021:
        pytest.skip("the server of 2021 refuses pictures of 2022")
    path = make_trap_picture(generation=2022)
    (row,) = client.put_images([path])
    parser = ImageParser(path)
    assert row.keys().isdisjoint({"filename", "file_blob"})
    assert {**row, "filename": path.name}.items() >= parser.items()
    assert (row["but"], row["bat"], row.get("no_flash_iso")) == (True, 72, None)


def test_the_same_list_twice_stores_nothing_the_second_time(client, make_trap_picture):
    files = [make_trap_picture() for _ in range(5)]
    assert len(client.put_images(files)) == 5
    assert client.put_images(files) == []
    assert len(stored_now(client)) == 5


def test_the_picture_and_its_thumbnails_are_behind_the_url(client, make_trap_picture, fetch):
    path = make_trap_picture(size=(1600, 1200))
    client.put_images([path])
    parser = ImageParser(path)
    expected = {
        "image": path.read_bytes(),
        "thumbnail": parser.thumbnail_jpeg,
        "thumbnail_mini": parser.thumbnail_mini_jpeg,
        "thumbnail-mini": parser.thumbnail_mini_jpeg,
    }
    for what, content in expected.items():
        (row,) = client.get_images([KEY], what)
        (same,) = stored_now(client, what)
        assert fetch(row["url"]) == content
        assert row == same


def test_another_picture_under_a_held_key_is_a_conflict_and_not_stored(client, make_trap_picture, tmp_path, fetch):
    first = make_trap_picture()
    other = make_trap_picture(tmp_path / "other", when=TAKEN, seed=9)
    client.put_images([first])
    with pytest.warns(ConflictWarning, match=NAME):
        assert client.put_images([other]) == []
    (row,) = client.get_images([KEY], "image")
    assert fetch(row["url"]) == first.read_bytes()


def test_a_conflict_says_what_is_held(client, outcomes, make_trap_picture, tmp_path):
    (row,) = client.put_images([make_trap_picture()])
    other = make_trap_picture(tmp_path / "other", when=TAKEN, seed=9)
    for item in (other, ImageParser(other)):
        (outcome,) = outcomes([item])
        assert (outcome.outcome, outcome.file) == (Outcome.CONFLICT, str(other))
        assert without_id(outcome.row) == without_id(row)
        assert isinstance(outcome.error, ConflictError)
        assert outcome.error.held_md5 == row["md5"]


def test_one_key_twice_in_one_call_is_stored_once(outcomes, make_trap_picture, tmp_path):
    first = make_trap_picture()
    same = make_trap_picture(tmp_path / "same", when=TAKEN)
    other = make_trap_picture(tmp_path / "other", when=TAKEN, seed=9)
    assert [one.outcome for one in outcomes([first, same, other])] == [Outcome.STORED, Outcome.HELD, Outcome.CONFLICT]


def test_devices_are_compared_without_case(client, outcomes, make_trap_picture, tmp_path):
    upper = make_trap_picture(tmp_path / "upper", "1B74105A", TAKEN)
    (row,) = client.put_images([upper])
    assert row["device"] == "1B74105A"
    (found,) = client.get_images([KEY, {**KEY, "device": "1B74105a"}])
    assert without_id(found) == without_id(row)
    lower = upper.with_name(NAME)
    lower.write_bytes(upper.read_bytes())
    assert [one.outcome for one in outcomes([lower])] == [Outcome.HELD]


def test_what_is_wrong_with_a_file_is_named_and_the_others_are_stored(client, make_trap_picture, tmp_path):
    good = [make_trap_picture() for _ in range(3)]
    cut = make_trap_picture()
    cut.write_bytes(cut.read_bytes()[:-2])
    folder = tmp_path / "1b74105a.2021-01-01_00-00-00.jpg"
    folder.mkdir()
    vanished = tmp_path / "1b74105a.2021-01-01_00-20-00.jpg"
    with pytest.raises(PutImagesError, match=r"(?s)4 not stored, 3 stored.*cut short") as raised:
        client.put_images([good[0], tmp_path / "holiday.jpg", cut, good[1], folder, vanished, good[2]])
    assert [row["datetime"] for row in raised.value.stored] == [TAKEN + timedelta(minutes=20 * i) for i in range(3)]
    failures = {one.file: one for one in raised.value.failures}
    assert {file: one.outcome for file, one in failures.items()} == {
        str(tmp_path / "holiday.jpg"): Outcome.REFUSED,
        str(cut): Outcome.REFUSED,
        str(folder): Outcome.REFUSED,
        str(vanished): Outcome.UNSENT,
    }
    assert isinstance(failures[str(cut)].error, DamagedImageError)
    assert isinstance(failures[str(vanished)].error, FileNotFoundError)
    assert len(stored_now(client)) == 3


def test_each_kind_of_refusal_has_its_own_error(outcomes, write, with_exif, tiff_of, picture):
    files = [
        write(picture, "1b74105a.2000-01-01_00-00-05.jpg"),
        write(b"", "1b74105a.2020-01-01_00-00-00.jpg"),
        write(with_exif(tiff_of("Canon")), "1b74105a.2020-01-01_00-20-00.jpg"),
    ]
    seen = outcomes(files)
    assert [type(one.error) for one in seen] == [FilenameError, DamagedImageError, MetadataError]
    assert {one.outcome for one in seen} == {Outcome.REFUSED}


def test_warnings_that_are_errors_do_not_hide_failures(client, make_trap_picture, tmp_path):
    client.put_images([make_trap_picture()])
    other = make_trap_picture(tmp_path / "other", when=TAKEN, seed=9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PutImagesError) as raised:
            client.put_images([other, tmp_path / "holiday.jpg", make_trap_picture()])
    assert len(raised.value.stored) == 1


def test_outcomes_come_in_the_order_of_the_files_and_nothing_is_raised(client, outcomes, make_trap_picture, tmp_path):
    files = [make_trap_picture() for _ in range(8)]
    client.put_images(files[2:4])
    files.insert(5, tmp_path / "holiday.jpg")
    seen = outcomes(files)
    assert [one.file for one in seen] == [str(file) for file in files]
    assert [one.outcome for one in seen] == [*["stored"] * 2, *["held"] * 2, "stored", "refused", *["stored"] * 3]
    assert all((one.row is None) == (one.outcome == "refused") for one in seen)
    assert all((one.error is None) == (one.outcome != "refused") for one in seen)


def test_an_outcome_is_told_as_soon_as_the_picture_is_safe(client, make_trap_picture):
    held = []

    def look(outcome):
        held.append(len(client.get_images([outcome.row])))
        assert len(stored_now(client)) == len(held)

    client.put_images([make_trap_picture() for _ in range(5)], on_outcome=look)
    assert held == [1] * 5


def test_what_the_callback_raises_ends_the_call_and_leaves_the_rest_alone(client, make_trap_picture):
    files = [make_trap_picture() for _ in range(10)]

    def stop(outcome):
        if outcome.file == str(files[3]):
            raise KeyError(outcome.file)

    with pytest.raises(KeyError):
        client.put_images(files, on_outcome=stop)
    assert len(stored_now(client)) == 4
    assert len(client.put_images(files)) == 6


def test_pictures_that_were_parsed_before_are_not_parsed_again(kind, client, outcomes, make_trap_picture, fetch):
    path = make_trap_picture()
    parsed = ImageParser(path)
    restored = ImageParser.restore(path, parsed, b"large thumbnail", b"small thumbnail")
    (outcome,) = outcomes([restored])
    assert (outcome.outcome, outcome.file) == (Outcome.STORED, str(path))
    if kind == "local":  # servers make their own
        assert fetch(client.get_images([KEY], "thumbnail")[0]["url"]) == b"large thumbnail"
    path.unlink()
    assert [one.outcome for one in outcomes([restored, parsed])] == [Outcome.HELD] * 2


def test_a_parsed_picture_whose_file_changed_or_vanished_is_not_sent(client, outcomes, make_trap_picture):
    changed, vanished = (ImageParser(make_trap_picture()) for _ in range(2))
    for parser in (changed, vanished):
        parser.forget_blob()
    with open(changed.path, "ab") as file:
        file.write(b"more")
    os.unlink(vanished.path)
    seen = outcomes([changed, vanished])
    assert [one.outcome for one in seen] == [Outcome.UNSENT] * 2
    assert [type(one.error) for one in seen] == [ImageChangedError, FileNotFoundError]
    assert stored_now(client) == []


def test_files_may_come_from_any_iterable_but_not_be_one_path(client, make_trap_picture):
    paths = [make_trap_picture() for _ in range(3)]
    assert len(client.put_images(path for path in paths)) == 3
    assert client.put_images([]) == []
    with pytest.raises(TypeError, match="a list"):
        client.put_images(str(paths[0]))


def test_only_the_images_that_are_there_are_answered_each_once(client, make_trap_picture):
    client.put_images([make_trap_picture() for _ in range(3)])
    absent = {"device": "ffffffff", "datetime": "2020-07-05_10-07-16"}
    rows = client.get_images([absent, KEY, {**KEY, "datetime": TAKEN + timedelta(minutes=40)}, KEY])
    assert sorted(row["datetime"] for row in rows) == [TAKEN, TAKEN + timedelta(minutes=40)]
    assert client.get_images([absent]) == []
    assert client.get_images([]) == []


@pytest.mark.parametrize("when", [TAKEN, "2020-07-05_10-07-16", "2020-07-05T10:07:16Z"])
def test_datetimes_are_taken_in_three_forms(client, make_trap_picture, when):
    client.put_images([make_trap_picture()])
    assert len(client.get_images([{"device": "1b74105a", "datetime": when}])) == 1
    end = TAKEN + timedelta(seconds=1)
    assert len(client.get_image_series([{"device": "%", "start_datetime": when, "end_datetime": end}])) == 1
    assert (
        client.get_image_series([{"device": "%", "start_datetime": "2020-01-01_00-00-00", "end_datetime": when}]) == []
    )


def test_a_datetime_with_a_time_zone_is_taken_by_what_it_is_in_utc(client, make_trap_picture):
    (row,) = client.put_images([make_trap_picture(when=TAKEN)])
    west = TAKEN.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=-8)))
    (found,) = client.get_images([{"device": row["device"], "datetime": west}])
    assert found["datetime"] == TAKEN


@pytest.mark.parametrize(
    "when",
    [
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=5))),
    ],
)
def test_a_datetime_that_utc_has_no_year_for_is_named(client, when):
    with pytest.raises(ValueError, match="'datetime'"):
        client.get_images([{"device": "1b74105a", "datetime": when}])
    with pytest.raises(ValueError, match="'datetime'"):
        client.get_uid_annotations([{"device": "1b74105a", "datetime": when}])
    for bound, other in (("start_datetime", "end_datetime"), ("end_datetime", "start_datetime")):
        series = [{"device": "%", bound: when, other: TAKEN}]
        for ask in (client.get_image_series, client.get_uid_annotations_series):
            with pytest.raises(ValueError, match=bound):
                ask(series)


def test_thousands_of_images_may_be_asked_for_at_once(client, make_trap_picture):
    client.put_images([make_trap_picture()])
    many = [{**KEY, "datetime": TAKEN + timedelta(seconds=i)} for i in range(5000)]
    assert len(client.get_images(many)) == 1


def test_a_series_goes_from_its_start_to_before_its_end_for_devices_like_a_pattern(client, make_trap_picture, tmp_path):
    files = [
        make_trap_picture(tmp_path, device, TAKEN + timedelta(hours=hour))
        for device in ("1b74105a", "1b74ffff", "5c173ff2")
        for hour in range(3)
    ]
    client.put_images(reversed(files))
    hours = {"start_datetime": TAKEN, "end_datetime": TAKEN + timedelta(hours=2)}
    found = client.get_image_series([{"device": "1b74%", **hours}])
    assert [(row["device"], row["datetime"] - TAKEN) for row in found] == [
        (device, timedelta(hours=hour)) for device in ("1b74105a", "1b74ffff") for hour in range(2)
    ]
    assert len(client.get_image_series([{"device": "5c173ff2", **hours}, {"device": "1b74105_", **hours}])) == 4
    assert client.get_image_series([{"device": "' OR 1=1 --", **hours}]) == []
    assert client.get_image_series([]) == []


def test_parts_of_a_second_are_no_longer_part_of_a_picture(client, make_trap_picture):
    client.put_images([make_trap_picture()])
    half, second = timedelta(milliseconds=500), timedelta(seconds=1)
    for start, end, count in (
        (TAKEN - half, TAKEN + half, 1),
        (TAKEN + half, TAKEN + second, 0),
        (TAKEN - second, TAKEN, 0),
    ):
        assert len(client.get_image_series([{"device": "%", "start_datetime": start, "end_datetime": end}])) == count


@pytest.mark.parametrize("what", ["picture", "", None, "METADATA"])
def test_what_is_not_known_is_refused_with_what_is(client, what):
    for ask in (client.get_images, client.get_image_series):
        with pytest.raises(ValueError, match="metadata, image, thumbnail, thumbnail_mini"):
            ask([], what)


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"device": "1b74105a"}, "datetime"),
        ({"datetime": TAKEN}, "device"),
        ({"device": 5, "datetime": TAKEN}, "device"),
        ({"device": "1b74105a", "datetime": "yesterday"}, "datetime"),
        ("1b74105a", "device"),
    ],
)
def test_an_entry_that_lacks_something_is_named_with_what_it_lacks(client, entry, key):
    with pytest.raises(ValueError, match=f"'{key}'") as raised:
        client.get_images([KEY, entry])
    assert repr(entry) in str(raised.value)


def test_a_series_without_an_end_is_named(client):
    with pytest.raises(ValueError, match="'end_datetime' is missing"):
        client.get_image_series([{"device": "%", "start_datetime": TAKEN}])


def test_threads_may_share_a_client(client, tmp_path):
    def put(number):
        for shared in range(4):
            make_picture(tmp_path / str(number), "1b74105a", TAKEN + timedelta(hours=shared), size=(40, 30))
        own = make_picture(tmp_path / str(number), f"{number:08x}", TAKEN, size=(40, 30))
        counts.append(len(client.put_images([*sorted((tmp_path / str(number)).glob("1b*")), own])))

    counts = []
    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 8
    assert len(stored_now(client)) == 8


def test_the_folder_is_made_and_forgetting_the_cache_loses_nothing(client, make_trap_picture, tmp_path):
    assert client.local_dir == str(tmp_path / "client")
    assert (tmp_path / "client").is_dir()
    client.put_images([make_trap_picture()])
    (tmp_path / "client" / "cache").mkdir(exist_ok=True)
    (tmp_path / "client" / "cache" / "hashes").write_bytes(b"x")
    client.delete_cache()
    client.delete_cache()
    assert not (tmp_path / "client" / "cache").exists()
    assert len(stored_now(client)) == 1


def test_a_client_needs_a_thread(open_client):
    with pytest.raises(ValueError, match="at least 1"):
        open_client(n_threads=0)
