"""Sends a card full of pictures to a server, of either generation, over a network that fails at every third request.

The trap wakes for some seconds at a time, as in the field, and runs `drain`. Half of the pictures are held by the
server already, some under the device's name in the other case. Ten of them each are

    conflicts   held with other bytes
    cut short   broken files, each cut at another place
    unwelcome   whole pictures that the server always refuses, without a reason, as usual

A picture is to blame only if the server takes others meanwhile: a new one comes at each wake until all is judged.

A test run does this with some hundred pictures, and the network gets well after some faults: each upload without a
clear end takes 30 s, and there would be some again and again. In the long run it never does:

    STICKY_PI_CHAOS_PICTURES=1000 tests/run -k chaos -s

With `-s` the figures are shown.
"""

import hashlib
import json
import math
import os
import re
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from api_server import ApiServer
from fault_proxy import Fault, FaultProxy, Rule
from padding import padded
from program import Program
from sticky_pi_uploader.demo.pictures import picture_bytes
from sticky_pi_uploader.upload.outcome_policy import SEVERAL

PICTURES = int(os.environ.get("STICKY_PI_CHAOS_PICTURES", "300"))
MOST_FAULTS = math.inf if "STICKY_PI_CHAOS_PICTURES" in os.environ else 70
"""How many there are before the network gets well: each of FAULTS in turn, at least twice"""
SPECIAL = 10
"""Pictures of each of the three bad kinds, where nothing else is said"""

GIVE_UP_AFTER = 2
MOST_TRIES = 10
"""Times that a picture may be sent before it is given up, with refusals that weren't charged"""

AWAKE, LONG_AWAKE = 5, 30
"""Seconds that the trap is awake at a time; with few, the end breaks uploads off on a busy machine"""
MOST_WAKES = 300
DEVICES = ("5c173ff2", "1b74105a", "512858f4", "0a5bb6f4")
BEGINNING = datetime(2022, 5, 17, 18, 34, 50)  # noqa: DTZ001  # UTC, as in the file names
SMALL = (48, 36)
OTHER = picture_bytes("00000000", BEGINNING, size=SMALL)
SIZE = 300_000
"""bytes of those that are sent: more than the system's buffers take, so that a reset comes before the body's end"""
PAGE = "<!doctype html><title>Welcome</title>"

FAULTS = (
    *(Fault("reset", at=at) for at in (0, 1, 150, 400, 700, 50_000, 290_000)),
    *(Fault("reset", "down", at=at) for at in (0, 1, 100, 250)),
    *(Fault("lose_answer") for _ in range(3)),
    Fault("replace", status=502),
    Fault("replace", status=502, forward=True),
    Fault("replace", status=503, headers=(("Retry-After", "1"),)),
    Fault("replace", status=503, headers=(("Retry-After", "2"),), forward=True),
    Fault("replace", status=504, forward=True),
    Fault("replace", status=401, body="Unauthorized Access"),
    Fault("replace", status=200, headers=(("Content-Type", "text/html"),), body=PAGE),
    Fault("replace", status=200, headers=(("Content-Type", "text/html"),), body=PAGE, forward=True),
    Fault("stall", at=400, seconds=0.5),
    Fault("stall", "down", at=50, seconds=0.5),
    Fault("drip", "down", at=100, seconds=0.002),
    Fault("hang_up"),
)
RULES = (Rule(FAULTS, every=3),)


@dataclass
class Card:
    """The pictures on the trap's card, by their file names, and what each is to the server."""

    healthy: dict = field(default_factory=dict)
    held: dict = field(default_factory=dict)
    conflicts: dict = field(default_factory=dict)
    cut_short: dict = field(default_factory=dict)
    unwelcome: dict = field(default_factory=dict)

    @property
    def sendable(self):
        return self.healthy | self.held

    @property
    def files(self):
        return self.sendable | self.conflicts | self.cut_short | self.unwelcome


