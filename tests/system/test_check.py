"""`check` on healthy and broken traps, for root and for an ordinary user: no false "well", no false problem."""

import json
import re
from types import SimpleNamespace

import pytest
from containers.trap import CONFIGURATION, CREDENTIAL, DRAIN, ENCRYPTED, IMAGES, KEY, NAME, SERVICE, TIMER

USB = "/mnt/usb"
STORE = f"{USB}/sticky-pi-store"
STORE_URL = f"file://{STORE}"
LETS_IN = f"[Service]\nReadWritePaths=-{USB}\n"
SOMEBODY = ("setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups")
ELSEWHERE = "/srv/state"


@pytest.fixture
def at(trap, start_server, type_in):
    """A trap with a picture on its card that is sent to a store on another disk, and all that a case may break."""
    run = trap.machine.run
    fstab = trap.machine.disk / "etc/fstab"
    before = fstab.read_text() if fstab.exists() else ""
    run("mkdir", "-p", USB, ELSEWHERE)
    at = SimpleNamespace(trap=trap, run=run, fstab=fstab, type_in=type_in)
    at.start_server = lambda: start_server(trap.machine)
    at.mount = lambda: run("mount", "-t", "tmpfs", "-o", "mode=755", "usb", USB)
    at.make_store = lambda owner=NAME: run("install", "-d", "-o", owner, STORE)
    at.picture = trap.take_picture()
    trap.configure(STORE_URL)
    yield at
    run("systemctl", "disable", "--now", TIMER, SERVICE, check=False)
    run("systemctl", "enable", SERVICE, check=False)
    run("umount", USB, check=False)
    run("sh", "-c", f"rm -rf {USB} {ELSEWHERE} /home/store /run/{NAME} /etc/systemd/system/{NAME}*.service.d")
    run("chmod", "644", CONFIGURATION)
    fstab.write_text(before)


def with_store(at):
    at.mount()
    at.make_store()
    at.trap.drop_in(LETS_IN)


def with_server(at, **more):
    at.trap.use_server(at.start_server(), **more)


def with_encrypted_password(at):
    with_server(at)
    at.run("rm", CREDENTIAL)
    at.run("mkdir", "-p", "/etc/credstore.encrypted")
    at.run("sh", "-c", f"printf pollen | systemd-creds encrypt --name=api-password - {ENCRYPTED}")
    at.trap.drop_in_example("encrypted-password.conf")


def with_rounds_only(at):
    at.mount()
    at.make_store()
    at.run("systemctl", "disable", SERVICE)
    at.run("systemctl", "enable", TIMER)
    at.trap.drop_in(LETS_IN, DRAIN)


def with_retention(at):
    with_server(at, keep_days=30)
    at.trap.drop_in_example("retention.conf")


def with_secret_drop_in(at):
    with_store(at)
    at.run("sh", "-c", f"chmod 600 /etc/systemd/system/{SERVICE}.d/*")


def with_line_of_a_later_systemd(at):
    with_store(at)
    at.trap.drop_in("[Service]\nProtectMoon=yes\n")


def after_a_round(at):
    with_store(at)
    at.trap.command("drain")
    assert at.trap.states() == {at.picture: "uploaded"}


HEALTHY = (
    *(with_store, with_server, with_encrypted_password, with_rounds_only, with_retention, with_secret_drop_in),
    *(with_line_of_a_later_systemd, after_a_round),
)


@pytest.mark.parametrize("case", HEALTHY, ids=[make.__name__ for make in HEALTHY])
def test_on_a_healthy_trap_no_problem_is_seen_by_anybody(at, case):
    case(at)
    checked = at.trap.command("check")
    assert checked.out.startswith("All is well")
    assert f"with the credentials and limits of {NAME}" in checked.out
    seen = at.run(*SOMEBODY, NAME, "check", check=False)
    assert (seen.status, "problem" in seen.out) == (0, False), seen.out
    assert_not_all_is_seen(seen)


