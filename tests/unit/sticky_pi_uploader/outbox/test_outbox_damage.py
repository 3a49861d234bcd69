"""What is damage of the outbox, wherever it is met; what is mended by a new one is in `test_outbox_rebuilt`."""

import os
import sqlite3
import sys
from contextlib import closing

import pytest
from program import python
from sticky_pi_api.sqlite import connection as sqlite
from sticky_pi_uploader.exceptions import OutboxDamagedError, StateError
from sticky_pi_uploader.models import Destination, DestinationState, Fingerprint, State, Taken
from sticky_pi_uploader.outbox import Outbox, OutboxReader, Seen
from sticky_pi_uploader.outbox.errors import plain_errors
from sticky_pi_uploader.outbox.schema import MIGRATIONS
from tracing import traced

LONGEST_WAIT = 1800.0
HERE = "file:///here"
NAME = "1b74105a.2020-07-05_10-07-16.jpg"
OTHER = "1b74105a.2020-07-05_10-27-16.jpg"

READ_AS_ANYBODY = """
import os, sys
import sqlite_utils
from sticky_pi_uploader.exceptions import OutboxDamagedError
from sticky_pi_uploader.outbox import OutboxReader
# Now: the interpreter's packages may be in a folder that another user can't read.
sqlite_utils.Database(memory=True)
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
try:
    OutboxReader.open_readonly(sys.argv[1]).close()
except OutboxDamagedError as error:
    print(error)
"""

IMPOSSIBLE = [
    "pictures SET state = 'sent'",
    "pictures SET state = x'00'",
    "pictures SET metadata = '{'",
    "pictures SET metadata = x'ff'",
    f"pictures SET metadata = '{'[' * 100_000}'",
    "pictures SET md5 = x'ff', receipt_md5 = x'ff'",
    "pictures SET md5 = replace(md5, 'a', 'b')",
    "pictures SET receipt_md5 = 'b' WHERE state = 'uploaded'",
    "pictures SET device = NULL",
    "pictures SET datetime = x'ff'",
    "pictures SET not_before = 'soon'",
    "pictures SET attempts = 'often'",
    "pictures SET misses = 0.5",
    "pictures SET failed_since = 'x'",
    "pictures SET refused_after = 'x'",
    "pictures SET uploaded_at = 'x'",
    "pictures SET removed_at = 'x'",
    "pictures SET size = 'x'",
    "pictures SET mtime_ns = 0.5",
    "pictures SET file_system = x'ff'",
    "pictures SET present = 2",
    "pictures SET recheck = 'x'",
    "pictures SET name = x'00'",
    "pictures SET name = 'a' || char(0) || 'b.jpg'",
    "pictures SET folder = x'00'",
    "pictures SET reason = x'ff'",
    "history SET state = 'sent'",
    "history SET at = 'x'",
    "history SET why = x'ff'",
    "destinations SET state = 'away'",
    "destinations SET retry_at = 'x'",
    "destinations SET failures = 'x'",
    "destinations SET accepted = 'x'",
    "destinations SET url = x'00'",
    "destinations SET configured = 2",
    "folders SET folder = 'a' || char(0)",
    "folders SET inode = 'x'",
    "folders SET mtime_ns = 0.5",
    "folders SET at = 'x'",
    "tasks SET at = 'x'",
]
"""Each as a flipped bit or two may leave it, or worse"""

MET_BY_NOBODY = {
    "pictures SET md5 = replace(md5, 'a', 'b')",
    "pictures SET receipt_md5 = 'b' WHERE state = 'uploaded'",
    "pictures SET present = 2",
    "pictures SET recheck = 'x'",
    "destinations SET url = x'00'",
    "destinations SET configured = 2",
}
"""Of these, what only a look at the whole file finds, by the rules of the tables: each value could be one alone"""


def taken(path=NAME, md5="a" * 32):
    device, time, _ = os.path.basename(path).split(".")
    stamp = f"{time[:10]}T{time[11:].replace('-', ':')}Z"
    return Taken(path, Fingerprint(1000, 1, 7), "disk", device, stamp, md5, metadata={"temp": 20.5})


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "outbox.db")


@pytest.fixture
def outbox(path):
    """Hold an outbox with one picture that was sent, one that waits, and one that is in conflict with the first."""
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        outbox.destinations.change(HERE, lambda _: True)
        outbox.catalog.record([taken(), taken(OTHER), taken(f"copy/{NAME}", "c" * 32)])
        sent = next(each for each in outbox.queue.claim(2) if each.path == NAME)
        assert outbox.queue.confirm(sent, sent.md5, "stored")
        outbox.folders.note({"copy": Seen(1, 2, 3, 4.0)}, ())
        outbox.recovery.note_done("something")
        outbox.queue.recover()
        yield outbox


