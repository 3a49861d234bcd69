import ctypes
import os
import sqlite3
import stat
import threading
from datetime import timedelta

import pytest
from api_server import ApiServer
from sending_rig import STARTED, THUMBNAILS, FakeClient, Rig, md5, name
from sticky_pi_api.client import LocalClient, RemoteClient
from sticky_pi_api.exceptions import BrokenOffError, DoubtfulError, RefusedError, StoreError, UnreachableError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.types import Outcome
from sticky_pi_uploader.exceptions import StateError
from sticky_pi_uploader.image_dir.picture_file import fingerprint_of
from sticky_pi_uploader.models import Candidate, DestinationState, State, Taken
from sticky_pi_uploader.outbox import REOFFER_AFTER, Destinations, Queue
from sticky_pi_uploader.scan_requests import ScanRequest
from sticky_pi_uploader.state_dir.thumbnails import Thumbnails
from sticky_pi_uploader.upload import cancel as breakoff
from sticky_pi_uploader.upload.time_budget import MARGIN
from sticky_pi_uploader.upload.uploader import BATCH_SIZE

_IN_OPEN = 0x20

DOWN = (Outcome.UNSENT, UnreachableError("no route"))
REFUSED = (Outcome.REFUSED, RefusedError("status 500"))


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def store(tmp_path):
    """The same with a store as its destination."""
    rig = Rig(tmp_path, url="file:///here")
    yield rig
    rig.close()


# --- what is sent ------------------------------------------------------------------------------------------------


def test_nothing_to_send_opens_no_client_and_waits_for_something_new(rig):
    assert rig.uploader.step() is None
    assert rig.client.opened == 0


def test_a_batch_is_sent_at_once_newest_and_oldest_in_turn_and_then_the_next(rig):
    rig.add(*range(BATCH_SIZE + 2))
    assert [rig.uploader.step(), rig.uploader.step(), rig.uploader.step()] == [0, 0, None]
    first, second = rig.client.calls
    assert first[:4] == [name(BATCH_SIZE + 1), name(0), name(BATCH_SIZE), name(1)]
    assert (len(first), len(second)) == (BATCH_SIZE, 2)
    assert (rig.client.opened, rig.uploader.sent) == (1, BATCH_SIZE + 2)
    assert rig.outbox.counts()[State.UPLOADED] == BATCH_SIZE + 2


def test_the_client_gets_each_picture_as_it_was_parsed(rig):
    rig.add(1)
    rig.uploader.step()
    (picture,) = rig.client.files
    assert isinstance(picture, ImageParser)
    assert dict(picture) == {
        "device": "1b74105a",
        "datetime": STARTED + timedelta(minutes=20),
        "filename": name(1),
        "md5": md5(1),
        "width": 2592,
        "height": 1944,
        "temp": 20.5,
    }
    assert (picture.path, picture.filename) == (str(rig.images / name(1)), name(1))
    assert Thumbnails(picture.thumbnail_jpeg, picture.thumbnail_mini_jpeg) == THUMBNAILS


def test_the_client_is_closed_once(rig):
    rig.uploader.close()
    rig.add(1)
    rig.uploader.step()
    rig.uploader.close()
    rig.uploader.close()
    assert (rig.client.opened, rig.client.closed) == (1, 1)


# --- holds -------------------------------------------------------------------------------------------------------


@pytest.fixture
def holding(rig):
    """The same with a hold, which `rig.hold` begins and ends."""
    rig.hold = True
    rig.uploader = rig.make(is_held=lambda: rig.hold)
    return rig


def test_in_a_hold_nothing_is_sent_and_nobody_is_asked(holding):
    holding.add(1, 2)
    assert (holding.step(), holding.step()) == (None, None)
    assert (holding.client.opened, holding.client.calls) == (0, [])
    assert holding.outbox.counts()[State.PENDING] == 2
    holding.hold = False
    assert (holding.step(), holding.step()) == (0, None)
    assert holding.outbox.counts()[State.UPLOADED] == 2


def test_in_a_hold_the_destination_is_not_looked_at_first_either(holding):
    checked = []
    holding.uploader.check_first(lambda: checked.append(holding.hold))
    holding.step()
    assert checked == []
    holding.hold = False
    holding.step()
    assert checked == [False]


