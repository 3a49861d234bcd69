"""What the commands do in a hold: `drain` keeps pictures back, and every command says why in the same words."""

import json
import time
from datetime import UTC, datetime

import pytest
from sticky_pi_uploader.models import Hold, HoldCause

ALWAYS = 'hours = ["00:00-24:00"]'
BY_HOURS = "held: nothing is sent in these hours ([hold] hours)"
BY_BATTERY = "held: the battery fell below 80 %, and sending goes on once it has 90 % ([hold] battery_below)"


@pytest.fixture
def held(trap, make_trap_picture):
    """A trap with a picture that was taken just now, and a hold; call it to run a command under other rules."""

    def take(bat, device="5c173ff2"):
        when = datetime.now(UTC).replace(tzinfo=None)
        return make_trap_picture(trap.images, device=device, when=when, generation=2022, bat=bat)

    def run(*arguments, rules=ALWAYS, **more):
        file = trap.folder / "config.toml"
        file.write_text(
            f'image_dir = "{trap.images}"\nstate_dir = "{trap.state}"\n[api]\nurl = "{trap.url}"\n[hold]\n{rules}\n'
        )
        return trap.run(*arguments, flags=["--config", str(file)], **more)

    run.trap, run.take, run.picture = trap, take, take(72)
    return run


def stored(held):
    return len(list(held.trap.store.glob("raw_images/*/*[0-9].jpg")))


def hours_from(begin, end):
    """Return hours of the day that begin and end so many hours from now."""
    texts = [time.strftime("%H:%M", time.gmtime(time.time() + 3600 * hours)) for hours in (begin, end)]
    return f'hours = ["{texts[0]}-{texts[1]}"]', texts[1]


@pytest.mark.parametrize(
    ("hours", "battery_below", "is_held"),
    [
        ((-2, 2), None, True),
        ((-4, -2), None, False),
        ((2, 4), None, False),
        (None, 73, True),
        (None, 72, False),
        ((2, 4), 73, True),
        ((-2, 2), 72, True),
    ],
)
def test_drain_ends_with_75_where_only_a_hold_keeps_a_picture(held, hours, battery_below, is_held):
    rules = hours_from(*hours)[0] if hours else ""
    rules += f"\nbattery_below = {battery_below}" if battery_below else ""
    done = held("drain", rules=rules)
    assert (done.returncode, stored(held)) == ((75, 0) if is_held else (0, 1)), done.stderr
    assert (b"ended with 1 picture left to be sent (held" in done.stderr) == is_held
    # It is over as soon as the rule is.
    assert held("drain", rules="").returncode == 0
    assert stored(held) == 1


def test_drain_with_nothing_left_to_send_ends_well_in_a_hold(held):
    assert held("drain", rules="").returncode == 0
    assert held("drain").returncode == 0


def test_drain_now_sends_in_spite_of_a_hold(held):
    assert held("drain", rules=f"{ALWAYS}\nbattery_below = 80").returncode == 75
    assert held("drain", "--now", rules=f"{ALWAYS}\nbattery_below = 80").returncode == 0
    assert stored(held) == 1


def test_a_drain_whose_time_is_up_does_not_blame_the_time(held):
    assert held("drain", "--deadline", "20").returncode == 75
    assert json.loads(held("list", "--json").stdout)[0]["reason"] is None


def test_a_low_battery_holds_until_it_has_ten_points_more_whatever_was_rebooted(held):
    assert held("drain", rules="battery_below = 80").returncode == 75
    for bat, status in ((85, 75), (89, 75), (90, 0), (85, 0), (79, 75)):
        held.take(bat, f"000000{bat}")
        time.sleep(1)
        assert held("drain", rules="battery_below = 80").returncode == status, bat


