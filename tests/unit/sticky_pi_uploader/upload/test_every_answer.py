"""Whatever a destination gives to every picture, none is given up, and all are sent once it is mended."""

import itertools
import os
import re

import pytest
from api_server import ApiServer
from sending_rig import FakeClient, Rig, name
from sticky_pi_api import exceptions
from sticky_pi_api.client import LocalClient, RemoteClient
from sticky_pi_api.exceptions import (
    DoubtfulError,
    ImageError,
    RefusedError,
    RequestTooLargeError,
    StickyPiError,
    StoreError,
    UnreachableError,
)
from sticky_pi_api.transport.cancellation import Timeouts
from sticky_pi_api.types import Outcome
from sticky_pi_uploader import config as config_module
from sticky_pi_uploader.demo import pictures
from sticky_pi_uploader.image_dir.picture_file import fingerprint_of
from sticky_pi_uploader.intake.read_picture import PictureReader
from sticky_pi_uploader.models import Candidate, Destination, DestinationState, Fingerprint, State
from sticky_pi_uploader.service.drain import drain
from sticky_pi_uploader.upload.backoff import LONGEST_WAIT

UPLOAD = "/_put_new_images"
QUICK = Timeouts(connect=2.0, read=0.15, whole=2.0, again=0.05)
ROUNDS = 5
COUNT = 4
LEFT = os.EX_TEMPFAIL
STATUSES = [
    *(102, 103, 201, 202, 204, 206, 226),
    *(300, 301, 302, 303, 304, 307, 308),
    *range(400, 418),
    *(418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 440, 444, 449, 451, 494, 495, 496, 497, 498, 499),
    *range(500, 512),
    *(520, 521, 522, 523, 524, 525, 526, 527, 529, 530, 561, 598, 599, 600, 999),
]
"""What web servers, their fronts, proxies and networks are known to answer with, but for 100 and 101"""


class ServedRig(Rig):
    """A rig whose pictures are real files of growing size, and whose client is a server's, or a store's."""

    def __init__(self, folder, open_client, url="https://api.example.org"):
        super().__init__(folder, FakeClient(), url=url)
        self._open_served = open_client
        self.uploader = self.make()

    def make(self, open_client=None, **more):
        opener = open_client or (lambda: self._open_served(self))
        return super().make(opener, **({"give_up_after": 1} | more))

    def taken(self, number, content=None, version=1):  # noqa: ARG002  # as in a rig
        path = self.images / name(number)
        blob = pictures.picture_bytes("1b74105a", _when(number), size=(64, 48))
        path.write_bytes(with_more(blob, 1000 * number))
        candidate = Candidate(path.name, fingerprint_of(path.stat()))
        taken = PictureReader(str(self.images), self.thumbnails, lambda: self.now).read(candidate, "disk").taken
        assert taken.rejected is None
        return taken

    def go_on(self):
        """Let every wait pass, and send until there is something to wait for."""
        self.now += LONGEST_WAIT
        for _ in range(100):
            if self.uploader.step() != 0:
                return
        raise AssertionError("it never waits")


def _when(number):
    from datetime import datetime

    return datetime.strptime(name(number).split(".")[1], "%Y-%m-%d_%H-%M-%S")  # noqa: DTZ007


def with_more(blob, count):
    """Give a JPEG with so many bytes more, in a comment."""
    if not count:
        return blob
    return blob[:2] + b"\xff\xfe" + (count - 2).to_bytes(2, "big") + bytes(count - 4) + blob[2:]


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    with ApiServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(standing):
    standing.reset()
    return standing


@pytest.fixture
def served(tmp_path, server):
    """A rig that sends to the server."""

    def open_client(rig):
        account = {"username": "trap", "password": "pollen", "protocol": "http"}
        more = {"timeouts": QUICK, "clock": lambda: rig.now}
        return RemoteClient(tmp_path / "client", server.host, port=server.port, **account, **more)

    rig = ServedRig(tmp_path, open_client)
    yield rig
    rig.close()


def is_given_up_by_none(rig, count):
    assert rig.outbox.counts() == dict.fromkeys(State, 0) | {State.PENDING: count}
    assert {(picture.attempts, picture.state) for picture in rig.outbox.pictures()} == {(0, State.PENDING)}
    assert rig.destination.state not in (DestinationState.OK, DestinationState.UNKNOWN)
    assert rig.destination.reason
    assert rig.destination.failures > 0