def damage(outbox, change):
    outbox.database.connection.execute("PRAGMA ignore_check_constraints = ON")
    outbox.database.connection.execute(f"UPDATE OR IGNORE {change}")
    outbox.database.connection.execute("PRAGMA ignore_check_constraints = OFF")


def every_use(outbox):
    """Yield what the parts of the daemon ask the outbox and tell it, in turn."""
    yield lambda: outbox.destination(HERE)
    yield outbox.queue.recover
    yield lambda: outbox.destinations.change(HERE, lambda _: True)
    yield lambda: outbox.destinations.change("file:///there", lambda _: True)
    for name in (NAME, OTHER, f"copy/{NAME}"):
        folder = os.path.dirname(name)
        yield lambda folder=folder: outbox.catalog.in_folder(folder)
        yield lambda name=name: outbox.catalog.at(name)
        yield lambda name=name: outbox.catalog.twins(taken(name))
        yield lambda name=name: outbox.catalog.record([taken(name, "d" * 32)])
        yield lambda name=name: outbox.catalog.set_present(name, present=False)
        yield lambda name=name: outbox.catalog.set_present(name, present=True)
        yield lambda name=name: outbox.catalog.lose(outbox.at(name))
        yield lambda name=name: outbox.queue.retry(outbox.at(name))
        yield lambda name=name: outbox.history(outbox.at(name))
    yield outbox.catalog.folders_to_check
    yield outbox.folders.in_doubt
    yield outbox.folders.seen
    yield lambda: outbox.recovery.last_done("something")
    yield outbox.queue.end_impossible_waits
    yield outbox.queue.next_due
    yield outbox.queue.reoffer
    yield lambda: [outbox.queue.refuse(each, "no", not_before=0.0) for each in outbox.queue.claim(4)]
    yield lambda: [outbox.queue.release(each) for each in outbox.queue.claim_canary()]
    yield lambda: [outbox.queue.confirm(each, each.md5, "stored", accepted_by=HERE) for each in outbox.queue.claim(4)]
    yield outbox.destinations.forget_refusals
    yield outbox.destinations.lately_failed
    yield lambda: outbox.destination("file:///there")
    yield lambda: outbox.destinations.update(Destination("file:///there", DestinationState.OK))
    yield lambda: outbox.retention.removable(states=[State.UPLOADED], suspect=True, before=None, after=None, most=9)
    yield outbox.retention.date_anew
    yield lambda: outbox.retention.forget(2e10, 9)
    yield outbox.counts
    yield outbox.oldest_pending
    yield outbox.last_upload
    yield lambda: list(outbox.pictures())


@pytest.mark.parametrize("change", IMPOSSIBLE, ids=lambda change: change[:60])
def test_whatever_is_impossible_in_a_row_is_damage_to_all_who_meet_it_and_nothing_else(outbox, change):
    damage(outbox, change)
    noticed = 0
    for use in every_use(outbox):
        try:
            use()
        except OutboxDamagedError as error:
            assert "is damaged: " in str(error)  # noqa: PT017 - that it may be raised is the point
            noticed += 1
        except AttributeError:
            # Nothing was found at the path, and the test itself asked for its state.
            assert outbox.at(NAME) is None or outbox.at(OTHER) is None or outbox.at(f"copy/{NAME}") is None
    assert (noticed > 0) is (change not in MET_BY_NOBODY)


@pytest.mark.parametrize("change", IMPOSSIBLE, ids=lambda change: change[:60])
def test_whatever_is_impossible_in_a_row_is_found_by_a_look_at_the_whole(outbox, path, change):
    damage(outbox, change)
    with OutboxReader.open_beside(path) as reader, pytest.raises(OutboxDamagedError):
        reader.inspect()


@pytest.mark.parametrize("column", ["folder", "name"])
def test_a_path_that_none_can_have_is_damage(outbox, column):
    damage(outbox, f"pictures SET {column} = 'a' || char(0) || 'b' WHERE state = 'pending'")
    with pytest.raises(OutboxDamagedError, match="a path can't be"):
        list(outbox.pictures())


@pytest.mark.parametrize(
    "change", ["device = '1b74105b'", "device = 'x'", "datetime = '2020-07-05T10:07:17Z'", "name = 'a.jpg'"]
)
def test_a_picture_is_never_sent_under_another_key_than_its_names(outbox, change):
    damage(outbox, f"pictures SET {change} WHERE state = 'pending'")
    for claim in (lambda: outbox.queue.claim(4), outbox.queue.claim_canary):
        with pytest.raises(OutboxDamagedError, match="can't be"):
            claim()


