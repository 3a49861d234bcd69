"""What the service can't do, whatever it is made to: tried in its place, with the very unit that it runs under."""

import json

import pytest
from containers.trap import DRAIN, IMAGES, NAME, SERVICE, STATE
from sticky_pi_uploader.journal.events import Kind

PROBE = """\
import json, os, stat, sys

def may(path, flags):
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError:
        return False
    return True

found = {"folders": [], "files": [], "read": [path for path in sys.argv[2:] if may(path, os.O_RDONLY)]}
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders.remove("proc")
    new = os.path.join(folder, "sticky-pi-probe")
    if may(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL):
        os.unlink(new)
        found["folders"].append(folder)
    paths = [os.path.join(folder, name) for name in files]
    found["files"] += [path for path in paths if stat.S_ISREG(os.lstat(path).st_mode) and may(path, os.O_WRONLY)]
found["status"] = dict(line.rstrip().split(":\\t", 1) for line in open("/proc/self/status"))
found["processes"] = [name for name in os.listdir("/proc") if name.isdecimal() and name != str(os.getpid())]
with open(sys.argv[1], "w") as out:
    json.dump(found, out)
"""

IN_ITS_PLACE = f"""\
[Service]
Type=oneshot
Restart=no
TimeoutStartSec=80
ExecStart=
ExecStart=python3 /opt/probe {STATE}/probe.json %s
"""


OWN = {"/tmp", "/var/tmp"}
"""What the service has for itself, and nobody else sees"""

RUNTIME = f"/run/{NAME}"
"""Where the service says what keeps it from its work"""


def probe(trap, unit=SERVICE, *paths):
    """Try in a service's place to write everywhere, and to read these paths; return what could be done."""
    trap.write("/opt/probe", PROBE)
    trap.drop_in(IN_ITS_PLACE % " ".join(paths), unit)
    trap.configure()
    trap.systemctl("start", unit)
    return json.loads(trap.on_the_card(".sticky-pi-uploader/probe.json").read_text(encoding="utf-8"))


def outside(folder, paths):
    return {path for path in paths if path != folder and not path.startswith(f"{folder}/")}


@pytest.mark.parametrize("unit", [SERVICE, DRAIN], ids=["service", "drain"])
def test_it_can_write_to_nothing_but_its_state_and_has_no_rights(trap, unit):
    picture = trap.take_picture()
    found = probe(trap, unit, f"{IMAGES}/{picture}")
    assert outside(STATE, found["folders"]) == OWN | ({RUNTIME} if unit == SERVICE else set())
    assert outside(RUNTIME, outside(STATE, found["files"])) - found_in_its_group(unit, found) == set()
    assert found["read"] == [f"{IMAGES}/{picture}"]
    assert found["processes"] == []
    status = found["status"]
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def found_in_its_group(unit, found):
    """Return the files of the service's own control group: it may ask there to be told when memory is short."""
    return {path for path in found["files"] if path.startswith(f"/sys/fs/cgroup/system.slice/{unit}/")}


def test_with_the_right_to_delete_pictures_it_can_write_to_nothing_but_the_image_folder(trap):
    trap.drop_in_example("retention.conf")
    found = probe(trap)
    assert outside(IMAGES, found["folders"]) == OWN | {RUNTIME}
    assert outside(RUNTIME, outside(IMAGES, found["files"])) - found_in_its_group(SERVICE, found) == set()
    assert found["status"]["CapEff"] == found["status"]["CapBnd"] == f"{1 << 1:016x}"  # CAP_DAC_OVERRIDE


@pytest.fixture
def homes(trap):
    """Paths of files in people's homes that everybody may read."""
    paths = ["/home/somebody/notes", "/root/notes"]
    for path in paths:
        trap.write(path, "private")
        (trap.machine.disk / path[1:]).parent.chmod(0o755)
    yield paths
    trap.machine.run("rm", "-r", "/home/somebody", "/root/notes")
    trap.machine.run("chmod", "700", "/root")


def test_it_cant_read_what_others_have_at_home_even_where_everybody_may(trap, homes):
    # It is the sandbox that keeps it from that.
    as_its_user = ("setpriv", f"--reuid={NAME}", f"--regid={NAME}", "--clear-groups")
    assert trap.machine.run(*as_its_user, "cat", *homes).out == "privateprivate"
    assert probe(trap, SERVICE, *homes)["read"] == []
    trap.drop_in_example("retention.conf")
    assert probe(trap, SERVICE, *homes)["read"] == []


@pytest.mark.parametrize("unit", [SERVICE, DRAIN], ids=["service", "drain"])
def test_systemd_scores_it_as_1_5_or_better_with_the_right_to_delete_pictures_too(trap, unit):
    score = ("systemd-analyze", "security", "--no-pager", "--threshold=15", unit)
    without = trap.machine.run(*score).out
    trap.drop_in_example("retention.conf", unit)
    assert trap.machine.run(*score).out != without


def test_it_removes_roots_pictures_with_the_drop_in_for_that_and_says_what_is_missing_without(trap, server):
    trap.use_server(server, keep_days=0)
    trap.start()
    name = trap.take_picture()
    trap.wait_for("uploaded", name)
    trap.systemctl("restart", SERVICE)
    trap.wait_for_message("can't be removed: permission denied", MESSAGE_ID=Kind.NOT_REMOVED.value)
    assert trap.on_the_card(name).exists()
    trap.wait_until(lambda: "no picture is removed: " in trap.show("StatusText"), "say so in its status")
    first, *_ = trap.command("status").out.splitlines()
    assert first.startswith(f"Attention: no picture is removed: {IMAGES}/{name} can't be removed: permission denied")
    trap.drop_in_example("retention.conf")
    trap.systemctl("restart", SERVICE)
    trap.wait_until(lambda: not trap.on_the_card(name).exists(), "remove the picture")
    trap.wait_until(lambda: trap.list()[0]["removed_at"], "note that it is removed")
    assert trap.states() == {name: "uploaded"}
