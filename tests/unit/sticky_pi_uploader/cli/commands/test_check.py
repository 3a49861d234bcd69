import json
import os
import stat
import time
from contextlib import suppress

import pytest
from api_server import ApiServer
from mounted import bound, remount, tmpfs
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import StoreError
from sticky_pi_api.filesystem.mounts import file_system_type
from sticky_pi_uploader.cli.checks.finding import Level
from sticky_pi_uploader.cli.commands import check
from sticky_pi_uploader.config import load
from sticky_pi_uploader.models import Destination, DestinationState
from sticky_pi_uploader.state_dir.disk import CAMERA_MINIMUM

KEYS = ["about", "level", "what", "advice"]


@pytest.fixture
def look(trap):
    """Look at the trap, in this process; returns the findings by what they are about, the worst of each."""

    def look(flags=None, environ=None, config_file=os.devnull):
        given = {"image_dir": str(trap.images), "state_dir": str(trap.state), "api.url": trap.url} | (flags or {})
        found = check.look(given, environ or {}, config_file)
        look.status = check.exit_status(found)
        order = list(Level)
        return {each.about: each for each in sorted(found, key=lambda each: order.index(each.level))}

    return look


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 100 MB."""
    with tmpfs(tmp_path / "disk", "size=100m") as place:
        yield place


def test_what_fsck_left_in_lost_and_found_is_reported_once_by_root_though_the_state_is_the_services(trap):
    if os.geteuid() != 0:
        pytest.skip("needs root: lost+found is root's")

    def reported():
        return [each for each in json.loads(trap.run("check", "--json").stdout) if each["about"] == "lost+found"]

    folder = trap.images / "lost+found"
    folder.mkdir(mode=0o700)
    trap.state.mkdir()
    os.chown(trap.state, 65534, 65534)
    assert reported() == []
    for number in range(3):
        (folder / f"#{number}").write_text("perhaps a picture")
    [found] = reported()
    assert (found["level"], found["what"]) == ("warning", f"fsck put 3 files into {folder}")
    folder.rename(trap.images / "away")
    folder.symlink_to("away")
    assert reported() == []


def test_a_trap_in_order_ends_with_0_and_every_finding_has_its_keys(trap):
    found = trap.json("check")
    assert all(list(each) == KEYS for each in found)
    assert {each["level"] for each in found} <= {"ok", "warning"}
    about = [each["about"] for each in found]
    for subject in ("configuration", "image folder", "state folder", "outbox", "free space", "clock", "destination"):
        assert subject in about
    assert not trap.state.exists()


def test_people_get_the_sum_first_and_advice_below_each_finding(trap):
    shown = trap.run("check", "--image-dir", f"{trap.folder}/nowhere")
    assert shown.returncode == 1
    lines = shown.stdout.decode().splitlines()
    assert lines[0].startswith("1 problem")
    [at] = [number for number, line in enumerate(lines) if line.startswith("  problem")]
    assert f"the image folder {trap.folder}/nowhere isn't there" in lines[at]
    assert lines[at + 1].strip().startswith("-> ")


def test_a_wrong_configuration_ends_with_78_and_the_rest_is_looked_at_all_the_same(trap):
    config = trap.folder / "config.toml"
    config.write_text(f'image_dir = "{trap.images}"\nscan_interval = "often"\nstate_dri = "/x"\n')
    done = trap.run("check", "--json", flags=["--config", str(config)])
    assert done.returncode == 78
    import json

    found = json.loads(done.stdout)
    wrong = [each["what"] for each in found if each["about"] == "configuration"]
    assert len(wrong) == 2
    assert all(str(config) in what for what in wrong)
    assert any(each["what"].startswith(str(trap.images)) for each in found if each["about"] == "image folder")


def test_a_destination_that_is_still_to_be_set_is_said_once(look):
    found = look({"api.url": ""})
    assert look.status == 78
    assert "[api] url: not set: expected where the pictures go" in found["configuration"].what
    assert not {"credentials", "destination"} & set(found)


def test_a_password_file_that_others_can_read_is_a_finding_about_the_configuration(trap, look):
    password = trap.folder / "password"
    password.write_text("hunter2\n")
    password.chmod(0o644)
    found = look({"api.url": "https://pi.example.org", "api.username": "kim", "api.password_file": str(password)})
    assert look.status == 78
    assert "chmod 600" in found["configuration"].what
    assert "hunter2" not in str(found)


def test_an_account_is_needed_by_servers_only(look):
    assert "credentials" not in look()
    found = look({"api.url": "https://pi.example.org"})
    assert look.status == 1
    assert found["credentials"].what == "[api] username and password_file not set"
    found = look({"api.url": "https://pi.example.org", "api.username": "kim"}, {"SPI_API_PASSWORD": "hunter2"})
    assert found["credentials"].level == "ok"
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("password", "remark"),
    [
        ("hunter2", None),
        ("hun ter2", None),
        ("hunter2 ", "white space"),
        ("\thunter2", "white space"),
        ("hunter2\n", "white space"),
        ("hunter2\xa0", "white space"),
        ("hun\0ter2", "can't be seen"),
        ("hun\u200bter2", "can't be seen"),
    ],
)
def test_a_password_that_looks_other_than_it_is_is_remarked_on(trap, look, password, remark):
    file = trap.folder / "password"
    file.touch(mode=0o600)
    file.write_bytes(f"{password}\n".encode())
    flags = {"api.url": "http://127.0.0.1:9", "api.username": "kim", "api.password_file": str(file)}
    found = look(flags)["credentials"]
    assert (found.level, remark is None or remark in found.what) == ("ok" if remark is None else "warning", True)
    assert "ter2" not in str(found)


def test_a_server_that_accepts_the_account_is_a_destination(tmp_path, look):
    with ApiServer(tmp_path / "server") as server:
        flags = {"api.url": server.url, "api.username": "trap"}
        found = look(flags, {"SPI_API_PASSWORD": "pollen"})["destination"]
        assert (found.level, found.what) == ("ok", f"{server.url} answers, and accepts the account")
        wrong = look(flags, {"SPI_API_PASSWORD": "nectar"})["destination"]
        assert wrong.level == "problem"
        assert "doesn't accept the account 'trap'" in wrong.what
        assert "nectar" not in wrong.what
    away = look(flags, {"SPI_API_PASSWORD": "pollen"})["destination"]
    assert away.level == "problem"
    assert server.url in away.what


def test_a_server_without_an_account_is_one_problem_and_is_not_asked(look):
    found = look({"api.url": "https://nowhere.invalid"})
    assert found["credentials"].what == "[api] username and password_file not set"
    assert "destination" not in found


def test_a_store_on_the_same_disk_is_warned_about(trap, look, small_disk):
    found = look()["destination"]
    assert found.level == "warning"
    assert "a second copy on the same card" in found.what
    assert look({"api.url": f"file://{small_disk}/store"})["destination"].level == "ok"


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of 1 MB with room for a few files."""
    with tmpfs(tmp_path / "tiny disk", "size=1m,nr_inodes=50") as place:
        yield place