def test_a_schema_that_is_no_text_is_damage_to_all_who_open_it(outbox, path):
    outbox.close()
    with open(path, "r+b") as file:
        content = file.read().replace(b"CREATE TABLE pictures (", b"CREATE TABLE x " + b"\xff" * 7 + b"(")
        file.seek(0)
        file.write(content)
    for opened in (lambda: Outbox(path, longest_wait=LONGEST_WAIT), lambda: OutboxReader.open_readonly(path)):
        with pytest.raises(OutboxDamagedError):
            opened()


@pytest.mark.parametrize("version", [0, 1])
def test_a_number_of_steps_that_belies_the_tables_is_damage(outbox, path, version):
    outbox.database.connection.execute(f"PRAGMA user_version = {version}")
    outbox.close()
    with pytest.raises(OutboxDamagedError, match="already exists"):
        Outbox(path, longest_wait=LONGEST_WAIT)


def test_a_row_that_broke_the_rules_before_a_step_is_damage(outbox):
    damage(outbox, "pictures SET receipt_md5 = 'b' WHERE state = 'uploaded'")
    with pytest.raises(OutboxDamagedError, match="CHECK constraint failed in pictures"):
        outbox.retention.mark_removed(outbox.at(NAME), "removed from the card")


def test_a_step_that_breaks_the_rules_of_a_sound_outbox_is_a_bug(outbox):
    (waiting,) = outbox.queue.claim(1)
    with pytest.raises(sqlite3.IntegrityError):
        outbox.queue.confirm(waiting, "b" * 32, "stored")
    assert outbox.database.fault() is None


@pytest.mark.parametrize("index", ["pictures_to_send", "pictures_waiting"])
def test_an_index_that_is_missing_is_damage(outbox, index):
    outbox.database.connection.execute(f"DROP INDEX {index}")
    with pytest.raises(OutboxDamagedError, match="no such index"):
        outbox.queue.next_due()


def test_an_index_that_misses_a_picture_is_a_fault_that_a_look_at_the_whole_file_finds(outbox):
    assert outbox.database.fault() is None
    connection = outbox.database.connection
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'pictures_by_state'").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(outbox.database.path, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\x0a" + bytes(4) + size.to_bytes(2, "big") + b"\x00")  # an index page without entries
    outbox.close()
    with Outbox(outbox.database.path, longest_wait=LONGEST_WAIT) as again:
        assert len(list(again.pictures())) == 3
        assert again.queue.recover() == sum(again.counts().values()) == 0  # as if there were none
        assert "pictures_by_state" in again.database.fault()


READ = """
import sys
from sticky_pi_uploader.outbox import Outbox
with Outbox(sys.argv[1], longest_wait=1800.0) as outbox:
    list(outbox.pictures())
"""


@pytest.mark.parametrize(
    ("failing", "found"),
    [
        ("pread64:error=EIO", "is damaged: the disk can't read it"),
        ("pread64:error=EIO:when=2", "can't be used: disk I/O error"),
    ],
)
def test_what_the_disk_cannot_read_is_damage_unless_it_can_after_all(path, failing, found):
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        outbox.catalog.record([taken(f"{number}/{NAME}", f"{number:032}") for number in range(300)])
    fails = ["-e", f"inject={failing}", "-P", path, "-o", "/dev/null"]
    done = traced(fails, [sys.executable, "-c", READ, path])
    assert found in done.stderr, done


WRITES_FAIL = """
import resource, signal, sys
from sticky_pi_uploader.outbox import open_or_rebuild
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
outbox, aside = open_or_rebuild(sys.argv[1], longest_wait=1800.0)
assert aside is None
outbox.recovery.note_done("something")
"""


@pytest.mark.parametrize("most", [0, 5000, 40_000])
def test_an_outbox_that_can_be_read_and_not_written_is_not_damaged(path, tmp_path, most):
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        outbox.catalog.record([taken(f"{number}/{NAME}", f"{number:032}") for number in range(300)])
    done = python(WRITES_FAIL, path, most)
    assert done.returncode == 0 or "StateError" in done.stderr, done.stderr
    assert "damaged" not in done.stderr
    assert not list(tmp_path.glob("*.damaged-*"))
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        assert (outbox.database.fault(), outbox.counts()[State.PENDING] + outbox.counts()[State.CONFLICT]) == (
            None,
            300,
        )


def test_an_outbox_whose_folder_is_not_there_lacks_no_space(tmp_path):
    path = str(tmp_path / "gone" / "outbox.db")
    for opened in (lambda: Outbox(path, longest_wait=LONGEST_WAIT), lambda: OutboxReader.open_beside(path)):
        with pytest.raises(StateError, match="can't be used: unable to open database file") as caught:
            opened()
        assert type(caught.value) is StateError


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY])
def test_other_trouble_with_the_file_is_no_damage(outbox, code):
    class Failing:
        def execute(self, *_):
            error = sqlite3.OperationalError("something")
            error.sqlite_errorcode = code
            raise error

    outbox.database.connection, sound = Failing(), outbox.database.connection
    with pytest.raises(StateError, match="no space left" if code == sqlite3.SQLITE_FULL else "can't be used") as caught:
        outbox.counts()
    assert not isinstance(caught.value, OutboxDamagedError)
    outbox.database.connection = sound