def goes_on_as_it_should(rig, count=COUNT, rounds=ROUNDS):
    """Try it again and again, with a restart now and then."""
    for number in range(rounds):
        rig.go_on()
        is_given_up_by_none(rig, count)
        if number % 2:
            rig.reboot()


def sends_everything(rig, count=COUNT):
    for _ in range(4):
        rig.go_on()
    assert rig.outbox.counts() == dict.fromkeys(State, 0) | {State.UPLOADED: count}
    assert rig.destination.state is DestinationState.OK


# --- a server's answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "paths"),
    [*((status, (UPLOAD,)) for status in STATUSES), *((status, ()) for status in (204, 301, 400, 413, 451, 500, 503))],
)
def test_a_status_that_every_picture_gets_empties_no_queue(served, server, status, paths):
    served.add(*range(COUNT))
    server.set_mode("status", status=status, paths=paths)
    goes_on_as_it_should(served)
    server.set_mode()
    sends_everything(served)
    assert len(server.rows()) == COUNT


@pytest.mark.parametrize("reset", [False, True], ids=["lingers", "resets"])
@pytest.mark.parametrize("status", [401, 403, 413, 500, 503, 507])
def test_a_status_that_comes_before_the_body_is_read_empties_no_queue(served, server, status, reset):
    served.add(*range(COUNT))
    server.set_mode("status", status=status, paths=(UPLOAD,), early=True, reset=reset)
    goes_on_as_it_should(served)
    server.set_mode()
    sends_everything(served)


@pytest.mark.parametrize(
    ("mode", "details"),
    [
        ("down", {}),
        ("unauthorised", {}),
        ("refuse_uploads", {}),
        ("not_an_api", {}),
        ("redirect", {}),
        ("maintenance", {"retry_after": "60"}),
        *(("wrong_json", {"json": json}) for json in (None, 1, "x", [], {}, [1], [None], [{}], [[]])),
    ],
)
@pytest.mark.parametrize("paths", [(UPLOAD,), ()], ids=["uploads", "everything"])
def test_an_answer_that_makes_no_sense_empties_no_queue(served, server, mode, details, paths):
    served.add(*range(COUNT))
    server.set_mode(mode, paths=paths, **details)
    goes_on_as_it_should(served)
    server.set_mode()
    sends_everything(served)


@pytest.mark.parametrize("status", [400, 413, 429, 500, 503])
def test_what_every_upload_gets_empties_no_queue_where_some_pictures_are_held_already(served, server, status):
    served.add(*range(COUNT + 2))
    for number in (1, 3):
        server.hold(name(number), (served.images / name(number)).read_bytes())
    server.set_mode("status", status=status, paths=(UPLOAD,))
    for number in range(3 * COUNT):
        served.go_on()
        assert served.outbox.counts()[State.REJECTED] == 0
        if number % 2:
            served.reboot()
    assert served.outbox.counts() == dict.fromkeys(State, 0) | {State.PENDING: COUNT, State.UPLOADED: 2}
    assert served.destination.state is not DestinationState.OK
    server.set_mode()
    sends_everything(served, COUNT + 2)


# --- a front that takes only small requests ----------------------------------------------------------------------


@pytest.mark.parametrize("early", [False, True])
def test_a_front_that_takes_no_picture_at_all_is_named_with_what_to_see_to(served, server, early):
    served.add(3)
    server.set_mode("status", status=413, paths=(UPLOAD,), early=early)
    served.go_on()
    assert served.destination.state is DestinationState.REFUSING
    size = (served.images / name(3)).stat().st_size
    says = re.search(r"accepts no request of (\d+) kB: check nginx's client_max_body_size$", served.destination.reason)
    assert size < 1000 * int(says[1]) < size + 2000
    assert served.at(3).reason == served.destination.reason


def test_where_smaller_pictures_pass_they_all_go_and_the_large_ones_wait_at_the_queues_pace(served, server):
    served.add(*range(60))
    limit = (served.images / name(30)).stat().st_size
    server.set_mode("status", status=413, paths=(UPLOAD,), above=limit + 1000)
    served.go_on()
    counts = served.outbox.counts()
    assert counts[State.UPLOADED] == 31
    assert (counts[State.PENDING], served.destination.state) == (29, DestinationState.REFUSING)
    for number in range(100, 130):
        before = refused(server)
        served.outbox.catalog.record([small(served, number)])
        served.go_on()
        assert served.at(number).state is State.UPLOADED
        assert refused(server) - before <= 4
        assert served.destination.state is DestinationState.REFUSING
    large = served.outbox.pictures([State.PENDING])
    assert {(picture.attempts, picture.refused_after) for picture in large} == {(0, None)}
    server.set_mode()
    for _ in range(3):
        served.go_on()
    assert served.outbox.counts() == dict.fromkeys(State, 0) | {State.UPLOADED: 90}
    assert served.destination.state is DestinationState.OK