def test_a_hold_that_begins_ends_the_batch_after_the_picture_in_hand(holding):
    holding.add(*range(10))
    holding.hold = False
    outcomes = []

    def begin(picture, result):
        outcomes.append(picture.path)
        holding.hold = len(outcomes) == 3

    holding.uploader.on_outcome = begin
    assert (holding.step(), holding.step()) == (0, None)
    assert (len(outcomes), holding.outbox.counts()[State.UPLOADED], holding.outbox.counts()[State.PENDING]) == (3, 3, 7)


def test_what_a_person_asked_for_is_sent_in_spite_of_a_hold_and_nothing_else(holding):
    holding.add(1, 2, 3)
    holding.outbox.queue.retry(holding.at(2))
    assert (holding.step(), holding.step()) == (0, None)
    assert holding.client.calls == [[name(2)]]
    assert [holding.at(number).state for number in (1, 2, 3)] == [State.PENDING, State.UPLOADED, State.PENDING]
    assert not holding.at(2).urgent


def test_what_a_person_asked_for_is_tried_again_in_spite_of_a_hold(holding):
    holding.add(1, 2, 3)
    holding.outbox.queue.retry(holding.at(2))
    holding.step(DOWN)
    assert holding.try_again(REFUSED) == 0
    holding.try_again()
    assert holding.client.calls == [[name(2)]] * 3
    assert holding.at(2).state is State.UPLOADED


def test_a_refused_picture_that_a_person_asked_for_is_sent_once_it_was_read_again(holding):
    holding.outbox.catalog.record([holding.taken(1, 1)._replace(rejected="it isn't a JPEG")])
    holding.outbox.queue.retry(holding.at(1))
    assert holding.step() is None
    holding.read_again(1, 1)
    assert holding.step() == 0
    assert holding.at(1).state is State.UPLOADED


def test_a_file_that_is_still_no_picture_is_asked_for_no_longer(holding):
    no_picture = holding.taken(1, 1)._replace(rejected="it isn't a JPEG")
    holding.outbox.catalog.record([no_picture])
    holding.outbox.queue.retry(holding.at(1))
    holding.outbox.catalog.record([no_picture])
    assert not holding.at(1).urgent
    holding.read_again(1, 2, version=2)
    assert (holding.step(), holding.at(1).state) == (None, State.PENDING)


# --- when -------------------------------------------------------------------------------------------------------


def test_while_there_is_trouble_one_picture_at_a_time_is_tried_and_then_whole_batches_again(rig):
    rig.add(*range(2 * BATCH_SIZE))
    rig.step(*[DOWN] * BATCH_SIZE)
    for _ in range(3):
        rig.try_again(DOWN)
    assert rig.try_again() == 0
    rig.step()
    assert [len(call) for call in rig.client.calls] == [BATCH_SIZE, 1, 1, 1, 1, BATCH_SIZE]


def test_the_destinations_wait_is_kept(rig):
    rig.add(1)
    rig.step(DOWN)
    assert rig.step() == rig.held_for
    rig.now += rig.held_for
    assert rig.step() == 0
    assert rig.at(1).state is State.UPLOADED


def test_a_pictures_own_wait_counts_where_it_is_longer(rig):
    rig.add(1)
    rig.outbox.queue.postpone(rig.outbox.queue.claim(1)[0], "later", not_before=rig.now + 50)
    assert rig.step() == 50
    rig.add(2)
    rig.step(DOWN)
    assert rig.step() == rig.held_for < 50


def test_the_wait_outlives_the_process_and_can_be_ended(rig):
    rig.add(1)
    rig.step(DOWN)
    rig.reboot()
    assert rig.step() == rig.held_for
    rig.outbox.destinations.end_wait()
    rig.step()
    assert rig.at(1).state is State.UPLOADED


def test_a_batch_ends_once_the_destination_refuses_everything(rig):
    rig.add(*range(10))
    rig.step(*[REFUSED] * 10)
    assert [picture.failed_since for picture in rig.outbox.pictures()].count(None) == 7
    assert rig.outbox.counts()[State.PENDING] == 10


