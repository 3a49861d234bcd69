# ruff: noqa: DTZ001 - naive datetimes are UTC throughout
import hashlib
import io
import os
import subprocess
import sys
import warnings
from datetime import datetime
from random import Random

import pytest
from PIL import Image, ImageFile
from program import loaded_by
from sticky_pi_api.exceptions import (
    DamagedImageError,
    FilenameError,
    ImageChangedError,
    ImageError,
    MetadataError,
)
from sticky_pi_api.image_parser import MAX_SIZE, ImageParser
from sticky_pi_uploader.demo.pictures import FIELDS_2020

NAME = "1b74105a.2020-07-05_10-07-16.jpg"
KEYS_2020 = {
    *("device", "datetime", "filename", "md5", "width", "height", "lng", "lat", "alt", "temp", "hum"),
    *("no_flash_exposure_time", "no_flash_iso", "no_flash_bv", "no_flash_shutter_speed"),
}
KEYS_2022 = {
    *("device", "datetime", "filename", "md5", "width", "height", "device_version", "temp", "hum", "bat", "lum"),
    *("lat", "lng", "alt", "but"),
}

SAMPLES = {
    "5c173ff2.2020-06-20_21-33-24.jpg": {
        "device": "5c173ff2", "datetime": datetime(2020, 6, 20, 21, 33, 24), "md5": "9e6e908d9c29d332b511f8d5121857f8",
        "width": 2592, "height": 1944, "lng": None, "lat": None, "alt": None,
        "no_flash_exposure_time": 0.023646, "no_flash_iso": 100, "no_flash_bv": 2.36,
        "no_flash_shutter_speed": 5.40226, "temp": 21.899999618530273, "hum": 76.80000305175781,
    },
    "0a5bb6f4.2020-06-20_20-19-15.jpg": {
        "device": "0a5bb6f4", "datetime": datetime(2020, 6, 20, 20, 19, 15), "md5": "9a10a02c46d7a7a38ae66d3f070c8b9e",
        "width": 2592, "height": 1944, "lng": None, "lat": None, "alt": None,
        "no_flash_exposure_time": 0.12499, "no_flash_iso": 400, "no_flash_bv": 0.46,
        "no_flash_shutter_speed": 3.000115, "temp": 20.700000762939453, "hum": 82.0,
    },
    "1b74105a.2020-07-05_10-07-16.jpg": {
        "device": "1b74105a", "datetime": datetime(2020, 7, 5, 10, 7, 16), "md5": "5513ae90c2f07d4bf09cbb7454f023eb",
        "width": 2592, "height": 1944, "lng": 49.243553, "lat": -121.7552, "alt": 22.0,
        "no_flash_exposure_time": 0.12499, "no_flash_iso": 400, "no_flash_bv": 0.0,
        "no_flash_shutter_speed": 3.000115, "temp": 10.300000190734863, "hum": 97.5999984741211,
    },
    "512858f4.2022-05-17_18-34-50.jpg": {
        "device": "512858f4", "datetime": datetime(2022, 5, 17, 18, 34, 50), "md5": "4743bd4d1918fc7d5bfec4cb8adf370c",
        "width": 4056, "height": 3040, "device_version": "3.1.0", "temp": 17.0, "hum": 44.6, "bat": 72, "lum": 1.86,
        "lat": 49.2614, "lng": -123.25103, "alt": 81.7, "but": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_a_real_picture_parses_to_what_the_trap_wrote(samples, name):
    parser = ImageParser(samples / name)
    expected = SAMPLES[name] | {"filename": name}
    assert parser == expected
    assert {key: type(value) for key, value in parser.items()} == {key: type(value) for key, value in expected.items()}
    assert parser.filename == name
    assert parser.file_blob == (samples / name).read_bytes()
    assert parser.suspect is None
    assert (parser.thumbnail.size, parser.thumbnail_mini.size) == ((512, 384), (128, 96))


def test_a_real_picture_cut_short_anywhere_is_found(samples, write):
    for name in SAMPLES:
        blob = (samples / name).read_bytes()
        random = Random(name)
        for length in [len(blob) - 1, len(blob) - 2, *(random.randrange(len(blob)) for _ in range(5))]:
            with pytest.raises(DamagedImageError, match="cut short"):
                ImageParser(write(blob[:length], name))


@pytest.mark.parametrize(("generation", "keys"), [(2020, KEYS_2020), (2022, KEYS_2022)])
def test_a_picture_has_exactly_its_generations_keys(make_trap_picture, generation, keys):
    path = make_trap_picture(generation=generation)
    parser = ImageParser(path)
    assert set(parser) == keys
    assert parser["md5"] == hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    assert (parser["width"], parser["height"]) == (160, 120)
    assert parser.path == str(path)
    assert parser["filename"] == parser.filename == path.name


def test_a_path_a_text_and_an_open_file_give_the_same(make_trap_picture):
    path = make_trap_picture()
    with path.open("rb") as file:
        file.seek(100)
        from_file = ImageParser(file)
        assert file.tell() == 0
    assert ImageParser(path) == ImageParser(str(path)) == from_file
    assert from_file.path == str(path)


@pytest.mark.parametrize("attribute", ["name", "filename"])
def test_a_file_like_object_says_its_name_and_keeps_its_bytes(picture, attribute):
    file = io.BytesIO(picture)
    setattr(file, attribute, NAME)
    parser = ImageParser(file)
    parser.forget_blob()
    assert (parser.filename, parser.path, parser.file_blob) == (NAME, None, picture)
    assert file.tell() == 0


def test_a_file_like_object_without_a_name_is_refused(picture):
    with pytest.raises(FilenameError, match="no name"):
        ImageParser(io.BytesIO(picture))


def test_the_extension_may_be_in_capitals_and_the_name_is_written_in_one_way(picture, write):
    assert (
        ImageParser(write(picture, "1B74105a.2020-07-05_10-07-16.JPG")).filename == "1B74105a.2020-07-05_10-07-16.jpg"
    )


def test_the_key_filename_is_the_property(picture, write):
    parser = ImageParser(write(picture, "1B74105a.2020-07-05_10-07-16.JPG"))
    assert parser["filename"] == parser.filename


def test_an_impossible_name_is_refused_before_the_file_is_read(tmp_path):
    with pytest.raises(FilenameError, match="1999-01-01"):
        ImageParser(tmp_path / "1b74105a.1999-01-01_00-00-00.jpg")


def test_thumbnails_keep_the_shape_and_never_grow(make_trap_picture):
    wide = ImageParser(make_trap_picture(size=(1600, 400)))
    assert (wide.thumbnail.size, wide.thumbnail_mini.size) == ((512, 128), (128, 32))
    small = ImageParser(make_trap_picture(size=(160, 120)))
    assert (small.thumbnail.size, small.thumbnail_mini.size) == ((160, 120), (128, 96))
    for blob in (wide.thumbnail_jpeg, wide.thumbnail_mini_jpeg):
        with Image.open(io.BytesIO(blob)) as image:
            assert image.format == "JPEG"


def test_a_thumbnail_looks_like_the_picture(make_trap_picture):
    path = make_trap_picture(size=(2592, 1944), quality=90)
    with Image.open(path) as whole:
        expected = whole.resize((512, 384), Image.Resampling.LANCZOS)
    given = ImageParser(path).thumbnail
    pairs = list(zip(expected.tobytes(), given.tobytes(), strict=True))
    assert sum(abs(a - b) for a, b in pairs) / len(pairs) < 4


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_pictures_of_other_colours_have_thumbnails_too(tiff_of, write, mode):
    blob = io.BytesIO()
    Image.new(mode, (640, 480)).save(blob, "JPEG", exif=b"Exif\0\0" + tiff_of(repr(FIELDS_2020)))
    parser = ImageParser(write(blob.getvalue()))
    assert parser.thumbnail.size == (512, 384)


def test_progressive_pictures_are_parsed(tiff_of, with_exif, write):
    blob = with_exif(tiff_of(repr(FIELDS_2020)), size=(2000, 1500), progressive=True)
    assert ImageParser(write(blob))["width"] == 2000


@pytest.mark.parametrize(
    ("blob", "reason"),
    [(b"", "empty"), (bytes(1000), "never written"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"not a picture", "isn't a JPEG")],
)
def test_what_is_no_jpeg_says_so_and_keeps_its_md5(write, blob, reason):
    path = write(blob)
    with pytest.raises(DamagedImageError, match=reason) as raised:
        ImageParser(path)
    assert raised.value.file == str(path)
    assert raised.value.md5 == hashlib.md5(blob, usedforsecurity=False).hexdigest()
    assert str(raised.value) == f"{path}: {raised.value.reason}"


def test_a_picture_cut_short_at_any_byte_is_damaged(picture, write):
    for length in range(len(picture)):
        with pytest.raises(DamagedImageError):
            ImageParser(write(picture[:length]))


def test_a_whole_file_that_does_not_decode_is_damaged(picture, write):
    blob = picture
    # Without the tables that its data are coded with.
    while (start := blob.find(b"\xff\xdb")) >= 0:
        blob = blob[:start] + blob[start + 2 + int.from_bytes(blob[start + 2 : start + 4], "big") :]
    with pytest.raises(DamagedImageError, match="doesn't decode"):
        ImageParser(write(blob))


def test_any_byte_may_be_wrong_and_only_picture_errors_come(picture, write):
    random = Random(7)
    errors = set()
    for _ in range(1500):
        at = random.randrange(random.choice([700, len(picture)]))
        try:
            ImageParser(write(picture[:at] + random.randbytes(random.choice([1, 4])) + picture[at + 1 :]))
        except ImageError as error:
            errors.add(error)
    assert {DamagedImageError, MetadataError} <= {type(error) for error in errors}
    assert all(str(error).isprintable() for error in errors)


def test_no_exif_and_another_cameras_are_refused(tiff_of, with_exif, write):
    for tiff, reason in ((None, "no EXIF"), (tiff_of("Canon"), "another camera's"), (b"MM\0*junk", "damaged")):
        with pytest.raises(MetadataError, match=reason) as raised:
            ImageParser(write(with_exif(tiff)))
        assert raised.value.md5 is not None


def test_a_hole_in_the_data_is_suspect_but_data(samples, write):
    name = "5c173ff2.2020-06-20_21-33-24.jpg"
    blob = (samples / name).read_bytes()
    parser = ImageParser(write(blob[:1_000_000] + bytes(4096) + blob[1_004_096:], name))
    assert "zero bytes" in parser.suspect
    assert parser["temp"] == SAMPLES[name]["temp"]


def test_a_value_that_is_none_makes_the_picture_suspect(make_trap_picture):
    parser = ImageParser(make_trap_picture(temp="broken"))
    assert "temp" in parser.suspect
    assert set(parser) == KEYS_2020 - {"temp"}


@pytest.mark.parametrize("more", [b"\n", bytes(4096), b"BRCMo" + bytes(range(256)) * 40, "another picture"])
def test_bytes_behind_the_end_are_noted_and_the_picture_is_what_it_is(make_trap_picture, write, more):
    path = make_trap_picture()
    plain, blob = ImageParser(path), path.read_bytes()
    more = make_trap_picture(device="5c173ff2").read_bytes() if isinstance(more, str) else more
    parser = ImageParser(write(blob + more, path.name))
    assert parser.suspect == f"note: {len(more)} bytes behind the end"
    assert (plain.surplus, parser.surplus) == (0, len(more))
    assert {**parser, "md5": None} == {**plain, "md5": None}
    assert parser.thumbnail_jpeg == plain.thumbnail_jpeg
    assert parser.file_blob == blob + more


def test_doubts_come_before_notes(make_trap_picture, write):
    path = make_trap_picture(temp="broken")
    parser = ImageParser(write(path.read_bytes() + b"\n", path.name))
    assert parser.suspect == "its metadata give no usable temp: 'broken'; note: 1 bytes behind the end"


def test_an_end_mark_amid_the_data_is_suspect(samples, make_trap_picture, write):
    for path in (samples / "5c173ff2.2020-06-20_21-33-24.jpg", make_trap_picture(size=(640, 480))):
        blob = path.read_bytes()
        middle = len(blob) * 3 // 4
        parser = ImageParser(write(blob[:middle] + b"\xff\xd9" + blob[middle + 2 :], path.name))
        assert parser.suspect.startswith("its data are damaged: they end before the last row")
        assert parser.suspect.endswith(f"note: {len(blob) - middle - 2} bytes behind the end")
        parser = ImageParser(write(blob[:middle] + b"\xff\xd9", path.name))
        assert parser.suspect == "its data are damaged: they end before the last row, or go on behind it"


def test_one_byte_that_is_missing_is_noticed(make_trap_picture, write):
    path = make_trap_picture(size=(640, 480))
    blob = path.read_bytes()
    assert ImageParser(path).suspect is None
    assert "before the last row" in ImageParser(write(blob[:-3] + blob[-2:], path.name)).suspect


def test_restarts_of_a_picture_that_has_some_are_nothing_odd(tiff_of, write):
    blob = io.BytesIO()
    image = Image.effect_noise((640, 480), 80).convert("RGB")
    image.save(blob, "JPEG", exif=b"Exif\0\0" + tiff_of(repr(FIELDS_2020)), restart_marker_rows=1)
    if b"\xff\xd3" not in blob.getvalue():
        pytest.skip("Pillow before 10.2 writes no restarts")
    assert ImageParser(write(blob.getvalue())).suspect is None
    suspect = ImageParser(write(blob.getvalue().replace(b"\xff\xd3", b"\xff\xd5", 1))).suspect
    assert suspect == "its data are damaged: their restart markers are out of order"


BLOCK = 4096


def _block_of(blob, random):
    at = random.randrange(len(blob) // 2, len(blob) - 2 * BLOCK)
    return blob[at : at + BLOCK]


FOREIGN = {
    "text": lambda _, random: bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz \n,.", k=BLOCK)),
    "data of another picture": _block_of,
    "the end of another picture": lambda other, _: other[len(other) // BLOCK * BLOCK :].ljust(BLOCK, b"\0"),
    "the beginning of another picture": lambda other, _: other[:BLOCK],
    "anything": lambda _, random: random.randbytes(BLOCK),
    "zeros": lambda *_: bytes(BLOCK),
    # Where they decode to just as many rows as those in whose place they are, nothing tells.
    "data of its own": None,
}


@pytest.fixture
def made_pair(make_trap_picture):
    return [make_trap_picture(size=(1296, 972), generation=generation) for generation in (2020, 2022)]


@pytest.fixture
def real_pair(samples):
    return [samples / "5c173ff2.2020-06-20_21-33-24.jpg", samples / "512858f4.2022-05-17_18-34-50.jpg"]


@pytest.mark.parametrize("pair", ["made_pair", "real_pair"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_block_amid_the_data_hardly_ever_goes_unnoticed(kind, pair, request, write):
    random, noticed, tries = Random(kind), 0, int(os.environ.get("STICKY_PI_SPLICES", "16"))
    pair = request.getfixturevalue(pair)
    for number in range(tries):
        path = pair[number % 2]
        blob, other = path.read_bytes(), pair[(number + 1) % 2].read_bytes()
        at = random.randrange(len(blob) // 4, len(blob) - BLOCK) // BLOCK * BLOCK
        block = FOREIGN[kind](other, random) if FOREIGN[kind] else _block_of(blob, random)
        try:
            suspect = ImageParser(write(blob[:at] + block + blob[at + BLOCK :], path.name)).suspect
        except DamagedImageError as error:
            suspect = error.reason
        noticed += suspect is not None and not suspect.startswith("note: ")
    print(f"{kind}, {path.name}: {noticed} of {tries} noticed")
    assert noticed / tries > (0.9 if FOREIGN[kind] else 0.7)


def test_a_bomb_is_refused_by_what_it_claims(picture, write):
    at = picture.index(b"\xff\xc0") + 5
    with pytest.raises(DamagedImageError, match="65000x65000"):
        ImageParser(write(picture[:at] + b"\xfd\xe8\xfd\xe8" + picture[at + 4 :]))


def test_a_file_of_more_than_100_mb_is_refused_unread(tmp_path):
    path = tmp_path / NAME
    with path.open("wb") as file:
        file.truncate(MAX_SIZE + 1)
    with pytest.raises(DamagedImageError, match="100 MB") as raised:
        ImageParser(path)
    assert raised.value.md5 is None
    with path.open("rb") as file, pytest.raises(DamagedImageError, match="100 MB"):
        ImageParser(file)


def test_folders_and_pipes_named_like_pictures_are_refused(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(ImageError, match="a folder"):
        ImageParser(tmp_path / NAME)
    (tmp_path / NAME).rmdir()
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(ImageError, match="a pipe"):
        ImageParser(tmp_path / NAME)


def test_a_file_that_is_not_there_is_no_picture_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        ImageParser(tmp_path / NAME)


def test_a_restored_picture_is_what_it_was_and_reads_nothing_until_asked(make_trap_picture):
    path = make_trap_picture()
    parser = ImageParser(path)
    path.rename(path.with_suffix(".away"))
    restored = ImageParser.restore(
        path, {**parser, "datetime": "2020-07-05T10:07:16Z"}, parser.thumbnail_jpeg, parser.thumbnail_mini_jpeg
    )
    assert restored == parser
    assert (restored.filename, restored.path, restored.suspect) == (path.name, str(path), None)
    assert restored.thumbnail.tobytes() == parser.thumbnail.tobytes()
    with pytest.raises(FileNotFoundError):
        _ = restored.file_blob
    path.with_suffix(".away").rename(path)
    assert restored.file_blob == parser.file_blob


def test_bytes_that_changed_since_are_not_given_away(make_trap_picture):
    path = make_trap_picture()
    parser = ImageParser(path)
    before = path.read_bytes()
    path.write_bytes(before + b"x")
    assert parser.file_blob == before
    parser.forget_blob()
    with pytest.raises(ImageChangedError) as raised:
        _ = parser.file_blob
    assert raised.value.md5 != parser["md5"]
    path.unlink()
    path.mkdir()
    with pytest.raises(ImageChangedError, match="a folder"):
        _ = parser.file_blob


def test_parsing_warns_of_nothing_and_changes_nothing_of_pillow(samples, with_exif, write):
    limits = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    blob = with_exif(b"MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x02\0\0\xff\xff\0\0\0\0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageParser(samples / "5c173ff2.2020-06-20_21-33-24.jpg")
        with pytest.raises(MetadataError):
            ImageParser(write(blob))
    assert limits == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_a_twelve_megapixel_picture_costs_a_fraction_of_its_pixels(make_trap_picture):
    path = make_trap_picture(size=(4056, 3040), quality=60)
    script = (
        "import sys, PIL.JpegImagePlugin, PIL.PngImagePlugin, piexif\n"
        "from sticky_pi_api.image_parser import ImageParser\n"
        "def peak():\n"
        "    lines = open('/proc/self/status').readlines()\n"
        "    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM'))\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"  # the peak starts anew
        "before = peak()\n"
        "ImageParser(sys.argv[1])\n"
        "print(peak() - before)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, path], capture_output=True, text=True, check=True
    )
    decoded = 4056 * 3040 * 3
    assert 0 < int(answer.stdout) < decoded / 2 + path.stat().st_size * 2


def test_names_and_restored_pictures_need_no_pillow():
    loaded = loaded_by(
        "import sticky_pi_api.image_parser, sticky_pi_api.images.filename\n"
        "from sticky_pi_api.client import LocalClient, RemoteClient"
    )
    assert loaded & {"PIL", "piexif", "sqlite_utils", "requests", "concurrent.futures"} == set()