def small(rig, number):
    """Have a picture taken in that is smaller than those before."""
    path = rig.images / name(number)
    path.write_bytes(pictures.picture_bytes("1b74105a", _when(number), size=(64, 48)))
    candidate = Candidate(path.name, fingerprint_of(path.stat()))
    return PictureReader(str(rig.images), rig.thumbnails, lambda: rig.now).read(candidate, "disk").taken


def refused(server):
    return sum(entry.status == 413 for entry in server.requests(UPLOAD))


def test_a_limit_that_comes_down_to_nothing_is_searched_for_once(served, server):
    served.add(*range(60))
    server.set_mode("status", status=413, paths=(UPLOAD,))
    served.go_on()
    tried = refused(server)
    assert tried <= 30
    for rounds in range(1, 6):
        served.reboot()
        served.go_on()
        assert refused(server) - tried <= rounds * 8
    is_given_up_by_none(served, 60)


@pytest.mark.parametrize("count", [1, 2])
def test_a_destination_that_has_only_ever_refused_is_not_said_to_be_fine(rig, count):
    rig.add(*range(count))
    rig.step(*[(Outcome.UNSENT, UnreachableError("no route"))] * count)
    for _ in range(2):
        rig.try_again(*[REFUSED] * count)
        assert rig.destination.state is not DestinationState.OK
        rig.reboot()
    rig.try_again()
    rig.try_again()
    assert rig.destination.state is DestinationState.OK


# --- clashes -----------------------------------------------------------------------------------------------------

OTHER = "f" * 32


def clash(md5=OTHER):
    return Outcome.CONFLICT, md5


def test_a_destination_that_holds_another_picture_under_each_key_is_in_trouble_and_most_pictures_wait(rig):
    rig.add(*range(9))
    for number in range(8):
        rig.try_again(*[clash()] * 9)
        if number % 2:
            rig.reboot()
    assert rig.outbox.counts() == dict.fromkeys(State, 0) | {State.CONFLICT: 2, State.PENDING: 7}
    assert rig.destination.state is DestinationState.REFUSING
    assert (
        rig.destination.reason
        == f"it says that it holds another picture in the place of each of the last (md5 {OTHER})"
    )
    rig.try_again()
    rig.try_again()
    assert rig.outbox.counts() == dict.fromkeys(State, 0) | {State.CONFLICT: 2, State.UPLOADED: 7}
    assert rig.destination.state is DestinationState.OK


@pytest.mark.parametrize("between", [Outcome.STORED, Outcome.HELD])
def test_clashes_between_pictures_that_are_there_as_they_are_here_are_conflicts(rig, between):
    rig.add(*range(8))
    rig.step(*[clash(), clash(), between, clash(), clash(), between, clash(), clash()])
    assert rig.outbox.counts() == dict.fromkeys(State, 0) | {State.CONFLICT: 6, State.UPLOADED: 2}


def test_what_clashed_with_others_is_a_conflict_if_it_still_does_once_another_one_was_taken(rig):
    rig.add(*range(3))
    rig.step(*[clash()] * 3)
    (waiting,) = rig.outbox.pictures([State.PENDING])
    rig.take()
    rig.try_again(clash())
    assert rig.outbox.at(waiting.path).state is State.CONFLICT


def test_bytes_that_were_changed_on_the_way_are_no_fault_of_the_pictures(rig):
    rig.add(*range(5))
    for _ in range(5):
        rig.try_again(*[(Outcome.DOUBTFUL, OTHER)] * 5)
    for number in range(5):
        rig.try_again(*[clash()] * 5)
        if number % 2:
            rig.reboot()
    assert rig.outbox.counts() == dict.fromkeys(State, 0) | {State.PENDING: 5}
    assert rig.destination.state is DestinationState.REFUSING
    assert rig.destination.reason == f"it says that it holds other bytes than it was sent (md5 {OTHER})"
    rig.take()
    for _ in range(5):
        rig.try_again(*[clash()] * 5)
    assert rig.outbox.counts() == dict.fromkeys(State, 0) | {State.CONFLICT: 5, State.UPLOADED: 1}