@dataclass
class Outcome:
    """What there is to look at afterwards."""

    card: Card
    rows: list
    """the server's"""
    objects: dict
    ledger: list
    listed: dict
    """what `list` says of each file"""
    said: str
    """the daemon's standard error"""
    statuses: list
    """of the `drain`s"""
    counts: dict
    """the proxy's, while the network was bad"""
    seconds: float

    @property
    def sent(self):
        return [file for entry in self.ledger for file in entry.files]


def fill(generation, pictures, unwelcome=SPECIAL):
    """Make a card; the kinds are spread evenly over all of it."""
    card = Card()
    numbers = {"conflicts": SPECIAL, "cut_short": SPECIAL, "unwelcome": unwelcome, "held": pictures // 2 - SPECIAL}
    numbers["healthy"] = pictures - sum(numbers.values())
    places = sorted((place / number, kind) for kind, number in numbers.items() for place in range(number))
    for number, (_, kind) in enumerate(places):
        name, blob = picture(number, _trap_of(generation, kind, number))
        if kind == "healthy":
            blob = padded(blob, SIZE, number)
        getattr(card, kind)[name] = blob
    for number, (name, blob) in enumerate(card.cut_short.items()):
        card.cut_short[name] = blob[: len(blob) * number // SPECIAL] if number else blob[:-2]
    return card


def _trap_of(generation, kind, number):
    """Return the generation of the trap that took a picture; a server of 2021 refuses those of 2022."""
    if generation == 2021:
        return 2022 if kind == "unwelcome" else 2020
    return (2020, 2022)[number % 2]


def picture(number, trap_generation=2020):
    device, when = DEVICES[number % len(DEVICES)], BEGINNING + timedelta(hours=number)
    if number % 5 == 0:
        device = device.upper()
    blob = picture_bytes(device, when, generation=trap_generation, size=SMALL)
    return f"{device}.{when:%Y-%m-%d_%H-%M-%S}.jpg", blob


def prepare(card, server, data):
    """Have the server hold what it holds before, and refuse what it refuses."""
    for number, (name, blob) in enumerate((card.held | card.conflicts).items()):
        device, rest = name.split(".", 1)
        known_as = device.swapcase() if number % 3 == 0 else device
        server.hold(f"{known_as}.{rest}", blob if name in card.held else OTHER)
    # A server of 2023 takes everything that is taken in; so it gets a database that doesn't.
    md5s = ", ".join(f"'{md5(blob)}'" for blob in card.unwelcome.values())
    with closing(sqlite3.connect(data / "rows.db")) as database:
        database.execute(
            f"CREATE TRIGGER unwelcome BEFORE INSERT ON images WHEN NEW.md5 IN ({md5s})"
            " BEGIN SELECT RAISE(ABORT, 'unwelcome'); END"
        )


def faults_in(counts):
    return sum(count for name, count in counts.items() if name.startswith("fault_"))


def md5(blob):
    return hashlib.md5(blob, usedforsecurity=False).hexdigest()


class Trap:
    """A trap that wakes, drains, and sleeps."""

    def __init__(self, folder, port, awake):
        self.images = folder / "pictures"
        config = folder / "config.toml"
        config.write_text(
            f"image_dir = '{self.images}'\nstate_dir = '{folder / 'state'}'\n"
            f"[api]\nurl = 'http://127.0.0.1:{port}'\nusername = 'trap'\ngive_up_after = {GIVE_UP_AFTER}\n"
        )
        self._program = Program("--config", config, SPI_API_PASSWORD="pollen")
        self._awake = awake
        self.statuses = []
        self.said = ""

    def wake(self):
        done = self._program.run("drain", "--deadline", self._awake, timeout=120)
        self.statuses.append(done.returncode)
        self.said += done.stderr

    def list(self):
        done = self._program.run("list", "--json", timeout=120)
        return {Path(one["path"]).name: one for one in json.loads(done.stdout)}

    def put(self, files):
        for name, blob in files.items():
            device, when, _ = name.split(".")
            folder = self.images / device / when[:10]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(blob)

    def pending(self):
        return {name for name, one in self.list().items() if one["state"] == "pending"}


def happen(generation, folder, pictures=PICTURES, *, rules=RULES, unwelcome=SPECIAL, awake=AWAKE):
    """Let it all happen, and return what came of it."""
    folder.mkdir()
    card = fill(generation, pictures, unwelcome)
    with ApiServer(folder / "api", generation=generation) as server, FaultProxy(server.port, rules=rules) as proxy:
        prepare(card, server, folder / "api")
        trap = Trap(folder, proxy.port, awake)
        trap.put(card.files)
        begun = time.monotonic()
        counts = None
        trap.wake()
        while trap.statuses[-1] != 0 and len(trap.statuses) < MOST_WAKES:
            if trap.pending() & card.unwelcome.keys():
                arrived = dict([picture(pictures + len(trap.statuses))])
                card.healthy |= arrived
                trap.put(arrived)
            if counts is None and faults_in(proxy.counts()) >= MOST_FAULTS:
                counts = proxy.counts()
                proxy.set(rules=())
            trap.wake()
        seconds = time.monotonic() - begun
        listed, counts, ledger = trap.list(), counts or proxy.counts(), server.requests()
        rows, objects = server.rows(), server.objects()
    return Outcome(card, rows, objects, ledger, listed, trap.said, trap.statuses, counts, seconds)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of it with a server of each generation, both at once."""
    folder = tmp_path_factory.mktemp("chaos")
    with ThreadPoolExecutor(2) as pool:
        running = {generation: pool.submit(happen, generation, folder / f"{generation}") for generation in (2021, 2023)}
    return {generation: one.result() for generation, one in running.items()}


@pytest.fixture(params=[2021, 2023])
def outcome(request, outcomes):
    return outcomes[request.param]


def test_the_trap_gets_everything_settled(outcome, request):
    _print_figures(request.node.name, outcome)
    assert outcome.statuses[-1] == 0
    assert {name: one["state"] for name, one in outcome.listed.items()} == {
        **dict.fromkeys(outcome.card.sendable, "uploaded"),
        **dict.fromkeys(outcome.card.conflicts, "conflict"),
        **dict.fromkeys(outcome.card.cut_short, "rejected"),
        **dict.fromkeys(outcome.card.unwelcome, "rejected"),
    }


def test_every_sendable_picture_is_stored_once_with_its_bytes(outcome):
    stored = Counter((row.key.device.lower(), row.key.datetime) for row in outcome.rows)
    assert set(stored) == {_key(name) for name in outcome.card.sendable | outcome.card.conflicts}
    assert set(stored.values()) == {1}
    rows = {(row.key.device.lower(), row.key.datetime): row for row in outcome.rows}
    for name, blob in outcome.card.sendable.items():
        row = rows[_key(name)]
        assert row.md5 == outcome.listed[name]["receipt_md5"] == md5(blob)
        assert outcome.objects[row.key.object_name] == blob


def test_what_the_server_held_is_neither_sent_nor_overwritten(outcome):
    assert [file.name for file in outcome.sent if file.held] == []
    assert {file.name for file in outcome.sent} & (outcome.card.held | outcome.card.conflicts).keys() == set()
    assert [row for row in outcome.rows if md5(outcome.objects[row.key.object_name]) != row.md5] == []


def test_no_broken_bytes_are_sent(outcome):
    whole = [file for entry in outcome.ledger if entry.whole for file in entry.files]
    assert [file.name for file in whole if not file.decodes] == []
    assert {file.name for file in outcome.sent} & outcome.card.cut_short.keys() == set()
    assert {(file.name, file.md5) for file in whole} == {
        (name, md5(blob)) for name, blob in (outcome.card.healthy | outcome.card.unwelcome).items()
    }


def test_what_is_wrong_with_the_others_is_said(outcome):
    held = {(row.key.device.lower(), row.key.datetime): row.md5 for row in outcome.rows}
    for name in outcome.card.conflicts:
        assert held[_key(name)] in outcome.listed[name]["reason"]
    for name in outcome.card.cut_short:
        assert re.search("empty|cut short|not a JPEG|damaged", outcome.listed[name]["reason"]), outcome.listed[name]
    for name in outcome.card.unwelcome:
        assert "status 500" in outcome.listed[name]["reason"]
        assert outcome.listed[name]["attempts"] == GIVE_UP_AFTER


def test_refusals_are_few(outcome):
    tries = Counter(file.name for file in outcome.sent)
    assert outcome.card.unwelcome.keys() <= tries.keys()
    assert max(tries[name] for name in outcome.card.unwelcome) <= MOST_TRIES
    refused = {file.name for entry in outcome.ledger for file in entry.files if entry.status == 500}
    assert refused == outcome.card.unwelcome.keys()


@pytest.fixture(params=[2021, 2023])
def over_a_good_network(request, tmp_path):
    """Return what lets it happen with a given number of unwelcome pictures."""
    good = {"rules": (), "awake": LONG_AWAKE}
    return lambda unwelcome: happen(request.param, tmp_path / "trap", 120, unwelcome=unwelcome, **good)


def test_over_a_good_network_healthy_pictures_are_sent_once_among_many_bad_ones(over_a_good_network):
    outcome = over_a_good_network(SPECIAL)
    _assert_sent_once(outcome)


def test_over_a_good_network_nothing_waits_for_a_destination_that_refuses_few(over_a_good_network):
    """Of more, several may come in a row, and have it blamed: which come after which is a matter of time."""
    outcome = over_a_good_network(SEVERAL - 1)
    _assert_sent_once(outcome)
    assert "the destination is" not in outcome.said


def _assert_sent_once(outcome):
    assert outcome.statuses[-1] == 0
    sent = Counter(file.name for file in outcome.sent)
    assert sent.keys() == outcome.card.healthy.keys() | outcome.card.unwelcome.keys()
    assert {sent[name] for name in outcome.card.healthy} == {1}
    # How often depends on what comes after them: a refusal counts once another picture was taken since.
    assert all(GIVE_UP_AFTER <= sent[name] <= MOST_TRIES for name in outcome.card.unwelcome)


def test_the_network_was_as_bad_as_it_was_to_be(outcome):
    faults = faults_in(outcome.counts)
    assert faults == outcome.counts["requests"] // 3
    assert faults >= 2 * len(FAULTS)
    kinds = {fault.kind for fault in FAULTS}
    assert {f"fault_{kind}" for kind in kinds} <= outcome.counts.keys()


def test_the_daemon_complains_of_nothing_else(outcome):
    found = re.search(r"^.*(Traceback|ERROR|CRITICAL|[A-Za-z]+Warning:).*(\n.*){0,40}", outcome.said, re.MULTILINE)
    assert found is None, found[0]


def _key(name):
    device, when, _ = name.split(".")
    return device.lower(), when


def _print_figures(name, outcome):
    entries = Counter(entry.path for entry in outcome.ledger)
    uploads = [entry for entry in outcome.ledger if entry.path == "/_put_new_images"]
    print(
        f"\n{name}: {len(outcome.card.files)} pictures, {len(outcome.card.healthy)} to be stored,"
        f" in {outcome.seconds:.0f} s and {len(outcome.statuses)} wakes\n  at the proxy: {dict(outcome.counts)}\n"
        f"  at the server: {dict(entries)}, {sum(not entry.whole for entry in uploads)} uploads broken off,"
        f" {sum(entry.status == 500 for entry in uploads)} refused"
    )
