import ast
import hashlib
import io
import re
from datetime import datetime

import piexif
import pytest
from PIL import Image
from sticky_pi_uploader.demo.pictures import SENSOR_SIZES, make_picture, picture_bytes

TAKEN = datetime(2020, 6, 20, 21, 33, 24)  # noqa: DTZ001  # UTC, as in the file names
SMALL = (160, 120)


def test_a_picture_is_named_as_the_camera_names_it_and_nothing_else_is_left(tmp_path):
    folder = tmp_path / "5c173ff2" / "2020-06-20"
    path = make_picture(folder, "5c173ff2", TAKEN, size=SMALL)
    assert path == str(folder / "5c173ff2.2020-06-20_21-33-24.jpg")
    assert [file.name for file in folder.iterdir()] == ["5c173ff2.2020-06-20_21-33-24.jpg"]


def test_the_file_holds_what_picture_bytes_returns(tmp_path):
    path = make_picture(tmp_path, "5c173ff2", TAKEN, size=SMALL, seed=3, temp=1.5)
    with open(path, "rb") as file:
        assert file.read() == picture_bytes("5c173ff2", TAKEN, size=SMALL, seed=3, temp=1.5)


@pytest.mark.parametrize(("generation", "size"), [(2020, (648, 486)), (2022, (1014, 760))])
def test_it_decodes_at_a_quarter_of_the_real_size(generation, size):
    blob = picture_bytes("5c173ff2", TAKEN, generation=generation)
    with Image.open(io.BytesIO(blob)) as image:
        image.load()
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", size)


@pytest.mark.parametrize("generation", [2020, 2022])
def test_the_real_size_is_to_be_had(generation):
    blob = picture_bytes("5c173ff2", TAKEN, generation=generation, size=SENSOR_SIZES[generation], quality=50)
    with Image.open(io.BytesIO(blob)) as image:
        assert image.size == SENSOR_SIZES[generation]


def test_a_2020_picture_has_its_fields_in_make_as_a_dict_literal():
    exif = piexif.load(picture_bytes("5c173ff2", TAKEN, size=SMALL, lat=0.0, temp=-3.25, no_flash_bv=(236, 100)))
    fields = ast.literal_eval(exif["0th"][piexif.ImageIFD.Make].decode())
    assert (fields["lat"], fields["temp"], fields["no_flash_bv"]) == (0.0, -3.25, (236, 100))
    assert list(fields) == [
        *("lng", "lat", "alt", "datetime", "no_flash_exposure_time", "no_flash_iso", "no_flash_bv"),
        *("no_flash_shutter_speed", "temp", "hum"),
    ]
    assert exif["0th"][piexif.ImageIFD.DateTime] == b"2020:06:20 21:33:32"
    assert piexif.ExifIFD.UserComment not in exif["Exif"]


def test_a_2022_picture_has_its_fields_in_two_lines_of_csv_without_a_charset():
    exif = piexif.load(picture_bytes("512858f4", TAKEN, generation=2022, size=SMALL))
    assert exif["0th"][piexif.ImageIFD.Make] == b"StickyPi"
    assert exif["0th"][piexif.ImageIFD.Model] == b"RP_imx477"
    assert exif["Exif"][piexif.ExifIFD.UserComment] == (
        b"v,T,H,B,L,lat,lng,a,l,b\n3.1.0,17.0,44.6,72,1.86,49.26140,-123.25103,81.7,1652811355,1"
    )


def test_a_long_comment_is_cut_as_the_firmware_cuts_it():
    blob = picture_bytes("512858f4", TAKEN, generation=2022, size=SMALL, device_version="3" * 200)
    assert len(piexif.load(blob)["Exif"][piexif.ExifIFD.UserComment]) == 127


def test_both_generations_have_the_tags_of_the_real_ones(samples):
    for name, generation in (("5c173ff2.2020-06-20_21-33-24", 2020), ("512858f4.2022-05-17_18-34-50", 2022)):
        real = piexif.load(str(samples / f"{name}.jpg"))
        made = piexif.load(picture_bytes("5c173ff2", TAKEN, generation=generation, size=SMALL))
        assert made["0th"].keys() <= real["0th"].keys()
        assert made["Exif"].keys() <= real["Exif"].keys()


def test_a_field_that_the_generation_does_not_have_is_refused():
    with pytest.raises(TypeError, match="a 2020 picture has no bat"):
        picture_bytes("5c173ff2", TAKEN, size=SMALL, bat=72)


def test_every_seed_device_time_and_generation_gives_other_bytes_and_the_same_ones_the_same():
    made = [
        *(picture_bytes("5c173ff2", TAKEN, size=SMALL, seed=seed) for seed in range(20)),
        picture_bytes("5c173ff3", TAKEN, size=SMALL),
        picture_bytes("5c173ff2", TAKEN.replace(second=25), size=SMALL),
        picture_bytes("5c173ff2", TAKEN, generation=2022, size=SMALL),
    ]
    assert len({hashlib.md5(blob, usedforsecurity=False).digest() for blob in made}) == len(made)
    assert made[0] == picture_bytes("5c173ff2", TAKEN, size=SMALL, seed=0)


@pytest.mark.parametrize("generation", [2020, 2022])
@pytest.mark.parametrize("seed", range(5))
def test_the_scan_holds_no_run_of_zero_bytes_that_would_make_it_suspect_but_the_header_does(generation, seed):
    blob = picture_bytes("5c173ff2", TAKEN, generation=generation, seed=seed)
    scan = blob.rindex(b"\xff\xda")
    assert max(map(len, re.findall(rb"\0+", blob[scan + 20 :]))) < 8
    assert bytes(64) in blob[:scan]
    assert blob.endswith(b"\xff\xd9")