@pytest.mark.parametrize("md5", ["", "x" * 32, "0" * 31, "0" * 33])
def test_rows_whose_md5_is_none_are_no_answer(served, server, md5):
    served.add(*range(COUNT))
    when = f"{_when(0):%Y-%m-%d_%H-%M-%S}"
    server.set_mode("wrong_json", paths=("/get_images",), json=[{"device": "1b74105a", "datetime": when, "md5": md5}])
    goes_on_as_it_should(served)
    assert served.destination.reason.endswith("with an md5 that isn't 32 hexadecimal digits")
    server.set_mode()
    sends_everything(served)


TOO_LARGE = (
    Outcome.UNSENT,
    RequestTooLargeError("the web server in front of the API accepts no request of 1 kB", 1000),
)
REFUSED = (Outcome.REFUSED, RefusedError("status 500"))


def add(rig, size, *numbers):
    """Have pictures of so many bytes taken in."""
    rig.outbox.catalog.record([rig.taken(one, one)._replace(fingerprint=Fingerprint(size, 1, 1)) for one in numbers])


def test_a_small_picture_that_the_server_behind_a_limit_refuses_is_judged_as_ever(rig):
    rig.uploader = rig.make(give_up_after=3)
    add(rig, 100, 1)
    rig.step(TOO_LARGE)
    add(rig, 10, 2)
    for number, attempts in zip((10, 11, 12), (0, 2, 3), strict=True):
        rig.try_again(REFUSED)
        assert (rig.at(2).attempts, rig.destination.state) == (attempts, DestinationState.REFUSING)
        add(rig, 10, number)
        rig.step()
        assert rig.at(number).state is State.UPLOADED
    assert (rig.at(2).state, rig.at(1).state, rig.at(1).attempts) == (State.REJECTED, State.PENDING, 0)


@pytest.mark.parametrize("end", [(Outcome.UNSENT, UnreachableError("no route")), REFUSED])
def test_other_trouble_than_with_a_limit_holds_the_small_ones_as_well(rig, end):
    add(rig, 100, 1)
    rig.step(TOO_LARGE)
    add(rig, 10, 2, 3, 4, 5)
    rig.step(*[end] * 4)
    rig.step(*[end] * 4)
    assert rig.destination.holds_all
    calls = len(rig.client.calls)
    assert 0 < rig.step() == rig.held_for
    assert len(rig.client.calls) == calls


def test_a_large_picture_that_is_taken_ends_the_limit(rig):
    add(rig, 100, 1, 2, 3)
    rig.step(*[TOO_LARGE] * 3)
    add(rig, 10, 4)
    rig.step()
    assert (rig.destination.state, rig.step()) == (DestinationState.REFUSING, rig.held_for)
    rig.try_again(Outcome.STORED)
    assert rig.destination == Destination(rig.url, DestinationState.OK)
    rig.step()
    assert rig.outbox.counts()[State.UPLOADED] == 4


def test_after_a_restart_no_small_picture_waits_for_the_large_ones(rig):
    add(rig, 100, *range(10))
    rig.step(*[TOO_LARGE] * 10)
    add(rig, 10, 20)
    rig.step()
    rig.reboot()
    add(rig, 10, 21)
    rig.step()
    assert rig.at(21).state is State.UPLOADED


def test_a_limit_is_said_once_an_hour_however_many_small_pictures_pass(rig, caplog):
    add(rig, 100, *range(20))
    rig.step(*[TOO_LARGE] * 20)
    for number in range(30, 60):
        add(rig, 10, number)
        rig.now += 100
        while rig.step(*[] if rig.outbox.queue.next_due(smaller_than=99) == 0 else [TOO_LARGE] * 20) == 0:
            pass
        assert rig.at(number).state is State.UPLOADED
    said = [message for message in caplog.messages if "refusing" in message]
    assert 1 <= len(said) <= 3
    assert not [message for message in caplog.messages if "works again" in message]


# --- whatever a client may tell ----------------------------------------------------------------------------------


def kinds_of(error):
    return [error, *itertools.chain.from_iterable(map(kinds_of, error.__subclasses__()))]


def make(kind):
    """Make an error of a kind as the client does."""
    if issubclass(kind, DoubtfulError):
        return kind("no answer", UnreachableError("no route"), retry_after=30.0)
    if issubclass(kind, RequestTooLargeError):
        return kind("the web server in front of the API accepts no request of 1 kB", 1000)
    return kind("something")


