"""The package as Debian's users know packages: installed, upgraded, removed and purged."""

import pytest
from containers import Trap
from containers.trap import CONFIGURATION, DRAIN, NAME, SERVICE, STATE, STORE, TIMER
from sticky_pi_uploader.journal.events import Kind

COMPLETE = f"""\
. /usr/share/bash-completion/completions/{NAME}
COMP_WORDS=({NAME} dr) COMP_CWORD=1 COMP_LINE="{NAME} dr" COMP_POINT=21
$(complete -p {NAME} | sed 's/.*-F \\([^ ]*\\) .*/\\1/') {NAME} dr {NAME}
echo "${{COMPREPLY[@]}}"
"""


def apt(machine, *command):
    return machine.run("apt-get", "--yes", *command)


def versions(trap):
    """Return the version that is installed, and that of the outbox's tables."""
    ask = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version').fetchone())"
    tables = trap.machine.run("python3", "-c", ask, f"{STATE}/outbox.db").out
    return trap.command("--version").out.split()[-1], int(tables)


@pytest.fixture
def settled(own_trap, start_server):
    """A trap of one's own at work, that has sent two pictures; it has a server, too."""
    own_trap.mount_card_at_boot()
    own_trap.machine.boot()
    server = start_server(own_trap.machine)
    own_trap.use_server(server)
    own_trap.systemctl("restart", SERVICE)
    own_trap.wait_for("uploaded", own_trap.take_picture(), own_trap.take_picture())
    return own_trap, server


def test_it_is_installed_and_waits_until_it_is_told_where_the_pictures_go(bare_machine, package, make_trap_picture):
    apt(bare_machine, "install", package)
    trap = Trap(bare_machine, make_trap_picture)
    trap.mount_card()
    trap.wait_until(lambda: "[api] url: not set" in trap.show("StatusText"), "say what it waits for")
    (waits,) = trap.messages("[api] url: not set", MESSAGE_ID=Kind.WAITING.value)
    assert waits["PRIORITY"] == "4"
    assert CONFIGURATION in waits["MESSAGE"]
    assert trap.show("ActiveState", "UnitFileState") == ("active", "enabled")
    assert trap.show("ActiveState", "UnitFileState", unit=TIMER) == ("inactive", "disabled")
    name = trap.take_picture()
    trap.configure()
    trap.wait_until(lambda: STORE in trap.show("StatusText"), "begin once it is told")
    trap.wait_for("uploaded", name)


def test_its_page_and_its_completion_are_where_they_are_looked_for(running):
    page = running.run("zcat", f"/usr/share/man/man8/{NAME}.8.gz").out
    assert "\n.SH NAME\n" in page
    assert running.run("bash", "-c", COMPLETE).out == "drain\n"


def test_an_upgrade_keeps_configuration_and_state_and_brings_the_outbox_up_to_date(settled, next_package):
    trap, server = settled
    configuration, pid = (trap.machine.disk / CONFIGURATION[1:]).read_text(encoding="utf-8"), trap.pid
    before, (version, tables) = trap.list(), versions(trap)
    apt(trap.machine, "install", next_package.file)
    trap.wait_until(lambda: trap.show("ActiveState") == "active" and trap.pid != pid, "start the new version")
    assert versions(trap) == (next_package.version, tables + 1)
    assert version != next_package.version
    assert (trap.machine.disk / CONFIGURATION[1:]).read_text(encoding="utf-8") == configuration
    assert trap.list() == before
    trap.wait_for("uploaded", trap.take_picture())
    assert len(server.sent_files()) == 3


def test_an_upgrade_leaves_a_disabled_service_disabled_and_a_chosen_timer_on(settled, next_package):
    trap, _ = settled
    trap.systemctl("disable", "--now", SERVICE)
    trap.systemctl("enable", "--now", TIMER)
    apt(trap.machine, "install", next_package.file)
    assert trap.show("ActiveState", "UnitFileState") == ("inactive", "disabled")
    assert trap.show("ActiveState", "UnitFileState", unit=TIMER) == ("active", "enabled")


def test_removed_it_leaves_its_configuration_and_the_state_and_purged_the_state_alone(settled, package):
    trap, server = settled
    pictures = sorted(path.name for path in trap.machine.card.glob("*.jpg"))
    apt(trap.machine, "remove", NAME)
    assert trap.show("LoadState", "ActiveState") == ("not-found", "inactive")
    assert trap.machine.run("sh", "-c", f"command -v {NAME}", check=False).status != 0
    assert (trap.machine.disk / CONFIGURATION[1:]).exists()
    apt(trap.machine, "install", package)
    trap.wait_until(lambda: trap.show("ActiveState") == "active", "start it again")
    trap.wait_for("uploaded", *pictures)
    assert len(server.sent_files()) == len(pictures)
    trap.write(f"/etc/systemd/system/{DRAIN}.d/mine.conf", "[Service]\n")
    apt(trap.machine, "purge", NAME)
    # The password's file among them.
    assert trap.machine.run("find", "/etc", "/usr", "/var/lib/systemd", "-name", f"*{NAME}*").out == ""
    assert sorted(path.name for path in trap.machine.card.glob("*.jpg")) == pictures
    assert (trap.machine.card / f".{NAME}" / "outbox.db").exists()
    # Whose files these are is still to be seen.
    assert trap.machine.run("stat", "--format=%U", STATE).out == f"{NAME}\n"