def fill(disk):
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0


def use_up_inodes(disk):
    with suppress(OSError):
        for number in range(50):
            (disk / f"filler {number}").touch()
    assert os.statvfs(disk).f_favail == 0


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize(
    ("use_up", "said"),
    [
        (fill, ("no space left on its disk", "make room on that disk: remove files, or use a larger one")),
        (use_up_inodes, ("all of its inodes are used", "remove files from that disk: each takes an inode")),
    ],
)
def test_a_disk_of_the_state_that_is_used_up_is_no_failed_one(look, tiny_disk, use_up, said, is_there):
    if is_there:
        (tiny_disk / "state").mkdir()
    use_up(tiny_disk)
    found = look({"state_dir": f"{tiny_disk}/state"})["state folder"]
    assert (found.level, found.what.endswith(said[0]), found.advice) == ("problem", True, said[1])


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize(("use_up", "why"), [(fill, "the disk is full"), (use_up_inodes, "all of its inodes are used")])
def test_what_is_used_up_on_a_stores_disk_is_named(look, tiny_disk, use_up, why, is_there):
    store = tiny_disk / "store"
    if is_there:
        store.mkdir()
    use_up(tiny_disk)
    found = look({"api.url": f"file://{tiny_disk}/store".replace(" ", "%20")})["destination"]
    assert (found.level, why in found.what, ".trial-" in found.what) == ("problem", True, False)
    # And as it is used.
    with pytest.raises(StoreError, match=why):
        LocalClient(store)