def test_rejected_pictures_are_offered_again_whatever_else_is_waiting(rig):
    rig.add(1, 2)
    first, second = rig.outbox.queue.claim(2)
    rig.outbox.queue.refuse(first, "no", not_before=0, charge=3, last=True)
    rig.outbox.queue.release(second)
    rig.step(DOWN)
    rig.now += REOFFER_AFTER
    rig.step(DOWN)
    assert rig.step() == 0
    assert rig.outbox.counts()[State.REJECTED] == 0


def test_a_try_that_fails_while_the_network_comes_back_is_followed_by_another_at_once(rig):
    class Early:
        """Begins before the network is there."""

        def put_images(self, _files, **_):
            rig.uploader.network_is_back()
            raise UnreachableError("the name isn't known")

        def close(self):
            pass

    clients = [Early(), rig.client]
    rig.uploader.close()
    rig.uploader = rig.make(open_client=lambda: clients.pop(0))
    rig.add(1)
    rig.uploader.step()
    rig.uploader.close()
    assert (rig.destination.failures, rig.uploader.sent) == (1, 0)
    rig.uploader.step()
    assert rig.uploader.sent == 1


class BusyDestinations(Destinations):
    """One that is busy, or whose disk is full, as the network comes back."""

    busy = True

    def end_wait_for_network(self):
        if self.busy:
            raise StateError("database is locked")
        super().end_wait_for_network()


def test_a_network_that_comes_back_while_the_outbox_is_busy_is_no_less_back(rig):
    rig.outbox.destinations = BusyDestinations(rig.outbox.database)
    rig.uploader = rig.make()
    rig.add(1)
    rig.step(DOWN)
    rig.uploader.network_is_back()
    with pytest.raises(StateError, match="locked"):
        rig.uploader.step()
    rig.outbox.destinations.busy = False
    rig.uploader.step()
    assert rig.uploader.sent == 1


# --- the client --------------------------------------------------------------------------------------------------


def test_after_trouble_a_store_is_opened_anew_as_its_disk_may_be_another(store):
    store.add(1)
    store.step(DOWN)
    assert (store.client.opened, store.client.closed) == (1, 1)
    store.try_again()
    assert (store.client.opened, store.at(1).state) == (2, State.UPLOADED)


def test_the_client_of_a_server_stays_open_with_its_connections_and_its_doubts(rig):
    rig.add(1)
    rig.step(DOWN)
    rig.try_again()
    assert (rig.client.opened, rig.client.closed) == (1, 0)


@pytest.mark.parametrize("error", [StoreError("no disk"), UnreachableError("no route"), OSError(5, "I/O error")])
@pytest.mark.parametrize("where", ["open", "put_images"])
def test_a_client_that_cannot_be_opened_or_fails_as_a_whole_holds_the_queue_and_touches_no_picture(rig, where, error):
    rig.add(1, 2)
    before = list(rig.outbox.pictures())

    def fail():
        raise error

    uploader = rig.make(fail if where == "open" else None)
    if where == "put_images":
        rig.answer(error)
    assert uploader.step() == 0
    assert (rig.destination.state, rig.destination.holds_all) == (DestinationState.UNREACHABLE, True)
    assert list(rig.outbox.pictures()) == before
    assert uploader.step() == rig.held_for
    uploader.close()


def test_what_was_sent_before_the_client_failed_stays_sent(rig):
    rig.add(1, 2, 3)
    rig.step(Outcome.STORED, StoreError("no disk"))
    assert (rig.at(3).state, rig.outbox.counts()[State.PENDING]) == (State.UPLOADED, 2)
    assert rig.destination.state is DestinationState.UNREACHABLE


# --- a deadline --------------------------------------------------------------------------------------------------


class SlowToBegin(FakeClient):
    """Logs in for so many seconds, and then takes a picture in one."""

    def __init__(self, rig, seconds):
        super().__init__()
        self._rig, self._seconds = rig, seconds

    def put_images(self, files, *, on_outcome):
        self._rig.now += self._seconds
        self._seconds = 0

        def after_a_second(outcome):
            self._rig.now += 1
            on_outcome(outcome._replace(seconds=1.0))

        return super().put_images(files, on_outcome=after_a_second)


