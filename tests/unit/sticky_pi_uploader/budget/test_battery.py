"""What the battery has: by the newest picture of a real outbox, or by files as the kernel has them."""

import time

import pytest
from sticky_pi_uploader.budget.battery import battery_level
from sticky_pi_uploader.models import Fingerprint, Taken
from sticky_pi_uploader.outbox import Outbox

NOW = 1_700_000_000.0
INTERVAL = 600.0


@pytest.fixture
def outbox(tmp_path):
    outbox = Outbox(str(tmp_path / "outbox.db"), longest_wait=1800, clock=lambda: NOW)
    yield outbox
    outbox.close()


@pytest.fixture
def supplies(tmp_path):
    """A folder like the kernel's, empty at first; call it to add a supply with these files."""

    def add(name, **files):
        (folder / name).mkdir(parents=True)
        for file, text in files.items():
            (folder / name / file).write_text(f"{text}\n", encoding="ascii")

    folder = tmp_path / "power_supply"
    add.folder = str(folder)
    return add


def record(outbox, age, bat, device="5c173ff2", **more):
    """Record a picture that was taken `age` seconds ago."""
    taken = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - age))
    metadata = None if bat == "no metadata" else {} if bat == "no bat" else {"bat": bat}
    number = next(numbers)
    about = {"device": device, "datetime": taken, "md5": f"{number:032x}", "metadata": metadata} | more
    outbox.catalog.record([Taken(f"{device}.{taken}.jpg", Fingerprint(1, 1, number), "disk", **about)])


numbers = iter(range(1, 1_000_000))


def level(outbox, interval=INTERVAL, supplies="/nonexistent"):
    return battery_level(outbox, NOW, interval, supplies)


def test_nothing_known_is_none(outbox):
    assert level(outbox) is None


@pytest.mark.parametrize(
    ("bat", "expected"),
    [(72, 72), (72.5, 72.5), (0, 0), (100, 100), (-1, None), (101, None), ("72", None), (True, None), (None, None)],
)
def test_the_newest_picture_says_it(outbox, bat, expected):
    record(outbox, 900, 50 if expected is not None else "no bat")
    record(outbox, 300, bat)
    assert level(outbox) == expected


@pytest.mark.parametrize("bat", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_unknown(outbox, bat):
    record(outbox, 300, bat)
    assert level(outbox) is None


@pytest.mark.parametrize(("age", "expected"), [(0, 40), (3 * INTERVAL - 1, 40), (3 * INTERVAL, None), (10**8, None)])
def test_a_picture_counts_if_it_is_younger_than_three_intervals(outbox, age, expected):
    record(outbox, age, 40)
    assert level(outbox) == expected


def test_the_interval_is_that_of_the_pictures_device(outbox):
    for number in range(5):
        record(outbox, 2000 + 3600 * number, 40, device="00000001")
        record(outbox, 2500 + 60 * number, 80, device="00000002")
    assert level(outbox, None) == 40
    for number in range(5):
        record(outbox, 200 + 60 * number, 80, device="00000002")
    assert level(outbox, None) is None


def test_an_interval_that_is_not_learnt_yet_is_the_usual_one(outbox):
    record(outbox, 3599, 40)
    assert level(outbox, None) == 40
    record(outbox, 3598, 60, device="00000002")
    assert level(outbox, None) == 60
    record(outbox, 3500, "no bat", device="00000003")
    assert level(outbox, None) is None


def test_a_picture_from_the_future_says_nothing(outbox):
    record(outbox, 300, 40)
    record(outbox, -1, 80)
    assert level(outbox) == 40


def test_a_file_that_is_no_picture_says_nothing(outbox):
    record(outbox, 400, 40)
    record(outbox, 300, "no metadata", rejected="it is cut short")
    assert level(outbox) == 40


def test_the_devices_name_counts_whatever_its_case(outbox):
    record(outbox, 400, 40, device="5C173FF2")
    record(outbox, 300, 60, device="5c173ff2")
    assert level(outbox) == 60


def test_a_damaged_time_says_nothing(outbox):
    record(outbox, 300, 40)
    with outbox.database.writing() as connection:
        connection.execute("UPDATE pictures SET datetime = '2020-99-99T00:00:00Z'")
    assert level(outbox) is None


def test_a_clock_that_is_not_set_knows_no_picture(outbox):
    record(outbox, 300, 40)
    assert battery_level(outbox, 946_684_800.0, INTERVAL, "/nonexistent") is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"status": "Discharging", "capacity": "37"}, 37),
        ({"status": "Charging", "capacity": "37"}, 37),
        ({"status": "Not charging", "capacity": "37"}, 37),
        ({"status": "Full", "capacity": "93"}, 100),
        ({"status": "Unknown", "capacity": "37"}, None),
        ({"capacity": "37"}, 37),
        ({"status": "Discharging", "capacity": "-1"}, None),
        ({"status": "Discharging", "capacity": "many"}, None),
        ({"status": "Discharging", "capacity": ""}, None),
        ({"status": "Discharging"}, None),
        ({"status": "Discharging", "capacity": "37", "scope": "Device"}, None),
        ({"status": "Discharging", "capacity": "37", "scope": "System"}, 37),
    ],
)
def test_otherwise_the_kernel_says_it(outbox, supplies, files, expected):
    supplies("battery", **files)
    supplies("usb", online="1")
    assert level(outbox, supplies=supplies.folder) == expected


def test_the_emptiest_battery_counts(outbox, supplies):
    for name, capacity in (("one", 80), ("two", 20), ("three", 60)):
        supplies(name, status="Discharging", capacity=capacity)
    assert level(outbox, supplies=supplies.folder) == 20


@pytest.mark.parametrize(
    ("age", "bat", "expected"), [(300, 40, 40), (5000, 40, 20), (300, -1, 20), (300, "no bat", 20)]
)
def test_a_fresh_picture_counts_more_than_the_kernel(outbox, supplies, age, bat, expected):
    supplies("battery", status="Discharging", capacity="20")
    record(outbox, age, bat)
    assert level(outbox, supplies=supplies.folder) == expected


def test_looking_costs_no_more_with_many_pictures(outbox):
    for device in ("00000001", "00000002", "00000003"):
        for number in range(300):
            record(outbox, 100 + 60 * number, 50, device=device)
    steps = 0

    def count():
        nonlocal steps
        steps += 1

    outbox.database.connection.set_progress_handler(count, 10)
    try:
        assert level(outbox, None) == 50
    finally:
        outbox.database.connection.set_progress_handler(None, 0)
    assert steps * 10 < 1500