# --- a mistake of ours is no damage ------------------------------------------------------------------------------

TYPOS = [
    "SELECT sate FROM pictures",
    "SELECT * FROM picturs",
    "SELECT * FROM pictures INDEXED BY pictures_to_sent",
    "SELECT * FROM pictures INDEXED BY pictures_waiting",
    "UPDATE pictures SET sate = 'pending'",
    "CREATE TABLE pictures (id INTEGER)",
    "SELEC 1",
]


@pytest.mark.parametrize("query", TYPOS)
def test_a_query_that_is_wrong_is_a_bug_and_a_sound_outbox_no_damaged_one(outbox, query):
    def ask():
        list(outbox.database.rows(query))

    def write():
        with outbox.database.writing() as connection:
            connection.execute(query)

    for use in (ask, write):
        with pytest.raises(sqlite3.OperationalError):
            use()
    assert outbox.database.fault() is None
    assert sum(outbox.counts().values()) == 3


@pytest.mark.parametrize("query", TYPOS[:4])
def test_a_query_that_is_wrong_is_a_bug_of_who_only_reads_too(outbox, path, query):
    for opened in (OutboxReader.open_readonly, OutboxReader.open_beside):
        with opened(path) as reader, pytest.raises(sqlite3.OperationalError):
            list(reader.database.rows(query))


@pytest.mark.parametrize("steps", range(1, len(MIGRATIONS)))
def test_the_outbox_of_an_earlier_release_is_not_damaged_where_a_query_wants_a_later_one(path, steps):
    with closing(sqlite.connect(path)) as connection:
        sqlite.migrate(connection, MIGRATIONS[:steps])
        with pytest.raises(StateError, match="an earlier release") as caught, plain_errors(path):
            connection.execute("SELECT ctime_ns, nope FROM pictures")
    assert not isinstance(caught.value, OutboxDamagedError)


def rename_in_schema(connection, old, new):
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE sql LIKE ?", (old, new, f"%{old}%"))
    connection.execute("PRAGMA writable_schema = RESET")


@pytest.mark.parametrize(
    ("old", "new", "query"),
    [
        ("not_before", "not_befora", "SELECT not_before FROM pictures"),
        ("recheck", "rechecc", "SELECT recheck FROM pictures"),
        ("WHERE state = 'pending' AND", "WHERE state = 'pendinG' AND", None),
    ],
)
def test_a_name_that_was_flipped_in_the_schema_is_damage(outbox, path, old, new, query):
    rename_in_schema(outbox.database.connection, old, new)
    outbox.close()
    with closing(sqlite.connect(path)) as connection:
        query = query or f"SELECT * FROM pictures INDEXED BY pictures_waiting WHERE {SENDABLE_AND_DUE}"
        with pytest.raises(OutboxDamagedError), plain_errors(path):
            connection.execute(query).fetchall()


SENDABLE_AND_DUE = "state = 'pending' AND not_before IS NOT NULL"


@pytest.mark.parametrize("table", ["pictures", "history", "destinations", "folders", "tasks"])
def test_a_table_that_is_gone_is_damage(outbox, table):
    outbox.database.connection.execute("PRAGMA foreign_keys = OFF")
    outbox.database.connection.execute(f"DROP TABLE {table}")
    with pytest.raises(OutboxDamagedError, match="no such table"):
        list(outbox.database.rows(f"SELECT * FROM {table}"))


def test_a_table_that_is_gone_is_damage_to_those_who_may_only_read(outbox, path, tmp_path):
    outbox.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE pictures")
    # Nobody may enter pytest's own folders, and anybody could make an index beside the outbox in one of its own.
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    tmp_path.chmod(0o555)
    done = python(READ_AS_ANYBODY, path, check=True)
    tmp_path.chmod(0o755)
    assert done.stdout == f"the outbox {path} is damaged: no such table: pictures\n"


def test_text_that_is_none_is_damage_and_a_word_of_damage_in_a_message_is_not(outbox, path):
    class Failing:
        def execute(self, *_):
            error = sqlite3.OperationalError("unable to decode an encrypted, malformed disk image: no such column")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

    outbox.database.connection, sound = Failing(), outbox.database.connection
    with pytest.raises(StateError) as caught:
        outbox.counts()
    assert not isinstance(caught.value, OutboxDamagedError)
    outbox.database.connection = sound
    with pytest.raises(OutboxDamagedError, match="decode"):
        list(outbox.database.rows("SELECT CAST(x'ff' AS TEXT)"))