def test_a_slow_login_leaves_the_time_that_is_left_to_the_pictures(rig):
    ends_at = rig.now + 41
    rig.uploader.close()
    rig.uploader = rig.make(SlowToBegin(rig, 20).open, left=lambda: ends_at - rig.now)
    rig.add(*range(40))
    while rig.uploader.step() == 0:
        pass
    assert rig.uploader.sent == 1 + int(20 / MARGIN) + int((20 - int(20 / MARGIN)) / MARGIN)
    assert rig.uploader.is_out_of_time


def test_uploads_in_hand_are_broken_off_at_the_deadline_however_long_a_signal_would_wait_for_them(monkeypatch):
    monkeypatch.setattr(breakoff, "GRACE", 1000.0)
    over = threading.Event()
    with breakoff.cancel_on_stop(over.set, lambda: True, left=lambda: 0.0):
        assert over.wait(60)


# --- breaking off ------------------------------------------------------------------------------------------------


def test_a_stop_between_two_pictures_gives_back_the_rest(rig):
    rig.add(1, 2, 3)
    told = []
    uploader = rig.make(stopping=lambda: told.append(1) or len(told) == 2)
    uploader.step()
    states = [rig.at(number).state for number in (3, 1, 2)]
    assert states == [State.UPLOADED, State.UPLOADED, State.PENDING]
    assert rig.outbox.counts()[State.UPLOADING] == 0
    assert rig.destination.state is DestinationState.OK
    uploader.close()


def broken_off(outcome):
    end = BrokenOffError("the request was broken off")
    return outcome, end if outcome is Outcome.UNSENT else DoubtfulError("not known", end, retry_after=30)


@pytest.mark.parametrize("raised", [False, True])
def test_an_upload_broken_off_for_a_stop_is_nobodys_trouble(rig, caplog, raised):
    rig.add(1, 2)
    before = list(rig.outbox.pictures())
    rig.step(BrokenOffError("closed") if raised else broken_off(Outcome.UNSENT), broken_off(Outcome.UNSENT))
    assert list(rig.outbox.pictures()) == before
    assert (rig.destination.failures, rig.destination.state, caplog.records) == (0, DestinationState.UNKNOWN, [])


def test_an_upload_broken_off_after_its_whole_body_is_asked_for_again_in_half_a_minute(rig, caplog):
    rig.add(1)
    rig.step(broken_off(Outcome.DOUBTFUL))
    assert (rig.at(1).state, rig.own_wait(1), rig.whys(1)) == (State.PENDING, 30, ["taken in"])
    assert (rig.destination.failures, caplog.records) == (0, [])
    assert rig.step() == 30


class FullQueue(Queue):
    """One whose disk is full when it comes to the second receipt."""

    receipts = 0

    def confirm(self, *args, **more):
        self.receipts += 1
        if self.receipts == 2:
            raise StateError("no space left")
        return super().confirm(*args, **more)


def test_when_an_outcome_cannot_be_recorded_nothing_is_lost_and_the_next_step_asks_again(rig, tmp_path):
    rig.exchange_queue(FullQueue)
    rig.add(1, 2, 3)
    uploader = rig.uploader
    with pytest.raises(StateError, match="no space left"):
        uploader.step()
    assert [rig.at(number).state for number in (3, 1, 2)] == [State.UPLOADED, State.UPLOADING, State.UPLOADING]
    rig.answer(Outcome.STORED, (Outcome.HELD, md5(1)))
    uploader.step()
    assert rig.client.calls[1] == [name(2), name(1)]
    assert rig.outbox.counts()[State.UPLOADED] == 3
    assert [event.why for event in rig.outbox.history(rig.at(1))] == [
        "taken in",
        "broken off while it was being sent",
        "held there already, with the md5 that it has here",
    ]
    uploader.close()


class FullAtLast(Queue):
    """One whose disk is full when the pictures that couldn't be sent are given back."""

    full = True

    def put_off(self, *args, **more):
        if self.full:
            raise StateError("no space left")
        return super().put_off(*args, **more)


def test_pictures_that_cannot_be_given_back_are_at_the_next_step(rig):
    rig.exchange_queue(FullAtLast)
    rig.add(1, 2)
    with pytest.raises(StateError, match="no space left"):
        rig.step(DOWN, DOWN)
    assert rig.outbox.counts()[State.UPLOADING] == 2
    rig.outbox.queue.full = False
    rig.step()
    assert rig.outbox.counts()[State.UPLOADED] == 2


