"""A machine with the package installed, as its owner and its camera see it."""

import json
import os

NAME = "sticky-pi-uploader"
SERVICE = f"{NAME}.service"
DRAIN = f"{NAME}-drain.service"
TIMER = f"{NAME}-drain.timer"
CONFIGURATION = f"/etc/{NAME}/config.toml"
CREDENTIAL = f"/etc/credstore/{NAME}.api-password"
IMAGES = "/sticky_pi_data"
STORE = f"file://{IMAGES}/.{NAME}/store"


class Trap:
    """The machine, its card, and the service on it."""

    def __init__(self, machine, make_picture):
        """Take a machine that has the package; `make_picture` makes one in a folder."""
        self.machine = machine
        self._make_picture = make_picture
        self._configuration = (machine.disk / CONFIGURATION[1:]).read_text(encoding="utf-8")
        self._dropped_in = []
        self._since = ()

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

    # --- The service.

    def configure(self, url=STORE, **api):
        """Set what stands below [api] in the configuration; anything else has its default."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in {"url": url, **api}.items()]
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

    def messages(self, text="", unit=SERVICE):
        """Return the records of the service itself in this boot whose message has this text in it."""
        records = self.machine.journal("--boot", f"_SYSTEMD_UNIT={unit}", *self._since)
        return [record for record in records if text in str(record.get("MESSAGE"))]

    # --- For a test after this one.

    def forget_messages(self):
        """Look at no record any more that is in the journal by now."""
        said = self.machine.run("journalctl", "--lines=0", "--show-cursor", "--no-pager").out
        self._since = (f"--after-cursor={said.strip().rpartition('-- cursor: ')[2]}",)

    def reset(self):
        """Make it as it was before the test."""
        self.systemctl("stop", TIMER, DRAIN, SERVICE, check=False)
        for file in (*self._dropped_in, CREDENTIAL):
            (self.machine.disk / file[1:]).unlink(missing_ok=True)
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed")
        self.machine.run("umount", IMAGES, check=False)
        self.machine.run("find", "/srv/card", "-mindepth", "1", "-delete")
        self.write(CONFIGURATION, self._configuration)
