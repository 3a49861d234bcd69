"""A hundred wrong files of every kind beside ten right ones, through the real commands."""

import io
import json
import os
import re
import stat
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import piexif
import pytest
from PIL import Image
from program import Program, eventually
from sticky_pi_uploader.demo.pictures import picture_bytes
from sticky_pi_uploader.outbox import OutboxReader

FIRST = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names
SMALL = (160, 120)
WHOLE = picture_bytes("1b74105a", FIRST, size=SMALL)


def name(number, device="1b74105a"):
    return f"{device}.{FIRST + timedelta(minutes=20 * number):%Y-%m-%d_%H-%M-%S}.jpg"


def right_files():
    """Ten pictures of both generations, in all three layouts, of two devices."""
    layouts = ("{device}/2020-07-05/{name}", "{device}/{name}", "{name}")
    for number in range(10):
        device = ("1b74105a", "512858f4")[number % 2]
        path = layouts[number % 3].format(device=device, name=name(number, device))
        generation = (2020, 2022)[number % 2]
        yield path, picture_bytes(device, FIRST, generation=generation, size=SMALL, seed=number)


def with_make(make):
    target = io.BytesIO()
    piexif.insert(piexif.dump({"0th": {piexif.ImageIFD.Make: make}}), WHOLE, target)
    return target.getvalue()


def saved_as(kind):
    with io.BytesIO() as file:
        Image.new("RGB", SMALL).save(file, kind)
        return file.getvalue()