@pytest.mark.parametrize("error", [KeyError("a bug"), sqlite3.IntegrityError("a bug"), MemoryError()])
def test_a_bug_of_the_client_is_not_taken_for_an_answer(rig, error):
    rig.add(1, 2)
    rig.answer(Outcome.STORED, error)
    with pytest.raises(type(error)):
        rig.uploader.step()
    assert rig.at(2).state is State.UPLOADED
    rig.uploader.step()
    assert rig.at(1).state is State.UPLOADED


# --- with a real store -------------------------------------------------------------------------------------------


@pytest.fixture
def real(store, tmp_path, make_trap_picture):
    """The same with a real store and real pictures; `real.take_in()` makes one and records it."""
    rig, rig.store = store, tmp_path / "store"

    def take_in(keep=True, folder=""):
        file = make_trap_picture(rig.images / folder)
        parser = ImageParser(str(file))
        if keep:
            thumbnails = Thumbnails(parser.thumbnail_jpeg, parser.thumbnail_mini_jpeg)
            rig.thumbnails.keep(parser["md5"], thumbnails)
        fields = {key: value for key, value in parser.items() if key not in ("device", "datetime", "filename", "md5")}
        candidate = Candidate(os.path.join(folder, file.name), fingerprint_of(file.stat()))
        rig.outbox.catalog.record(
            [
                Taken(
                    *(candidate.path, candidate.fingerprint, "disk"),
                    *(parser["device"], parser["datetime"].isoformat() + "Z", parser["md5"], fields),
                )
            ]
        )
        return file

    rig.take_in = take_in
    rig.uploader = rig.make(lambda: LocalClient(str(rig.store)))
    return rig


def held(real, file, suffix=""):
    return (real.store / "raw_images" / "1b74105a" / f"{file.name}{suffix}").read_bytes()


def test_a_picture_reaches_the_store_byte_for_byte_with_the_thumbnails_that_were_kept(real):
    file = real.take_in()
    real.uploader.step()
    picture = real.outbox.at(file.name)
    assert (picture.state, picture.receipt_md5) == (State.UPLOADED, picture.md5)
    assert held(real, file) == file.read_bytes()
    kept = real.thumbnails.find(picture.md5)
    assert Thumbnails(held(real, file, ".thumbnail"), held(real, file, ".thumbnail_mini")) == kept


def test_thumbnails_that_are_missing_are_made_again_and_kept(real):
    file = real.take_in(keep=False)
    real.uploader.step()
    picture = real.outbox.at(file.name)
    assert picture.state is State.UPLOADED
    assert held(real, file, ".thumbnail_mini") == real.thumbnails.find(picture.md5).mini


@pytest.mark.parametrize(
    "metadata",
    [
        *("NULL", "'{}'", "'[]'", """replace(metadata, 'width', 'vidth')"""),
        *(f"json_set(metadata, '$.{value})" for value in ("width', json('[1]')", "width', NULL", "height', 'x'")),
        *(f"json_set(metadata, '$.{value})" for value in ("but', 7", "temp', 'warm'", "but', 'yes'")),
    ],
)
def test_metadata_that_are_damaged_are_read_again_and_the_picture_stored_with_its_own(real, metadata):
    file = real.take_in()
    real.outbox.database.connection.execute(f"UPDATE pictures SET metadata = {metadata}")
    real.uploader.step()
    assert real.outbox.at(file.name).state is State.UPLOADED
    with LocalClient(str(real.store)) as client:
        (row,) = client.get_images([{"device": "1b74105a", "datetime": file.name[9:28]}])
    parser = ImageParser(str(file))
    assert {**row, "filename": file.name}.items() >= parser.items()
    assert "filename" not in row


def test_thumbnails_that_cannot_be_kept_are_sent_all_the_same(real, tmp_path):
    (tmp_path / "thumbnails").symlink_to("thumbnails")
    file = real.take_in(keep=False)
    real.uploader.step()
    assert real.outbox.at(file.name).state is State.UPLOADED
    assert len(held(real, file, ".thumbnail_mini")) > 0


