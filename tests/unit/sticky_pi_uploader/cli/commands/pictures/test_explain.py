import json
import os

import pytest
from sticky_pi_uploader.cli.commands.pictures import explain


@pytest.mark.parametrize("name", ["exact", "relative to here", "relative to the image dir", "bare"])
def test_explain_finds_a_picture_by_any_name(busy, name):
    path = busy.images / "5c173ff2" / "5c173ff2.2020-06-20_00-00-03.jpg"
    names = {
        "exact": str(path),
        "relative to here": os.path.relpath(path, busy.folder),
        "relative to the image dir": os.path.relpath(path, busy.images),
        "bare": path.name,
    }
    story = busy.json("explain", names[name])
    assert story["path"] == str(path)
    assert story["metadata"] == {"temp": 21.5, "lat": None}
    assert story["history"] == [{"at": "2020-09-13T12:26:40Z", "state": "pending", "why": "taken in"}]


def test_explain_of_a_name_in_two_folders_shows_both_to_people_and_the_latest_to_programs(busy, taken):
    name = "5c173ff2.2020-06-20_00-00-03.jpg"
    with busy.open() as outbox:
        outbox.catalog.record([taken(f"copy/{name}", rejected="it is empty")])
    shown = busy.run("explain", name).stdout.decode()
    assert f"{busy.images}/5c173ff2/{name}: pending" in shown
    assert f"{busy.images}/copy/{name}: rejected" in shown
    with busy.open() as outbox:
        outbox.queue.retry(outbox.at(f"5c173ff2/{name}"))
    story = busy.json("explain", name)
    assert story["path"] == f"{busy.images}/5c173ff2/{name}"
    assert story["history"][-1]["why"] == "asked for by hand"
    assert busy.json("explain", f"copy/{name}")["state"] == "rejected"


@pytest.mark.parametrize(
    ("synchronised", "shown"), [(True, "synchronised with"), (False, "not synchronised with"), (None, "")]
)
def test_explain_says_whether_the_clock_was_synchronised_when_a_picture_came(trap, taken, synchronised, shown):
    trap.record(taken("a.jpg", clock_synchronised=synchronised))
    assert trap.json("explain", "a.jpg")["clock_synchronised"] is synchronised
    assert (f"Clock then  {shown}" in trap.run("explain", "a.jpg").stdout.decode()) is bool(shown)


def test_explain_goes_through_a_link_to_the_image_dir(busy):
    os.symlink(busy.images, busy.folder / "link")
    assert busy.json("explain", "link/notes.jpg")["state"] == "rejected"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("pictures/.hidden.jpg", "hidden"),
        ("pictures/.thumbs/a.jpg", "hidden"),
        ("pictures/link.jpg", "symbolic link"),
        ("pictures/linked/a.jpg", "symbolic link"),
        ("pictures/a.txt", "doesn't end in .jpg"),
        ("pictures/folder.jpg", "isn't a regular file"),
        ("state/a.jpg", "the uploader's own"),
        ("a.jpg", "isn't in the image folder"),
        ("pictures/new.jpg", "hasn't been seen yet"),
        ("pictures/nowhere.jpg", "no such file"),
    ],
)
def test_explain_says_why_a_file_is_not_recorded(trap, taken, path, why):
    trap.record(taken("b.jpg"))
    for folder in ("pictures/.thumbs", "pictures/folder.jpg"):
        (trap.folder / folder).mkdir(parents=True)
    for file in ("pictures/.hidden.jpg", "pictures/.thumbs/a.jpg", "pictures/a.txt", "a.jpg", "pictures/new.jpg"):
        (trap.folder / file).touch()
    (trap.state / "a.jpg").touch()
    os.symlink("new.jpg", trap.images / "link.jpg")
    os.symlink(trap.folder, trap.images / "linked")
    done = trap.run("explain", path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert why in done.stderr.decode()
    assert json.loads(trap.run("explain", path, "--json").stdout) is None


def test_numbers_that_json_lacks_become_null(trap, taken):
    trap.record(taken("a.jpg", metadata={"temp": float("nan"), "hum": float("inf"), "bat": 7}))
    assert trap.json("explain", "a.jpg")["metadata"] == {"temp": None, "hum": None, "bat": 7}


def test_damage_that_only_the_history_has_leaves_the_rest_of_the_story(trap, taken):
    trap.record(taken("a.jpg"))
    with trap.open() as outbox:
        outbox.database.connection.execute("UPDATE history SET state = 'asleep'")
    done = trap.run("explain", "a.jpg", "--json")
    assert done.returncode == 0
    assert b"is damaged" in done.stderr
    story = json.loads(done.stdout)
    assert (story["state"], story["history"]) == ("pending", [])


def test_last_changed_takes_the_story_with_the_latest_event():
    old, new, empty = ({"history": [{"at": at}] if at else []} for at in ("2020", "2021", None))
    assert explain.last_changed([old, new, empty]) is new