def assert_not_all_is_seen(seen):
    """See that an ordinary user isn't told that all is well, and gets the command that tells more."""
    assert "All is well" not in seen.out
    assert "-> sudo sticky-pi-uploader check\n" in seen.out


def no_drop_in(at):
    at.mount()
    at.make_store()


def no_disk(at):
    at.trap.drop_in(LETS_IN)


def no_disk_of_fstab(at):
    at.fstab.write_text(f"usb {USB} tmpfs noauto 0 0\n")
    at.make_store()  # below the disk that isn't mounted
    at.trap.drop_in(LETS_IN)


def no_mount_point(at):
    at.run("rmdir", USB)
    at.trap.drop_in(LETS_IN)


def no_folder(at):
    at.mount()
    at.trap.drop_in(LETS_IN)


def roots_store(at):
    at.mount()
    at.make_store("root")
    at.trap.drop_in(LETS_IN)


def read_only_disk(at):
    with_store(at)
    at.run("mount", "-o", "remount,ro", USB)


def picture_of_roots_alone(at):
    with_store(at)
    at.trap.on_the_card(at.picture).chmod(0o600)


def folder_of_roots_alone(at):
    with_store(at)
    folder = at.trap.machine.card / "5c173ff2"
    folder.mkdir()
    folder.chmod(0o700)


def no_right_to_delete(at):
    with_server(at, keep_days=30)


def no_right_to_delete_somebodys(at):
    with_retention(at)
    at.run("chown", "daemon", IMAGES)


def no_password(at):
    with_server(at)
    at.run("rm", CREDENTIAL)


def wrong_password(at):
    with_server(at)
    at.trap.write(CREDENTIAL, "nectar\n", 0o600)


def encrypted_elsewhere(at):
    with_encrypted_password(at)
    at.run("rm", KEY)
    at.run("systemd-creds", "setup")


def no_server(at):
    with_server(at)
    at.trap.configure("http://127.0.0.1:9", username="trap")


def configuration_of_roots_alone(at):
    with_store(at)
    at.run("chmod", "600", CONFIGURATION)


def unknown_key(at):
    with_store(at)
    at.trap.configure(STORE_URL, usrname="trap")


def no_address(at):
    at.trap.configure("")


def no_card(at):
    with_store(at)
    at.run("umount", IMAGES)
    at.fstab.write_text(f"/srv/card {IMAGES} none bind,noauto 0 0\n")


def no_image_folder(at):
    with_store(at)
    at.trap.write(CONFIGURATION, f'image_dir = "/mnt/nowhere"\n[api]\nurl = "{STORE_URL}"\n')


def state_elsewhere(at):
    with_store(at)
    at.run("install", "-d", "-o", NAME, f"{ELSEWHERE}/state")
    at.trap.write(CONFIGURATION, f'state_dir = "{ELSEWHERE}/state"\n[api]\nurl = "{STORE_URL}"\n')


def no_drop_in_of_the_round(at):
    with_store(at)
    at.run("systemctl", "enable", TIMER)


def drop_in_of_the_service_alone(at):
    with_store(at)
    at.run("systemctl", "disable", SERVICE)
    at.run("systemctl", "enable", TIMER)


def no_reload(at):
    with_store(at)
    at.run("systemctl", "start", SERVICE)
    at.trap.write(f"/etc/systemd/system/{SERVICE}.d/later.conf", "[Service]\nEnvironment=A=b\n")


def misspelt_drop_in(at):
    at.mount()
    at.make_store()
    at.trap.drop_in(f"[Service]\nReadWritePath=-{USB}\n")


def drop_in_without_section(at):
    with_store(at)
    at.trap.drop_in("Nice=5\n")


def relative_path_in_drop_in(at):
    at.mount()
    at.make_store()
    at.trap.drop_in("[Service]\nReadWritePaths=mnt/usb\n")