@pytest.fixture
def was_opened():
    """Have the kernel tell whether a file is opened; to be called with its path first, and with none at the end."""
    libc, notices = ctypes.CDLL(None, use_errno=True), []

    def was_opened(path=None):
        if path is not None:
            notices.append(libc.inotify_init1(os.O_NONBLOCK))
            assert libc.inotify_add_watch(notices[0], os.fsencode(path), _IN_OPEN) > 0
            return None
        try:
            return bool(os.read(notices[0], 4096))
        except BlockingIOError:
            return False

    yield was_opened
    os.close(notices[0])


@pytest.fixture(params=["store", "server"])
def sending(request, real, tmp_path):
    """An uploader to a real store, or to a real server."""
    if request.param == "store":
        yield real.uploader
        return
    with ApiServer(tmp_path / "server") as server:
        account = {"username": "trap", "password": "pollen", "protocol": "http"}
        real.uploader = real.make(lambda: RemoteClient(tmp_path / "client", server.host, port=server.port, **account))
        yield real.uploader
        real.uploader.close()


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("in_place", ["a link", "a link to its folder", "a device", "a pipe"])
def test_a_picture_is_read_from_its_own_place_alone_as_it_is_sent(real, sending, keep, in_place, was_opened):
    file, outside = real.take_in(keep=keep, folder="a"), real.folder / "outside"
    if in_place == "a link to its folder":
        file.parent.rename(outside)
        file.parent.symlink_to(outside)
    else:
        outside.mkdir()
        file.rename(outside / file.name)
    if in_place == "a link":
        file.symlink_to(outside / file.name)
    elif in_place == "a pipe":
        os.mkfifo(file)
    elif in_place == "a device":
        try:
            os.mknod(file, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("making a device needs root")
    was_opened(file)
    sending.step()
    picture = real.outbox.at(f"a/{file.name}")
    assert (picture.state, picture.attempts, picture.misses) == (State.PENDING, 0, 1)
    expected = "a link, not a folder" if in_place == "a link to its folder" else f"{in_place}, not a file"
    assert picture.reason == f"can't be read: it is {expected}"
    assert real.scan_requests.take().folders == {"a"}
    assert not was_opened()


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("change", ["gone", "cut short", "another"])
def test_a_file_that_changed_since_it_was_taken_in_is_read_again_and_not_stored(real, make_trap_picture, keep, change):
    file, other = real.take_in(keep), real.take_in()
    if change == "gone":
        file.unlink()
    elif change == "cut short":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        file.write_bytes(other.read_bytes())
    real.uploader.step()
    assert real.outbox.at(file.name).state is State.PENDING
    gone = change == "gone"
    assert real.scan_requests.take() == (
        ScanRequest(folders=frozenset({""})) if gone else ScanRequest(frozenset({file.name}))
    )
    assert real.outbox.at(other.name).state is State.UPLOADED
    assert [row["datetime"].minute for row in rows(real)] == [27]


def rows(real):
    with LocalClient(str(real.store)) as client:
        return client.get_image_series(
            [{"device": "%", "start_datetime": STARTED, "end_datetime": STARTED + timedelta(days=9)}]
        )


def test_what_the_store_holds_already_is_uploaded_and_another_picture_a_conflict(real, make_trap_picture, tmp_path):
    same, other = real.take_in(), real.take_in()
    elsewhere = make_trap_picture(tmp_path / "elsewhere", when=STARTED + timedelta(minutes=20), seed=5)
    with LocalClient(str(real.store)) as client:
        client.put_images([str(same), str(elsewhere)])
    real.uploader.step()
    assert real.outbox.at(same.name).state is State.UPLOADED
    assert real.outbox.at(other.name).state is State.CONFLICT
    assert held(real, other) == elsewhere.read_bytes()


def test_a_store_whose_folder_is_replaced_while_it_is_held_is_used_as_it_is_then(real):
    first = real.take_in()
    real.uploader.step()
    real.uploader.close()
    os.rename(real.store, f"{real.store}.unplugged")
    real.store.write_bytes(b"no folder")
    second = real.take_in()
    real.uploader.step()
    assert real.destination.state is DestinationState.UNREACHABLE
    real.store.unlink()
    os.rename(f"{real.store}.unplugged", real.store)
    real.try_again()
    assert real.outbox.at(second.name).state is State.UPLOADED
    assert len(rows(real)) == len([first, second])