def test_retry_sends_one_picture_in_spite_of_a_hold_and_all_with_its_flag(held, make_trap_picture):
    others = [make_trap_picture(held.trap.images) for _ in range(2)]
    assert held("drain").returncode == 75
    assert held("retry", others[0].name).stdout == b"1 picture to be looked at again.\n"
    assert (held("drain").returncode, stored(held)) == (75, 1)
    assert held("retry", "--all").stdout == b"2 pictures to be looked at again.\n"
    assert (held("drain").returncode, stored(held)) == (0, 3)


@pytest.mark.parametrize(("rules", "line"), [(ALWAYS, BY_HOURS), ("battery_below = 80", BY_BATTERY)])
def test_a_hold_is_one_line_everywhere(held, rules, line):
    done = held("drain", rules=rules)
    assert f"INFO {line}\n" in done.stderr.decode()
    shown = held("status", rules=rules).stdout.decode()
    assert shown.startswith(f"H{line[1:]}; 1 picture to be sent.\n")
    assert f" {line}\n" in shown
    assert held("list", rules=rules).stdout.decode().endswith(f"{held.picture.name}  {line}\n")
    assert f" {line}\n" in held("explain", held.picture.name, rules=rules).stdout.decode()
    checked = json.loads(held("check", "--json", rules=rules).stdout)
    assert [(one["level"], one["what"]) for one in checked if one["about"] == "hold"] == [("ok", line)]
    again = held("drain", rules=rules)
    assert f"INFO {line}\n" not in again.stderr.decode()
    after = held("drain", rules="battery_below = 1")
    assert b"INFO the hold is over after " in after.stderr


def test_the_status_for_programs_says_why_since_when_and_until_when(held):
    rules, until = hours_from(-2, 2)
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    held("drain", rules=rules)
    status = json.loads(held("status", "--json", rules=rules).stdout)
    found = status["held"]
    assert found.keys() == {"reason", "since", "until"}
    assert found["reason"] == "nothing is sent in these hours ([hold] hours)"
    assert before <= found["since"] <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert (found["until"][11:], status["trouble"]) == (f"{until}:00Z", [])
    line = held("status", rules=rules).stdout.decode().splitlines()[0]
    assert line == f"Held until {until} UTC: {found['reason']}; 1 picture to be sent."
    assert json.loads(held("status", "--json", rules="").stdout)["held"] is None


def test_what_a_person_asked_for_waits_for_no_hold(held):
    held("drain")
    held("retry", held.picture.name)
    assert BY_HOURS not in held("list").stdout.decode()
    assert BY_HOURS not in held("explain", held.picture.name).stdout.decode()


def test_real_trouble_is_said_before_a_hold(held):
    (held.trap.images / "notes.jpg").write_text("no picture")
    held("drain")
    assert held("status").stdout.startswith(b"Attention: 1 picture needs a look (1 rejected); 1 picture to be sent.\n")


def test_a_hold_of_three_days_is_trouble(held):
    held("drain")
    with held.trap.open() as outbox:
        outbox.queue.record_hold(Hold(HoldCause.HOURS, "why", time.time() - 3 * 86400 - 60, None))
    what = "held for 3 days: nothing is sent in these hours ([hold] hours)"
    assert held("status").stdout.decode().startswith(f"Attention: {what}; 1 picture to be sent.\n")
    (trouble,) = json.loads(held("status", "--json").stdout)["trouble"]
    assert (trouble["what"], "retry --all" in trouble["advice"]) == (what, True)
    done = held("check", "--json")
    (finding,) = [one for one in json.loads(done.stdout) if one["about"] == "hold"]
    assert (done.returncode, finding["level"], finding["what"]) == (1, "problem", what)
    assert held("drain").returncode == 75


def test_without_a_hold_check_says_nothing_of_it(held):
    assert [one for one in json.loads(held("check", "--json", rules="").stdout) if one["about"] == "hold"] == []
    found = json.loads(held("check", "--json", rules="battery_below = 1").stdout)
    assert [one["what"] for one in found if one["about"] == "hold"] == ["nothing is held just now"]
