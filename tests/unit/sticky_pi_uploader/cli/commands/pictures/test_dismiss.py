"""`dismiss`: what calls for attention, and when that ends."""

import pytest
from sticky_pi_uploader.models import State


def first_line(trap):
    return trap.run("status").stdout.decode().splitlines()[0]


def test_a_dismissed_picture_stays_in_list_and_audit_and_needs_no_attention_until_it_is_retried(busy):
    lost, rejected = "5c173ff2/5c173ff2.2020-06-20_00-00-01.jpg", "notes.jpg"
    assert first_line(busy).startswith("Attention: 2 pictures need a look (1 rejected, 1 lost)")
    before = sorted(str(path) for path in busy.images.rglob("*.jpg"))
    done = busy.run("dismiss", rejected, f"{busy.images}/{lost}")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"2 pictures dismissed.\n", b"")
    assert not first_line(busy).startswith("Attention")
    assert sorted(str(path) for path in busy.images.rglob("*.jpg")) == before
    listed = {picture["path"]: picture for picture in busy.json("list")}
    assert {path for path, picture in listed.items() if picture["dismissed_at"]} == {
        f"{busy.images}/{path}" for path in (lost, rejected)
    }
    assert listed[f"{busy.images}/{rejected}"]["state"] == "rejected"
    assert busy.run("list", "--state", "lost").stdout.decode().rstrip().endswith("  dismissed")
    assert busy.json("status")["counts"]["lost"] == busy.json("audit", status=1)["counts"]["lost"] == 1
    assert busy.json("status")["to_look_at"] == {"conflict": 0, "rejected": 0, "lost": 0}
    story = busy.json("explain", rejected)
    assert story["history"][-1] == {"at": story["dismissed_at"], "state": "rejected", "why": "dismissed by hand"}
    assert "\n  Dismissed " in busy.run("explain", rejected).stdout.decode()
    assert busy.run("retry", rejected).returncode == 0
    assert busy.json("explain", rejected)["dismissed_at"] is None
    assert first_line(busy).startswith("Attention: 1 picture needs a look (1 rejected)")


def test_dismiss_names_what_is_unknown_and_what_needs_no_attention(busy):
    sent, lost = "5c173ff2.2020-06-20_00-00-03.jpg", "5c173ff2.2020-06-20_00-00-01.jpg"
    for number in ("1 picture", "No picture"):
        done = busy.run("dismiss", sent, lost, "nowhere.jpg")
        assert (done.returncode, done.stdout.decode()) == (1, f"{number} dismissed.\n")
        said = done.stderr.decode()
        assert f"{sent}: it is pending, and needs no attention" in said
        assert (f"{lost}: it is lost, and needs no attention" in said) == (number == "No picture")
        assert "nowhere.jpg: nothing is known of it" in said


def test_dismiss_before_anything_is_recorded_knows_no_picture_and_makes_nothing(trap):
    done = trap.run("dismiss", "a.jpg")
    assert (done.returncode, done.stdout) == (1, b"")
    assert not trap.state.exists()


def test_dismiss_wants_a_file(trap):
    assert trap.run("dismiss").returncode == 2


@pytest.mark.parametrize("gone", [False, True])
def test_what_no_camera_took_needs_attention_until_it_is_gone(trap, gone):
    (trap.images / "holiday.jpg").write_text("no picture")
    assert trap.run("drain").returncode == 0
    if gone:
        (trap.images / "holiday.jpg").unlink()
        assert trap.run("drain").returncode == 0
    assert first_line(trap).startswith("All is well" if gone else "Attention: 1 picture needs a look (1 rejected)")
    [picture] = trap.json("list")
    assert (picture["state"], picture["removed_at"] is not None) == (State.REJECTED, gone)
    assert trap.json("audit")["adds_up"]


def test_what_a_power_cut_left_of_a_picture_needs_no_attention_but_its_warning(trap, make_trap_picture):
    picture = make_trap_picture(trap.images)
    picture.write_bytes(picture.read_bytes()[:-100])
    done = trap.run("drain")
    assert done.returncode == 0
    assert done.stderr.decode().count("it is cut short") == 1
    assert first_line(trap) == "All is well: the destination has 0 of 1 picture; the others need no attention."
    assert b"it is cut short" in trap.run("list").stdout
