"""What becomes of a file that is to be removed while others change the folder, and of one whose removal was broken off.

Retention has its own tests; here files, folders and links come in its way.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from mounted import tmpfs
from sent_card import MAKE_REMOVAL, Card, folder_elsewhere, run
from sticky_pi_uploader.intake.scanner import Scanner
from sticky_pi_uploader.models import State
from sticky_pi_uploader.outbox import outbox_path
from sticky_pi_uploader.retention.policy import DAY
from tracing import traced

NOBODY = 65534


@pytest.fixture
def folder():
    """A folder that any user can reach."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def card(folder, make_trap_picture):
    with folder_elsewhere(folder) as elsewhere:
        (elsewhere / "store").mkdir()
        card = Card(folder, elsewhere / "store", make_trap_picture)
        yield card
        card.outbox.close()


@pytest.fixture
def sent(card):
    """A card with two pictures that may go."""
    card.add(0, 1).send()
    card.scan_requests.take()
    card.now += 31 * DAY
    return card


def relative(card, number=0):
    return str(card.path(number).relative_to(card.images))


def hidden(path):
    return path.with_name(f".{path.name}.removing")


def files(card):
    return sorted(path.name for path in card.images.rglob("*") if path.is_file())


# Links, and files that are others


@pytest.mark.parametrize("level", ["date folder", "device folder"])
@pytest.mark.parametrize("when", ["before", "while the destination is asked"])
def test_what_lies_behind_a_link_in_the_place_of_a_folder_stays(sent, folder, level, when):
    replaced = sent.path(0).parent if level == "date folder" else sent.path(0).parent.parent
    precious = folder / "precious"

    def replace():
        os.rename(replaced, precious)
        replaced.symlink_to(precious)

    open_client = sent.open_client
    if when == "before":
        replace()
    else:
        sent.open_client = lambda: (replace(), open_client())[1]
    run(sent.retention())
    assert len(list(precious.rglob("1b74105a.2020-07-05*.jpg"))) == 1
    assert sent.picture(0).removed_at is None
    assert (sent.picture(1).removed_at is None) == (level == "device folder")


def test_what_a_link_in_the_place_of_a_picture_leads_to_stays_and_so_does_the_link(sent, folder):
    precious = folder / sent.path(0).name
    os.rename(sent.path(0), precious)
    sent.path(0).symlink_to(precious)
    run(sent.retention())
    assert precious.exists()
    assert sent.path(0).is_symlink()
    assert sent.picture(0).removed_at is None


def replaced_by_a_copy(path):
    shutil.copy2(path, f"{path}~")
    os.replace(f"{path}~", path)


def written_anew(path):
    path.write_bytes(path.read_bytes())


def spoiled_unseen(path):
    status = path.stat()
    with open(path, "r+b") as file:
        file.seek(status.st_size // 2)
        file.write(b"other bytes")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [replaced_by_a_copy, written_anew, spoiled_unseen])
def test_a_file_that_isnt_as_it_was_recorded_stays_in_its_place_and_is_looked_at(sent, change):
    change(sent.path(0))
    content, inode = sent.path(0).read_bytes(), sent.path(0).stat().st_ino
    run(sent.retention())
    assert files(sent) == [sent.path(0).name]
    assert (sent.path(0).read_bytes(), sent.path(0).stat().st_ino) == (content, inode)
    assert list(sent.scan_requests.take().files) == [relative(sent)]
    sent.scan()
    assert sent.picture(0).state is (State.UPLOADED if change is not spoiled_unseen else State.PENDING)
    run(sent.retention())
    assert sent.left() == ([] if change is not spoiled_unseen else [0])


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_stays_and_holds_nothing_up(sent, kind):
    sent.path(0).unlink()
    os.mkfifo(sent.path(0)) if kind == "pipe" else sent.path(0).mkdir()
    run(sent.retention())
    assert sent.path(0).exists()
    assert not sent.path(1).exists()