def test_a_link_in_a_store_is_a_problem(trap, look, small_disk):
    store = small_disk / "store"
    store.mkdir()
    (store / "raw_images").symlink_to(trap.images)
    found = look({"api.url": f"file://{store}"})["destination"]
    assert found.level == "problem"
    assert f"raw_images in it is a link: move the whole store instead ({store}/raw_images)" in found.what


@pytest.mark.parametrize("place", ["raw_images", "raw_images/1b74105a"])
def test_pictures_of_a_store_that_lie_on_the_card_by_a_mount_are_warned_about(trap, look, small_disk, place):
    pictures = trap.folder / "pictures of the store"
    pictures.mkdir()
    with bound(pictures, small_disk / "store" / place):
        found = look({"api.url": f"file://{small_disk}/store"})["destination"]
    assert found.level == "warning"
    assert "a second copy on the same card" in found.what


def test_a_store_that_cannot_be_made_is_a_problem(trap, look):
    (trap.folder / "file").touch()
    found = look({"api.url": f"file://{trap.folder}/file/store"})
    assert found["destination"].what == f"{trap.folder}/file isn't a folder"
    assert look.status == 1


def test_a_state_folder_whose_parent_is_missing_is_a_problem(trap, look):
    found = look({"state_dir": f"{trap.folder}/a/b"})["state folder"]
    assert found.level == "problem"
    assert found.what == f"{trap.folder}/a/b can't be made, as {trap.folder}/a isn't there"
    # Debian 13 keeps /tmp in memory.
    expected = "warning" if file_system_type(str(trap.images)) == "tmpfs" else "ok"
    assert look({"state_dir": f"{trap.images}/.a/b"})["state folder"].level == expected


def test_a_state_folder_in_memory_is_warned_about(look, small_disk):
    found = look({"state_dir": f"{small_disk}/state"})["state folder"]
    assert found.level == "warning"
    assert "forgotten at power-off" in found.what


def test_a_read_only_disk_is_a_problem(look, small_disk):
    remount(small_disk, "ro")
    found = look({"state_dir": f"{small_disk}/state", "api.url": f"file://{small_disk}/store"})
    assert "read-only" in found["state folder"].what
    assert "read-only" in found["destination"].what


@pytest.mark.parametrize(("free", "level"), [(CAMERA_MINIMUM - 2_000_000, "problem"), (90_000_000, "ok")])
def test_free_space_is_judged(look, small_disk, free, level):
    space = os.statvfs(small_disk)
    with open(small_disk / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - free))
    found = look({"image_dir": str(small_disk), "state_dir": f"{small_disk}/.state"})["free space"]
    assert found.level == level


def test_little_free_space_on_a_large_disk_is_warned_about(look, tmp_path):
    with tmpfs(tmp_path / "large", "size=1g") as place:
        with open(place / "filler", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 2**30 - 120_000_000)
        found = look({"image_dir": str(place), "state_dir": f"{place}/.state"})["free space"]
    assert found.level == "warning"
    assert "less than 15 %" in found.what


