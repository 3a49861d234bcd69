"""A machine with the package installed, as its owner and its camera see it."""

import json
import os
from pathlib import Path

NAME = "sticky-pi-uploader"
SERVICE = f"{NAME}.service"
DRAIN = f"{NAME}-drain.service"
TIMER = f"{NAME}-drain.timer"
CONFIGURATION = f"/etc/{NAME}/config.toml"
CREDENTIAL = f"/etc/credstore/{NAME}.api-password"
ENCRYPTED = CREDENTIAL.replace("credstore", "credstore.encrypted")
KEY = "/var/lib/systemd/credential.secret"
IMAGES = "/sticky_pi_data"
STATE = f"{IMAGES}/.{NAME}"
STORE = f"file://{STATE}/store"
EXAMPLES = Path(__file__).resolve().parents[3] / "systemd" / "drop-ins"


class Trap:
    """The machine, its card, and the service on it."""

    def __init__(self, machine, make_picture):
        """Take a machine that has the package; `make_picture` makes one in a folder."""
        self.machine = machine
        self._make_picture = make_picture
        self._configuration = (machine.disk / CONFIGURATION[1:]).read_text(encoding="utf-8")
        self._dropped_in = []
        self._since = -1

    # --- The disk and the card.

    def mount_card(self):
        """Mount the card where the pictures are, as root's."""
        self.machine.run("mkdir", "-p", IMAGES)
        self.machine.run("mount", "--bind", "/srv/card", IMAGES)

    def mount_card_at_boot(self, options=""):
        """Have the card mounted by /etc/fstab."""
        (self.machine.disk / IMAGES[1:]).mkdir(exist_ok=True)
        (self.machine.disk / "etc" / "fstab").write_text(f"/srv/card {IMAGES} none bind{options} 0 0\n")

    def below_the_card(self):
        """Return what lies on the disk where the card is mounted."""
        folder = self.machine.disk / IMAGES[1:]
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def write(self, path, text, mode=0o644):
        """Write a file on the machine's disk."""
        file = self.machine.disk / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)

    def take_picture(self, **more):
        """Have the camera take a picture; returns its name."""
        return self._make_picture(self.machine.card, **more).name

    def on_the_card(self, name):
        """Return where the tests find a picture."""
        return self.machine.card / name

    # --- The service.

    def configure(self, url=STORE, *, keep_days=None, **api):
        """Set what stands below [api] in the configuration, and [retention]; anything else has its default."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in {"url": url, **api}.items()]
        lines += [] if keep_days is None else ["[retention]", f"keep_days = {keep_days}"]
        self.write(CONFIGURATION, "\n".join(["[api]", *lines, ""]))

    def use_server(self, server, **api):
        """Have it send to a reference server, with the password as a credential."""
        self.write(CREDENTIAL, "pollen\n", 0o600)
        self.configure(server.url, username="trap", **api)

    def drop_in(self, text, unit=SERVICE):
        """Change a unit with a drop-in."""
        file = f"/etc/systemd/system/{unit}.d/{len(self._dropped_in)}-test.conf"
        self.write(file, text)
        self._dropped_in.append(file)
        self.systemctl("daemon-reload")

    def drop_in_example(self, name, unit=SERVICE):
        """Change a unit with one of the package's examples."""
        self.drop_in((EXAMPLES / name).read_text(encoding="utf-8"), unit)

    def systemctl(self, *command, check=True):
        """Run systemctl."""
        return self.machine.run("systemctl", *command, check=check)

    def start(self):
        """Start the service; returns once it is ready."""
        self.systemctl("start", SERVICE)

    def show(self, *properties, unit=SERVICE):
        """Return the values of the service's properties; one alone as itself."""
        return self.machine.show(unit, *properties)

    @property
    def pid(self):
        """The id, on the machine, of the service's process; 0 where there is none."""
        return int(self.show("MainPID"))

    def command(self, *arguments, check=True):
        """Run the console command as root."""
        return self.machine.run(NAME, *arguments, check=check)

    def states(self):
        """Map the name of each picture to its state."""
        return {picture["path"].rpartition("/")[2]: picture["state"] for picture in self.list()}

    def list(self):
        """Return what `list --json` prints."""
        return json.loads(self.command("list", "--json").out)

    def wait_for(self, state, *names):
        """Wait until these pictures have reached a state."""
        self.wait_until(lambda: all(self.states().get(name) == state for name in names), f"have {names} {state}")

    def wait_until(self, condition, what="happen"):
        """Wait until `condition()` is true, and return what it gave."""
        return self.machine.wait_until(condition, what)

    def wait_for_message(self, text, **more):
        """Wait until a record with this text stands in the service's journal, and return it."""
        return self.wait_until(lambda: next(iter(self.messages(text, **more)), None), f"say {text!r}")

    def messages(self, text="", unit=SERVICE, **fields):
        """Return the records of the service itself in this boot, with these fields and this text in the message."""
        wanted = (f"{name}={value}" for name, value in fields.items())
        records = self.machine.journal("--boot", f"_SYSTEMD_UNIT={unit}", *wanted)
        return [record for record in records if _when(record) > self._since and text in str(record.get("MESSAGE"))]

    # --- For a test after this one.

    def forget_messages(self):
        """Look at no record any more that is in the journal by now."""
        # journalctl's --after-cursor would leave out the first record that matches, too.
        self._since = _when(self.machine.journal("--boot", "--lines=1")[-1])

    def reset(self):
        """Make it as it was before the test."""
        self.systemctl("stop", TIMER, DRAIN, SERVICE, check=False)
        for file in (*self._dropped_in, CREDENTIAL):
            (self.machine.disk / file[1:]).unlink(missing_ok=True)
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed")
        self.machine.run("umount", IMAGES, check=False)
        self.machine.run("find", "/srv/card", "-mindepth", "1", "-delete")
        self.machine.run("chown", "root:root", "/srv/card")
        self.machine.run("chmod", "755", "/srv/card")
        self.write(CONFIGURATION, self._configuration)


def _when(record):
    return int(record["__MONOTONIC_TIMESTAMP"])