def test_a_folder_that_is_exchanged_all_the_time_loses_nothing_that_was_not_sent(card, folder):
    """An attack by a thread: it puts a link to other files, of the same bytes, in the folder's place and takes it."""
    for hour in range(60):
        card.make_picture(card.images / "day", when=card.TAKEN.replace(hour=hour % 24, minute=hour // 24))
    card.send()
    card.now += 31 * DAY
    day, aside, precious = card.images / "day", folder / "aside", folder / "precious"
    shutil.copytree(day, precious)
    names, stop = sorted(os.listdir(precious)), threading.Event()

    def exchange():
        while not stop.is_set():
            os.rename(day, aside)
            day.symlink_to(precious)
            day.unlink()
            os.rename(aside, day)

    attacker = threading.Thread(target=exchange)
    attacker.start()
    try:
        for _ in range(10):
            run(card.retention())
    finally:
        stop.set()
        attacker.join()
    assert sorted(os.listdir(precious)) == names
    # What was marked as gone while the folder was away is there after all.
    card.scan()
    gone = [picture for picture in card.outbox.pictures() if picture.removed_at is not None]
    assert len(gone) + len(os.listdir(day)) == len(names)
    run(card.retention())
    assert os.listdir(day) == []


# Folders that are gone


def asking(card):
    """Have the card count how often the destination is asked."""
    asked, open_client = [], card.open_client
    card.open_client = lambda: (asked.append(1), open_client())[1]
    return asked


@pytest.mark.parametrize("level", ["date folder", "device folder"])
def test_what_is_gone_with_its_folder_is_marked_and_asked_for_once(sent, level):
    folder = sent.path(0).parent
    shutil.rmtree(folder if level == "date folder" else folder.parent)
    asked = asking(sent)
    retention = sent.retention()
    run(retention)
    assert sent.picture(0).removed_at == sent.now
    assert sent.outbox.history(sent.picture(0))[-1].why == "gone from the card"
    assert sent.picture(1).removed_at is not None
    run(retention)
    assert len(asked) == 1


def test_what_lies_on_another_disk_than_is_in_its_place_is_never_taken_for_gone(sent, folder):
    with tmpfs(sent.images):
        run(sent.retention())
    aside = folder / "aside"
    sent.images.rename(aside)
    run(sent.retention())
    assert [sent.picture(number).removed_at for number in (0, 1)] == [None, None]
    aside.rename(sent.images)
    run(sent.retention())
    assert files(sent) == []


def test_what_lies_on_a_disk_that_was_mounted_below_is_never_taken_for_gone(card):
    device = card.images / "1b74105a"
    device.mkdir()
    with tmpfs(device):
        card.add(0).send()
    card.now += 31 * DAY
    assert card.picture(0).state is State.UPLOADED
    run(card.retention())
    device.rmdir()
    run(card.retention())
    assert card.picture(0).removed_at is None


def test_what_lies_in_a_folder_that_cant_be_read_is_not_taken_for_gone(sent, folder, caplog):
    with rights_given_up(sent, folder):
        sent.path(0).parent.parent.chmod(0o300)
        shutil.rmtree(sent.path(0).parent, ignore_errors=True)
        run(sent.retention())
        sent.path(0).parent.parent.chmod(0o755)
    assert sent.picture(0).removed_at is None
    assert "can't be removed: permission denied" in caplog.text


# What was broken off


KINDS = {
    "uploaded": State.UPLOADED,
    "rejected": State.REJECTED,
    "conflict": State.CONFLICT,
    "pending": State.PENDING,
    "no row": None,
    "row marked": State.UPLOADED,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_broken_off_removal_left_gets_its_name_back_at_the_next_scan_and_is_never_lost(card, kind, caplog):
    if kind == "rejected":
        card.add(0)
        card.path(0).write_bytes(bytes(9))
    elif kind == "conflict":
        other = card.make_picture(card.images, when=card.TAKEN, size=(300, 200))
        card.send()
        other.unlink()
        card.add(0)
    else:
        card.add(0)
    {"pending": card.take_in, "no row": lambda: None}.get(kind, card.send)()
    if kind == "row marked":
        card.outbox.retention.mark_removed(card.picture(0), "removed from the card")
    caplog.set_level(logging.INFO)
    before, content = card.path(0).stat(), card.path(0).read_bytes()
    os.rename(card.path(0), hidden(card.path(0)))
    card.scan()
    after = card.path(0).stat()
    assert (after.st_ino, after.st_mtime_ns, card.path(0).read_bytes()) == (before.st_ino, before.st_mtime_ns, content)
    assert not hidden(card.path(0)).exists()
    assert card.picture(0).state is (KINDS[kind] or State.PENDING)
    assert card.picture(0).removed_at is None
    assert caplog.text.count("its removal was broken off: it is in its place again") == 1
    assert "gone from the card" not in caplog.text


def test_a_removal_that_was_broken_off_is_done_at_the_next_pass(sent):
    os.rename(sent.path(0), hidden(sent.path(0)))
    run(sent.retention())
    assert files(sent) == [sent.path(0).name]
    assert sent.picture(0).removed_at is None
    run(sent.retention())
    assert files(sent) == []
    assert [event.why for event in sent.outbox.history(sent.picture(0))].count("removed from the card") == 1


def test_one_that_has_both_names_keeps_the_right_one(sent):
    """As the file system knows no renaming that overwrites nothing: then it takes two steps."""
    os.link(sent.path(0), hidden(sent.path(0)))
    sent.scan()
    assert files(sent) == [sent.path(number).name for number in (0, 1)]
    assert sent.picture(0).state is State.UPLOADED


@pytest.mark.parametrize("who", ["scan", "retention"])
def test_where_another_file_has_the_name_by_now_both_are_kept_and_that_is_said_once(sent, who, caplog):
    path = sent.path(0)
    os.rename(path, hidden(path))
    sent.make_picture(path.parent, when=sent.TAKEN, size=(300, 200))
    contents = path.read_bytes(), hidden(path).read_bytes()
    for _ in range(3):
        sent.scan() if who == "scan" else run(sent.retention())
    assert (path.read_bytes(), hidden(path).read_bytes()) == contents
    if who == "scan":
        assert caplog.text.count("another file has its name by now") == 1
        path.unlink()
        sent.scan()
        assert path.read_bytes() == contents[1]


def test_one_that_comes_back_while_its_name_is_taken_is_kept_beside_it(sent, caplog, monkeypatch):
    """Somebody puts another file in its place between its renaming and the decision."""
    path, unlinked = sent.path(0), os.unlink

    def unlink(name, *, dir_fd=None):
        if os.fspath(name).endswith(f"{path.name}.removing"):
            path.write_bytes(b"another file")
            raise PermissionError(1, "Operation not permitted", name)
        unlinked(name, dir_fd=dir_fd)

    content = path.read_bytes()
    monkeypatch.setattr(os, "unlink", unlink)
    run(sent.retention())
    assert (path.read_bytes(), hidden(path).read_bytes()) == (b"another file", content)
    assert "both are kept" in caplog.text
    assert sent.picture(0).removed_at is None


def test_what_is_being_removed_just_now_is_left_to_who_does_it_and_is_no_loss(card):
    card.add(0)
    card.path(0).write_bytes(bytes(9))
    card.take_in()
    with card.removals.removing([relative(card)]):
        os.rename(card.path(0), hidden(card.path(0)))
        card.scan()
        assert hidden(card.path(0)).exists()
        hidden(card.path(0)).unlink()
        card.scan()
        assert (card.picture(0).state, card.outbox.catalog.at(relative(card)).present) == (State.REJECTED, True)
        card.outbox.retention.mark_removed(card.picture(0), "removed from the card")
    card.scan()
    assert card.picture(0).state is State.REJECTED


def test_a_folder_with_one_that_cant_be_put_back_is_looked_at_again_and_the_picture_no_loss(card, folder, caplog):
    with rights_given_up(card, folder):
        card.add(0).take_in()
        os.rename(card.path(0), hidden(card.path(0)))
        card.path(0).parent.chmod(0o555)
        for _ in range(2):
            card.scan()
        assert card.picture(0).state is State.PENDING
        assert card.scanner.missed == {relative(card)}
        assert caplog.text.count("it stays") == 1
        card.path(0).parent.chmod(0o755)
        card.scan()
        assert card.path(0).exists()
        assert card.scanner.missed == set()


def test_who_only_looks_counts_it_as_being_in_its_place_and_changes_nothing(sent):
    os.rename(sent.path(0), hidden(sent.path(0)))
    looking = Scanner(str(sent.images))
    (candidate,) = looking.candidates(os.path.dirname(relative(sent)))
    assert candidate.path == relative(sent)
    assert not looking.is_gone(relative(sent))
    assert hidden(sent.path(0)).exists()


@pytest.mark.parametrize("name", [".notes.removing", ".removing", "x.jpg.removing", ".x.jpg.removing~"])
def test_other_names_are_left_alone(card, name):
    card.images.joinpath(name).write_bytes(b"somebody's")
    card.scan()
    assert files(card) == [name]


def test_a_hidden_folder_or_link_of_that_name_is_left_alone(card, folder):
    (card.images / ".a.jpg.removing").mkdir()
    (card.images / ".b.jpg.removing").symlink_to(folder)
    card.scan()
    assert sorted(os.listdir(card.images)) == [".a.jpg.removing", ".b.jpg.removing"]


# What the system allows


@pytest.mark.parametrize(("length", "goes"), [(245, True), (246, False), (255, False)])
def test_a_name_that_is_too_long_to_be_renamed_stays_and_that_is_said(card, caplog, length, goes):
    """Only what is rejected can have one."""
    path = card.images / ("x" * (length - 4) + ".jpg")
    path.write_bytes(bytes(9))
    card.scan()
    card.now += 31 * DAY
    retention = card.retention(also_remove=("rejected",))
    for _ in range(2):
        run(retention)
    assert path.exists() != goes
    assert caplog.text.count("File name too long") == (not goes)


REMOVE_ALL = f"""{MAKE_REMOVAL}    try:
        removal.remove(list(outbox.pictures()), enough=lambda: False)
    except OSError as error:
        print(error)
"""


def remove_all(card, *injected):
    """Remove in a process of its own whose calls are tampered with, as strace's `inject` has it."""
    card.outbox.close()
    options = [option for each in injected for option in ("-e", f"inject={each}")]
    names = ",".join(each.partition(":")[0] for each in injected)
    command = [sys.executable, "-c", REMOVE_ALL, outbox_path(str(card.images.parent)), card.images, card.store]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = traced(["-o", os.devnull, "-e", f"trace={names}", *options], command, env=environment)
    card.reopen()
    return done


def test_where_the_file_system_knows_no_such_renaming_two_steps_do_it(sent):
    remove_all(sent, "renameat2:error=EINVAL")
    assert files(sent) == []
    assert sent.picture(0).removed_at is not None


def test_where_it_knows_neither_nothing_goes_and_that_is_said(sent):
    done = remove_all(sent, "renameat2:error=EINVAL", "linkat:error=EPERM")
    assert f"its file system can't rename a file without overwriting another: '{sent.path(0)}'" in done.stdout
    assert files(sent) == [sent.path(number).name for number in (0, 1)]


ONE_STEP = ["renameat2", "unlinkat", "fsync", "pwrite64"]
TWO_STEPS = ["linkat", "unlinkat", "unlinkat:2", "fsync", "pwrite64"]


@pytest.mark.parametrize(
    ("slow", "call"), [(slow, call) for slow, calls in enumerate((ONE_STEP, TWO_STEPS)) for call in calls]
)
def test_a_process_that_is_killed_in_a_removal_leaves_what_the_next_one_understands(sent, slow, call):
    """With the picture that it left, if any, in its place, and none that counts as lost."""
    call, _, nth = call.partition(":")
    done = remove_all(sent, *["renameat2:error=EINVAL"] * slow, f"{call}:signal=KILL:when={nth or 1}")
    assert done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}, done
    sent.scan()
    assert not [name for name in files(sent) if name.endswith(".removing")]
    assert [sent.picture(number).state for number in (0, 1)] == [State.UPLOADED] * 2
    for _ in range(2):
        run(sent.retention())
    assert files(sent) == []
    assert None not in [sent.picture(number).removed_at for number in (0, 1)]


@contextmanager
def rights_given_up(card, folder):
    """Be an ordinary user for a while, to whom all of the trap belongs."""
    if os.geteuid() != 0:
        yield
        return
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", folder, card.store], check=True)
    os.chown(Path(card.store).parent, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_ordinary_user_removes_files_of_others_from_a_folder_that_it_may_write_to(sent, folder):
    if os.geteuid() != 0:
        pytest.skip("needs root, to make files of others")
    for number in (0, 1):
        sent.path(number).parent.chmod(0o777)
    with rights_given_up(sent, folder):
        os.seteuid(0)
        for number in (0, 1):
            os.chown(sent.path(number), 0, 0)
        sent.scan()
        os.seteuid(NOBODY)
        run(sent.retention())
        assert files(sent) == []


def test_a_folder_that_it_may_not_write_to_is_said_and_nothing_changes(sent, folder, caplog):
    with rights_given_up(sent, folder):
        for number in (0, 1):
            sent.path(number).parent.chmod(0o555)
        run(sent.retention())
        for number in (0, 1):
            sent.path(number).parent.chmod(0o755)
    assert files(sent) == [sent.path(number).name for number in (0, 1)]
    assert f"{sent.path(0)} can't be removed: permission denied" in caplog.text