def test_a_clock_that_went_back_is_a_problem(trap, look, taken):
    later = time.time() + 3 * 86400
    with trap.open(clock=lambda: later) as outbox:
        outbox.catalog.record([taken("5c173ff2.2020-06-20_00-00-00.jpg")])
        [picture] = outbox.queue.claim(1)
        outbox.queue.confirm(picture, picture.md5, "stored")
    found = look()["clock"]
    assert found.level == "problem"
    assert "a picture was sent later than that" in found.what


def test_a_damaged_outbox_is_warned_about_and_needs_nobody(trap, look, taken):
    trap.record(taken("a.jpg"))
    assert look()["outbox"].what == "1 picture recorded"
    trap.outbox.write_text("hello" * 1000)
    found = look()["outbox"]
    assert found.level == "warning"
    assert found.advice.startswith("nothing: ")
    assert look.status == 0


def test_an_outbox_that_cannot_be_opened_is_a_problem(trap, look):
    trap.outbox.mkdir(parents=True)
    assert look()["outbox"].level == "problem"


def test_retention_is_told_of_where_it_removes_pictures(trap, look):
    config = trap.folder / "config.toml"
    config.write_text("[retention]\nkeep_days = 30\n")
    # To a store on the same disk nothing is removed, and that is said of the destination.
    assert "retention" not in look(config_file=str(config))
    found = look({"api.url": "http://127.0.0.1:9"}, config_file=str(config))["retention"]
    assert (found.level, found.what) == ("ok", "what was sent goes after 30 days, or sooner with less than 15 % free")
    assert "retention" not in look({"api.url": "http://127.0.0.1:9"})


def test_folders_are_counted_against_what_the_kernel_watches(trap, look):
    for name in ("a", "a/b", "c"):
        (trap.images / name).mkdir()
    assert look()["watching"].what.startswith("4 of the ")


def test_nothing_on_disk_is_changed(trap, make_trap_picture):
    make_trap_picture(trap.images)
    assert trap.run("drain").returncode == 0

    def state():
        # What a folder's own time tells is that something was tried out in it.
        tried = (trap.state, trap.store)
        times = {path: path.stat().st_mtime_ns for path in trap.folder.rglob("*") if path not in tried}
        return times, {path: path.stat().st_size for path in trap.folder.rglob("*")}

    before = state()
    assert trap.run("check").returncode == 0
    assert state() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_state_folder_without_the_right_to_write_is_a_problem(trap, look):
    trap.state.mkdir()
    trap.state.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert look()["state folder"].level == "problem"


def test_the_defaults_stand_for_what_was_not_understood():
    assert load({}, {}, os.devnull).image_dir == "/sticky_pi_data"


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (DestinationState.REFUSING, "problem"),
        (DestinationState.UNAUTHORIZED, "problem"),
        (DestinationState.NOT_AN_API, "problem"),
        (DestinationState.UNREACHABLE, "warning"),
        (DestinationState.OK, None),
        (DestinationState.UNKNOWN, None),
    ],
)
def test_trouble_with_the_last_pictures_is_told_though_the_destination_answers(trap, look, state, level):
    """As where a server's front lets questions pass, and no picture."""
    with trap.open() as outbox:
        outbox.destinations.update(
            Destination(
                trap.url, state, "the web server in front of the API accepts no request of 2,100 kB", failures=1
            )
        )
    found = look().get("sending")
    assert (found and found.level) == level
    assert look.status == (1 if level == "problem" else 0)
    assert found is None or "the web server in front of the API accepts no request of 2,100 kB" in found.what


def test_trouble_of_another_destination_is_not_told_of_this_one(trap, look):
    with trap.open() as outbox:
        outbox.destinations.update(Destination(trap.url, DestinationState.REFUSING, "status 500", failures=1))
    assert "sending" not in look({"api.url": f"{trap.url}2"})