REMOTE = [make(kind) for kind in kinds_of(exceptions.RemoteError) if kind is not exceptions.BrokenOffError]
STORE = [StoreError("the disk fails"), StoreError("permission denied", whole_store=False)]
ANSWERS = [
    *itertools.product((Outcome.UNSENT, Outcome.REFUSED, Outcome.DOUBTFUL), (*REMOTE, *STORE, None)),
    (Outcome.STORED, "f" * 32),
    (Outcome.STORED, "no row"),
    *REMOTE,
    *STORE,
    OSError(28, "No space left on device"),
]
"""What may be told of every picture, or, errors alone, raised; the picture's own faults and conflicts apart"""


def test_every_error_of_a_destination_is_among_these():
    known = {type(error) for error in (*REMOTE, *STORE)} | {exceptions.BrokenOffError}
    blameless = (ImageError, exceptions.ConflictError, exceptions.BundleError, exceptions.PutImagesError)
    others = {kind for kind in kinds_of(StickyPiError) if not issubclass(kind, blameless)} - {StickyPiError}
    assert {kind for kind in others if kind.__module__.startswith("sticky_pi_api")} == known


def name_of(answer):
    parts = answer if isinstance(answer, tuple) else (answer,)
    return "-".join(type(part).__name__ if isinstance(part, Exception) else str(part) for part in parts)


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    rig.uploader = rig.make(give_up_after=1)
    yield rig
    rig.close()


@pytest.mark.parametrize("took_before", [False, True])
@pytest.mark.parametrize("answer", ANSWERS, ids=name_of)
def test_an_outcome_that_every_picture_gets_empties_no_queue(rig, answer, took_before):
    if took_before:
        rig.take()
    rig.add(*range(25))
    for number in range(10):
        rig.now += LONGEST_WAIT
        for _ in range(50):
            if rig.step(*[answer] * 25) != 0:
                break
        counts = rig.outbox.counts()
        assert (counts[State.PENDING], counts[State.UPLOADED]) == (25, int(took_before))
        assert {picture.attempts for picture in rig.outbox.pictures()} == {0}
        assert rig.destination.state not in (DestinationState.OK, DestinationState.UNKNOWN)
        if number % 3 == 2:
            rig.reboot(give_up_after=1)
    rig.answer()
    for _ in range(3):
        rig.now += LONGEST_WAIT
        while rig.uploader.step() == 0:
            pass
    assert rig.outbox.counts()[State.UPLOADED] == 25 + took_before
    assert rig.destination.state is DestinationState.OK


# --- a store -----------------------------------------------------------------------------------------------------


def file_in_the_way(store):
    store.write_bytes(b"")
    return store.unlink


def no_folder_above(store):
    store.parent.rmdir()
    return store.parent.mkdir


def damaged_database(store):
    store.mkdir()
    (store / "database.db").write_bytes(b"\xa5" * 8192)
    return (store / "database.db").unlink


def file_for_the_devices_folder(store):
    (store / "raw_images").mkdir(parents=True)
    (store / "raw_images" / "1b74105a").write_bytes(b"")
    return (store / "raw_images" / "1b74105a").unlink


@pytest.mark.parametrize(
    "harm",
    [file_in_the_way, no_folder_above, damaged_database, file_for_the_devices_folder],
    ids=lambda one: one.__name__,
)
def test_a_store_that_takes_no_picture_empties_no_queue(tmp_path, harm):
    store = tmp_path / "usb" / "store"
    store.parent.mkdir()

    def open_store(_):
        if not store.parent.is_dir():
            raise StoreError("it isn't mounted")
        return LocalClient(str(store))

    rig = ServedRig(tmp_path, open_store, url=store.as_uri())
    mend = harm(store)
    rig.add(*range(COUNT))
    goes_on_as_it_should(rig)
    mend()
    sends_everything(rig)
    rig.close()


# --- as people see it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 429, 451])
def test_drain_says_that_something_is_left_and_sends_it_once_the_server_is_mended(
    tmp_path, server, make_trap_picture, status
):
    (tmp_path / "images").mkdir()
    for _ in range(4):
        make_trap_picture(tmp_path / "images")
    (tmp_path / "password").write_text("pollen")
    (tmp_path / "password").chmod(0o600)
    flags = {"image_dir": tmp_path / "images", "state_dir": tmp_path / "state", "api.url": server.url}
    flags |= {"api.username": "trap", "api.password_file": tmp_path / "password"}
    config = config_module.load(
        {key: str(value) for key, value in flags.items()}, {}, default_file="/nonexistent", check_secrets=True
    )
    server.set_mode("status", status=status, paths=(UPLOAD,))
    for _ in range(3):
        assert drain(config, deadline=1.0) == LEFT
    server.set_mode()
    assert drain(config) == os.EX_OK
    assert len(server.rows()) == 4