def store_at_home(at):
    at.run("install", "-d", "-o", NAME, "/home/store")
    at.trap.configure("file:///home/store")
    at.trap.drop_in("[Service]\nReadWritePaths=-/home/store\n")


RUN_IT = "run what it says"
BROKEN = {
    no_drop_in: ("destination", "as the drop-in folders.conf is missing", RUN_IT),
    no_disk: ("destination", "is the disk of the store mounted?", "mount it"),
    no_disk_of_fstab: ("destination", f"/etc/fstab has it at {USB}", "mount it"),
    no_mount_point: ("destination", f"{USB} isn't there: is the disk of the store mounted?", "mount it"),
    no_folder: ("destination", f"{STORE} isn't there", RUN_IT),
    roots_store: ("destination", "can't be written by the service", RUN_IT),
    read_only_disk: ("destination", "read-only", "mount it for writing"),
    picture_of_roots_alone: ("pictures", "can't be read by the service", RUN_IT),
    folder_of_roots_alone: ("pictures", f"{IMAGES}/5c173ff2 can't be read by the service", RUN_IT),
    no_right_to_delete: ("retention", "retention.conf is missing", RUN_IT),
    no_right_to_delete_somebodys: ("retention", "retention.conf needs PrivateUsers=no", RUN_IT),
    no_password: ("credentials", "password_file not set", CREDENTIAL),
    wrong_password: ("destination", "doesn't accept the account", "do what it says"),
    encrypted_elsewhere: ("service", "status 243", "journalctl"),
    no_server: ("destination", "127.0.0.1:9", "do what it says"),
    configuration_of_roots_alone: ("configuration", f"{CONFIGURATION} can't be read", RUN_IT),
    unknown_key: ("configuration", "did you mean [api] username?", ""),
    no_address: ("configuration", "[api] url: not set", ""),
    no_card: ("image folder", f"{IMAGES} isn't mounted", RUN_IT),
    no_image_folder: ("image folder", "/mnt/nowhere isn't there", "mount its disk"),
    state_elsewhere: ("state folder", "as the drop-in folders.conf is missing", RUN_IT),
    no_drop_in_of_the_round: ("timer", f"{DRAIN} doesn't have the service's ReadWritePaths:", RUN_IT),
    drop_in_of_the_service_alone: ("destination", f"{DRAIN}'s own drop-in folders.conf is missing", RUN_IT),
    no_reload: ("unit", f"systemd hasn't read the files of {SERVICE} again", RUN_IT),
    misspelt_drop_in: ("destination", "drop-in folders.conf is missing", RUN_IT),
    drop_in_without_section: ("unit", "lines above its first [Service] line", "write [Service] above them"),
    relative_path_in_drop_in: ("destination", "drop-in folders.conf is missing", RUN_IT),
    store_at_home: ("destination", "its sandbox leaves it out", RUN_IT),
}
"""What makes a trap a broken one → what `check` finds as root: about what, the problem, and the advice"""


@pytest.mark.parametrize("case", BROKEN, ids=[spoil.__name__ for spoil in BROKEN])
def test_what_is_broken_is_named_with_its_cause_and_nothing_else_is(at, case):
    about, what, advice = BROKEN[case]
    case(at)
    done = at.trap.command("check", "--json", check=False)
    (found,) = [each for each in json.loads(done.out) if each["level"] == "problem"]
    assert (found["about"], done.status) == (about, 78 if about == "configuration" else 1), done.out
    assert what in found["what"]
    seen = at.run(*SOMEBODY, NAME, "check", check=False)
    assert_not_all_is_seen(seen)
    problems = [line for line in seen.out.splitlines() if line.startswith("  problem")]
    assert not [line for line in problems if found["what"] not in line]
    if advice is not RUN_IT:
        assert advice in (found["advice"] or "")
        return
    at.type_in(re.search(r"(sudo|printf) .*", found["advice"])[0])
    mended = at.trap.command("check", check=False)
    assert mended.out.startswith("All is well"), mended.out