def wrong_contents():
    """Contents that no picture has, and what the reason says of them."""
    for part in range(40):
        yield WHOLE[: len(WHOLE) * part // 40], "empty" if part == 0 else "cut short"
    yield WHOLE[:-1], "cut short"
    yield WHOLE[:-2], "cut short"
    yield bytes(5000), "nothing but zero bytes"
    yield b"text\n" * 100, "isn't a JPEG"
    yield saved_as("PNG"), "a PNG picture"
    yield saved_as("GIF"), "a GIF picture"
    yield saved_as("JPEG"), "no EXIF"
    yield with_make(b"Canon"), "another camera's"
    yield with_make(b"{'a': " + b"(" * 1000 + b")" * 1000 + b"}"), "EXIF is damaged"
    yield with_make(b"{" + b"'a': 1, " * 7500 + b"}"), "EXIF is damaged"
    yield WHOLE[:2] + b"\xff\xe1\xff\xffExif\0\0MM\0*" + b"{'a': 1}" * 1_250_000 + WHOLE[2:], "EXIF is damaged"
    for start in range(30):
        exif = WHOLE.index(b"Exif\0\0") + 6 + start
        yield WHOLE[:exif] + b"\xff\x00" * 100 + WHOLE[exif + 200 :], "EXIF"
    frame = re.search(rb"\xff\xc0..\x08", WHOLE, re.DOTALL).end()
    yield WHOLE[:frame] + b"\xff\xd0\xff\xd0" + WHOLE[frame + 4 :], "65488x65488 pixels"


WRONG_NAMES = {
    "holiday.jpg": "3: <device>",
    "1b74105a.2020-07-05_10-07-16.extra.jpg": "4 fields",
    "1b74105.2020-08-05_10-07-16.jpg": "8 hexadecimal digits",
    "zzzzzzzz.2020-08-05_10-07-16.jpg": "8 hexadecimal digits",
    "1b74105a.2020-13-05_10-07-16.jpg": "doesn't exist",
    "1b74105a.2020-02-30_10-07-16.jpg": "doesn't exist",
    "1b74105a.2020-08-05_25-07-16.jpg": "doesn't exist",
    "1b74105a.05-08-2020_10-07-16.jpg": "isn't written as",
    "1b74105a.2000-01-01_00-00-00.jpg": "the trap's clock wasn't set",
    os.fsdecode(b"1b74105\xe9.2020-08-05_10-07-16.jpg"): "8 hexadecimal digits",
    "line\nbreak.2020-08-05_10-07-16.jpg": "8 hexadecimal digits",
}

IGNORED = (
    f".{name(0)}",
    f"{name(0)}~",
    f"{name(0)}.part",
    name(0).replace(".jpg", ".jpeg"),
    f".Trash-0/{name(0)}",
    f"1b74105a/.cache/{name(0)}",
    "metadata.json",
    "sticky_pi.log",
)


def wrong_files():
    """Yield path, contents, and what the reason says."""
    for number, (contents, why) in enumerate(wrong_contents(), 1000):
        yield f"1b74105a/2020-07-{number % 28 + 1:02}/{name(number)}", contents, why
    for file_name, why in WRONG_NAMES.items():
        yield f"1b74105a/{file_name}", WHOLE, why


def write(image_dir, path, contents):
    full = image_dir / path
    full.parent.mkdir(parents=True, exist_ok=True)
    full.write_bytes(contents)


def write_what_is_ignored(image_dir):
    for path in IGNORED:
        write(image_dir, path, WHOLE)
    os.mkfifo(image_dir / name(500))
    (image_dir / name(501)).mkdir()
    (image_dir / name(502)).symlink_to(image_dir / "1b74105a")
    (image_dir / name(503)).symlink_to(name(503))
    (image_dir / "loop").symlink_to(".")
    os.mknod(image_dir / name(504), stat.S_IFSOCK | 0o600)


@pytest.fixture
def image_dir(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


def state_dir(image_dir):
    return image_dir / ".sticky-pi-uploader"


def recorded(image_dir):
    """Map each recorded path to its state and reason."""
    try:
        reader = OutboxReader.open_readonly(os.fspath(state_dir(image_dir) / "outbox.db"))
    except FileNotFoundError:
        return {}
    with reader:
        return {picture.path: (str(picture.state), picture.reason) for picture in reader.pictures()}


def contents_of(image_dir):
    """Map everything outside the state folder to its contents, or its kind."""
    found = {}
    for folder, names, files in os.walk(image_dir):
        if ".sticky-pi-uploader" in names:
            names.remove(".sticky-pi-uploader")
        for each in (*names, *files):
            path = Path(folder, each)
            regular = path.is_file() and not path.is_symlink()
            found[os.fspath(path)] = path.read_bytes() if regular else path.lstat().st_mode
    return found


def check_all(image_dir, right, wrong):
    found = recorded(image_dir)
    assert {path: found.pop(path) for path in right} == dict.fromkeys(right, ("uploaded", None))
    for path, contents in right.items():
        base = os.path.basename(path)
        assert (state_dir(image_dir) / "store" / "raw_images" / base[:8] / base).read_bytes() == contents
    for path, why in wrong.items():
        state, reason = found.pop(path)
        assert (state, path) == ("rejected", path)
        assert why in reason, path
        assert reason.isprintable()
    return found


def test_drain_stores_the_right_ones_and_gives_every_wrong_one_its_reason(image_dir):
    right, wrong = dict(right_files()), {}
    for path, contents, why in wrong_files():
        write(image_dir, path, contents)
        wrong[path] = why
    for path, contents in right.items():
        write(image_dir, path, contents)
    write_what_is_ignored(image_dir)
    rivals = [f"{folder}/{name(600)}" for folder in "ab"] + [
        f"{folder}/{name(601, device)}" for folder, device in (("a", "1b74105a"), ("a", "1B74105A"))
    ]
    for seed, path in enumerate(rivals):
        write(image_dir, path, picture_bytes("1b74105a", FIRST, size=SMALL, seed=1000 + seed))
    future = "1b74105a.2099-01-01_00-00-00.jpg"
    write(image_dir, future, WHOLE)
    before = contents_of(image_dir)
    assert len(wrong) > 80
    assert len(wrong) + len(IGNORED) + len(rivals) > 100
    program = Program("--image-dir", image_dir)
    done = program.run("drain", timeout=120)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    others = check_all(image_dir, right, wrong)
    assert others.pop(future) == ("uploaded", None)
    assert Counter(others.pop(path)[0] for path in rivals) == {"uploaded": 2, "conflict": 2}
    assert others == {}
    assert contents_of(image_dir) == before
    rows = json.loads(program.run("list", "--json").stdout)
    assert len(rows) == len(right) + len(wrong) + len(rivals) + 1
    assert all(row["reason"] for row in rows if row["state"] in ("rejected", "conflict"))
    assert [row["state"] for row in rows if row["suspect"]] == ["uploaded"]


def threads_and_memory(process):
    """Return the number of threads, and the memory in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text("ascii")
    threads, memory = (int(re.search(rf"^{key}:\s+(\d+)", status, re.MULTILINE)[1]) for key in ("Threads", "VmRSS"))
    return threads, memory * 1024


def test_the_service_is_as_it_was_after_a_hundred_wrong_files_and_took_the_right_ones(tmp_path, image_dir):
    right, wrong = dict(right_files()), {}
    files = list(wrong_files())
    with Program("--image-dir", image_dir).service(tmp_path / "log") as process:
        for warm_up in range(3):
            path, contents = list(right.items())[warm_up]
            write(image_dir, path, contents)
            write(image_dir, *files[warm_up + 50][:2])
        eventually(lambda: len(recorded(image_dir)) == 6)
        threads, memory = threads_and_memory(process)
        waiting = list(right.items())[3:]
        for number, (path, contents, why) in enumerate(files):
            wrong[path] = why
            write(image_dir, path, contents)
            (image_dir / "vanishing.jpg").write_bytes(contents)
            (image_dir / "vanishing.jpg").unlink()
            if number % 10 == 0 and waiting:
                write(image_dir, *waiting.pop())
        write_what_is_ignored(image_dir)
        growing = image_dir / name(700)
        for part in range(0, len(WHOLE), 500):
            with open(growing, "ab") as file:
                file.write(WHOLE[part : part + 500])
            time.sleep(0.02)
        right[growing.name] = WHOLE
        eventually(lambda: len(recorded(image_dir)) >= len(right) + len(wrong))
        eventually(lambda: Counter(state for state, _ in recorded(image_dir).values())["uploaded"] == 11)
        others = check_all(image_dir, right, wrong)
        assert others.keys() <= {"vanishing.jpg"}
        after_threads, after_memory = threads_and_memory(process)
        assert after_threads <= threads
        assert after_memory - memory < 40_000_000
    assert b"Traceback" not in (tmp_path / "log").read_bytes()
