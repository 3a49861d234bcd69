"""Makes the root file systems of Debian's releases with debootstrap, and keeps them for the next time.

They lie in the folder that STICKY_PI_ROOT_FILE_SYSTEMS names, else in /var/tmp; delete them there to have them anew.
Each is kept under a name that follows from what it is made of, and is never written to again.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

from .needs import ALONE

RELEASES = ("bookworm", "trixie")

LIBRARIES = (
    *("python3", "python3-pil", "python3-piexif", "python3-requests", "python3-systemd", "python3-tenacity"),
    *("python3-watchdog", "sqlite-utils"),
)
"""What the package depends on: it is installed without a network"""

PACKAGES = ("systemd-sysv", "dbus", "faketime", *LIBRARIES)

UNPACKING = "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/locale/*\n"
"""How dpkg unpacks: what a power cut would damage is made again, and nobody reads there"""

MIRROR = "http://deb.debian.org/debian"
"""Debian's own address, for a machine whose apt knows no other"""

PATIENCE = 240
"""Seconds that a slow mirror gets"""


def make_root_file_systems():
    """Return the folder of each release's root file system, after making those that aren't there, side by side."""
    kept = _kept_in()
    folders = {release: kept / f"{release}-{_made_of(release)}" for release in RELEASES}
    with open(kept / "lock", "w", encoding="utf-8") as lock, ExitStack() as running:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = {release: folder for release, folder in folders.items() if not folder.is_dir()}
        making = {release: running.enter_context(_Making(release, folder)) for release, folder in missing.items()}
        for one in making.values():
            one.finish()
    return folders


def _kept_in():
    folder = Path(os.environ.get("STICKY_PI_ROOT_FILE_SYSTEMS") or "/var/tmp/sticky-pi-uploader-tests")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    if folder.is_symlink() or about.st_uid != os.geteuid() or about.st_mode & 0o022:
        raise RuntimeError(f"{folder} is somebody else's, or others may write there: its programs won't be run as root")
    return folder


def _made_of(release):
    return hashlib.sha256(f"{release} {PACKAGES} {UNPACKING}".encode()).hexdigest()[:12]


class _Making:
    """A debootstrap at work; its mounts and processes go when it does, even where it is interrupted."""

    def __init__(self, release, folder):
        self._folder = folder
        self._unfinished = folder.with_name(f"{folder.name}.unfinished")
        self._log = folder.with_name(f"{folder.name}.log")
        shutil.rmtree(self._unfinished, ignore_errors=True)
        configuration = self._unfinished / "etc" / "dpkg" / "dpkg.cfg.d"
        configuration.mkdir(parents=True)
        (configuration / "tests").write_text(UNPACKING, encoding="utf-8")
        self._unfinished.chmod(0o755)
        included = f"--include={','.join(PACKAGES)}"
        make = ["debootstrap", "--variant=minbase", included, release, str(self._unfinished), mirror()]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                # Not as the first process of a namespace, whose signals are special.
                [*ALONE, "sh", "-c", '"$@"; exit "$?"', "sh", *make],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def finish(self):
        if self._process.wait(PATIENCE) != 0:
            raise RuntimeError(f"debootstrap has failed; {self._log} ends with:\n{_end_of(self._log)}")
        # The journal is to survive a reboot.
        (self._unfinished / "var" / "log" / "journal").mkdir(exist_ok=True)
        for installed in (self._unfinished / "var" / "cache" / "apt" / "archives").glob("*.deb"):
            installed.unlink()
        self._unfinished.rename(self._folder)


def _end_of(log):
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


def mirror():
    """Return the address that this machine's apt gets Debian's packages from."""
    if shutil.which("apt-get") is None:
        return MIRROR
    ask = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"]
    said = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
    addresses = [line.split(" ", 2)[2] for line in said.splitlines() if line.startswith("Debian Debian ")]
    return next((address for address in addresses if address.startswith(("http:", "https:"))), MIRROR)
