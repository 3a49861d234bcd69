"""Cuts the power again and again, and prints the figures as JSON: `cuts`, `wrong` (how often, by kind), `examples`…"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from api_server import ApiServer

from . import SUPPORT
from .camera import Camera
from .disk import Disk
from .service import PATIENCE, Service, flags_of

AT_ONCE = 2
"""Copies that are judged at the same time"""
ROUND = 25
"""Cuts of one disk; the next has a new one"""
EVERY_SERVER = 5
"""Of so many rounds one sends to a server instead of a store"""
EXAMPLES = 20
OFTEN = {"camera": 60, "wait": 25, "cut": 9, "restart": 1.2, "kill": 0.8, "write back": 4}
"""How often what happens, against the rest; retention works after each start"""
SETTLED = {"camera": 20, "wait": 25, "cut": 20}
"""The same with nothing that would write the disk's journal, and with it the names that nobody flushed"""


@dataclass(frozen=True, slots=True)
class Scene:
    """One disk and all that has to do with it; `server` is None where there is a store."""

    folder: Path
    disk: Disk
    service: Service
    camera: Camera
    flags: list
    server: ApiServer | None


class Attack:
    """Rounds of cuts, and what they showed."""

    def __init__(self, options):
        """Attack as the command line says."""
        self._options = options
        self._judges = []
        self.figures = Counter()
        self.wrong = Counter()
        self.examples = []

    @property
    def is_over(self):
        """Whether a first loss was all that was wanted, and came."""
        return self._options.until_loss and bool(self.wrong)

    def round(self, number, cuts):
        """Use up one disk."""
        options = self._options
        random = Random(options.seed + number)
        folder = Path(options.folder, f"round{number}")
        folder.mkdir()
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder)
            stack.callback(self._await_judges, 0)
            disk = Disk(folder, commit=60 if options.settled else random.choice((1, 5, 5)))
            stack.callback(disk.close)
            server = None
            if number % EVERY_SERVER == EVERY_SERVER - 1 or options.server or options.settled:
                server = stack.enter_context(ApiServer(folder / "api"))
            flags, environment = flags_of(folder, disk.mount, server), self._environment()
            service = Service(flags, folder / "log", environment)
            stack.callback(service.end, signal.SIGKILL)
            camera = Camera(disk.mount, flushes=options.camera_flushes)
            scene = Scene(folder, disk, service, camera, flags, server)
            if options.settled:
                _settle(scene, options.settled)
            _live(random, scene, lambda: self._cut(scene), cuts, SETTLED if options.settled else OFTEN)
            self.figures.update({"rounds": 1, "pictures": len(camera.finished)})
            self.figures.update({what: len(names) for what, names in service.said().items()})

    def _environment(self):
        """Return the service's environment: the judges' programs flush all."""
        if not self._options.without:
            return dict(os.environ)
        path = f"{SUPPORT}/without_flushes{os.pathsep}{os.environ['PYTHONPATH']}"
        return os.environ | {"PYTHONPATH": path, "STICKY_PI_WITHOUT": self._options.without}

    def _cut(self, scene):
        """Copy the disk, and have the copy judged; returns whether to go on."""
        self.figures["cuts"] += 1
        folder, service = scene.folder, scene.service
        case = folder / f"cut{self.figures['cuts']}"
        case.mkdir()
        sent = {name: _md5(blob) for name, blob in scene.camera.finished.items()}
        service.hold()
        said = service.said()  # what is recorded by now
        scene.disk.copy(case / "disk")
        service.wait_until_still()
        if scene.server is None:
            _copy_store(folder / "store", case / "store")
        known = {"card": f"{scene.disk.mount}", "store": f"{folder}/store", "flags": scene.flags, "sent": sent}
        known |= {"said": {what: sorted(names) for what, names in said.items()}}
        known |= {"server": scene.server and f"{folder}/api"}
        (case / "case").write_text(json.dumps(known), "ascii")
        self._await_judges(AT_ONCE - 1)
        command = ["unshare", "--mount", "--propagation=private", sys.executable, "-m", "power_cuts.judge"]
        if self._options.settled:
            scene.server.set_mode()
        judge = subprocess.Popen([*command, case / "case"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._judges.append((judge, case))
        if scene.server is not None:
            # There is but one server, so one of the two waits.
            self._await_judges(0)
        if self._options.settled:
            scene.server.set_mode("down")
        service.go_on()
        return not self.is_over

    def _await_judges(self, most):
        while len(self._judges) > most:
            judge, case = self._judges.pop(0)
            said, errors = judge.communicate()
            wrong = json.loads(said) if judge.returncode == 0 else [["judge", errors[-2000:]]]
            self.wrong.update(kind for kind, _ in wrong)
            self.figures["cuts_with_loss"] += bool(wrong)
            self.examples += [f"{case.parent.name}/{case.name}: {kind}: {what}" for kind, what in wrong]
            shutil.rmtree(case)


def _settle(scene, pictures):
    """Let the service take in and send so many pictures; from then on the server is away, so that others stay here."""
    service, camera = scene.service, scene.camera
    while len(camera.finished) < pictures:
        camera.step()
    deadline = time.monotonic() + PATIENCE
    while len(service.said()["uploaded"]) < pictures:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all of {pictures} pictures are sent: {service.said()}")
        time.sleep(0.1)
    scene.server.set_mode("down")


def _live(random, scene, cut, cuts, often):
    """Let things happen in any order, each as often as it is to, until the power was cut often enough."""
    while cuts > 0:
        match random.choices(list(often), often.values())[0]:
            case "camera":
                scene.camera.step()
            case "wait":
                time.sleep(random.choice((0.001, 0.01, 0.05, 0.2)))
            case "cut":
                cuts = cuts - 1 if cut() else 0
            case "restart":
                scene.service.end(signal.SIGTERM)
                scene.service.start()
            case "kill":
                scene.service.end(signal.SIGKILL)
                scene.service.start()
            case "write back":
                _write_back(random, scene.disk)


def _write_back(random, disk):
    """Write some file of the disk to it, as the kernel does whenever it likes, in no order."""
    files = [path for path in disk.mount.rglob("*") if path.is_file()]
    if files:
        try:
            with random.choice(sorted(files)).open("rb") as file:
                os.fdatasync(file.fileno())
        except FileNotFoundError:
            pass


def _copy_store(store, copy):
    """Copy a store: what is in its database, and, as files there are never changed, links to them."""

    def copy_one(source, target):
        copying = shutil.copyfile if os.path.basename(source).startswith("database.db") else os.link
        return copying(source, target)

    shutil.copytree(store, copy, copy_function=copy_one)


def _md5(blob):
    return hashlib.md5(blob).hexdigest()


def _parse():
    parser = argparse.ArgumentParser(prog="power_cuts", description=__doc__)
    parser.add_argument("folder", help="an empty folder to work in; a tmpfs is mounted on it")
    parser.add_argument("--cuts", type=int, default=ROUND, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="what the moments follow from, the machine's own aside")
    parser.add_argument("--server", action="store_true", help="send to a server in every round")
    parser.add_argument("--without", default="", help="flushes to leave out: picture, folder, row, with commas")
    parser.add_argument("--camera-flushes", action="store_true", help="the camera flushes a picture's bytes itself")
    parser.add_argument("--until-loss", action="store_true", help="end with the first cut that shows something wrong")
    parser.add_argument(
        "--settled",
        type=int,
        default=0,
        help="pictures that are sent first; after some 300 the outbox's log doesn't grow, so that its flushes"
        " write nothing else; then nothing is restarted, and the server is away but for the judges",
    )
    return parser.parse_args()


def main():
    """Cut, judge, and print the figures."""
    options = _parse()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", options.folder], check=True)
    attack, began = Attack(options), time.monotonic()
    for number in range(-(-options.cuts // ROUND)):
        attack.round(number, min(ROUND, options.cuts - number * ROUND))
        if attack.is_over:
            break
        print(f"{attack.figures['cuts']} cuts, {dict(attack.wrong)}", file=sys.stderr, flush=True)
    seconds = round(time.monotonic() - began, 1)
    figures = {**attack.figures, "seconds": seconds, "wrong": attack.wrong, "examples": attack.examples[:EXAMPLES]}
    print(json.dumps(figures, indent=1))


main()
