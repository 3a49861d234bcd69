import re

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_list_has_every_key_for_every_picture(busy):
    listed = busy.json("list")
    assert len(listed) == 6
    for picture in listed:
        assert list(picture) == [
            *("path", "device", "datetime", "md5", "state", "attempts", "not_before", "reason"),
            *("receipt_md5", "uploaded_at", "removed_at", "dismissed_at", "suspect"),
        ]
        for key in ("datetime", "not_before", "uploaded_at", "removed_at", "dismissed_at"):
            assert picture[key] is None or STAMP.fullmatch(picture[key])
    by_path = {picture["path"]: picture for picture in listed}
    assert by_path[f"{busy.images}/notes.jpg"]["md5"] is None
    sent = by_path[f"{busy.images}/copy/5c173ff2.2020-06-20_00-00-09.jpg"]
    refused = by_path[f"{busy.images}/5c173ff2/5c173ff2.2020-06-20_00-00-00.jpg"]
    assert (sent["state"], sent["receipt_md5"], sent["suspect"]) == ("uploaded", f"{9:032x}", "a hole in it")
    assert (refused["attempts"], refused["not_before"]) == (1, "2020-09-13T12:27:40Z")


def test_list_can_be_narrowed_to_some_states(busy):
    states = {picture["state"] for picture in busy.json("list", "--state", "lost", "--state", "rejected")}
    assert states == {"lost", "rejected"}
    lines = busy.run("list", "--state", "rejected").stdout.decode().splitlines()
    assert lines == ["rejected  -                     notes.jpg  it is a PNG picture"]


def test_a_misspelt_state_is_wrong_usage_and_says_what_was_meant(trap):
    done = trap.run("list", "--state", "pendign")
    assert done.returncode == 2
    assert b"there is no state 'pendign'; did you mean pending?" in done.stderr
    assert b"there are pending, uploading" in trap.run("list", "--state", "xyz").stderr
