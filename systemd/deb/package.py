"""Puts the Debian package together: which file comes from where, with which mode."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

import completion
import manual

NAME: Final = "sticky-pi-uploader"
MODULES: Final = "usr/lib/python3/dist-packages"
DOC: Final = f"usr/share/doc/{NAME}"
MAINTAINER: Final = f"The {NAME} maintainers <maintainers@{NAME}.invalid>"

DEBIAN_NAMES: Final = {"pillow": "python3-pil", "sqlite-utils": "sqlite-utils"}
"""Python package → Debian package, where that isn't python3-<name>."""

COMMAND: Final = """\
#!/usr/bin/python3 -I
import sys

from sticky_pi_uploader.__main__ import start

sys.exit(start())
"""


DESCRIPTION: Final = """\
gets every picture of a Sticky Pi insect trap off its card
 It watches the folder into which the camera of a Sticky Pi trap writes, checks
 each picture, remembers it in a small database on the card, and sends it, as
 often as it takes, to the project's server or to a store on another disk.
 .
 The service waits until /etc/sticky-pi-uploader/config.toml says where the
 pictures go. For a trap that wakes for a minute only, there is a timer instead.\
"""


@dataclass(frozen=True, slots=True)
class File:
    """One file of the package."""

    path: str
    """from the root, without the slash at its start"""
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class About:
    """What the package says of itself."""

    project: dict[str, Any]
    """the table [project] of pyproject.toml"""
    time: int
    """Unix time of everything in it"""

    @property
    def version(self) -> str:
        """The version, the same as Python's package has."""
        return str(self.project["version"])


def build(source: Path, folder: Path) -> Path:
    """Build the package of the clone at `source` into `folder`, and return its path."""
    about = _about(source)
    files = list(_files(source, about))
    folder.mkdir(parents=True, exist_ok=True)
    package = folder / f"{NAME}_{about.version}_all.deb"
    with tempfile.TemporaryDirectory() as staging:
        for file in files + list(_control(source, about, files)):
            _write(Path(staging), file)
        _set_times_and_modes(Path(staging), about.time)
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", staging, str(package)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(about.time)}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return package


def _time(source: Path) -> int:
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(epoch)
    command = ["git", "-C", str(source), "log", "-1", "--format=%ct"]
    try:
        return int(subprocess.run(command, capture_output=True, check=True).stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):  # an unpacked archive, say
        return int((source / "pyproject.toml").stat().st_mtime)


def _files(source: Path, about: About) -> Iterator[File]:
    """Yield what is installed."""
    daemon, units = source / "daemon", source / "systemd"
    for path in [*daemon.rglob("*.py"), *daemon.rglob("py.typed")]:
        yield File(f"{MODULES}/{path.relative_to(daemon)}", path.read_bytes())
    yield from _distribution(about)
    yield File(f"usr/bin/{NAME}", COMMAND.encode(), 0o755)
    for path in _units(units):
        yield File(f"usr/lib/systemd/system/{path.name}", path.read_bytes())
    yield File(f"usr/lib/sysusers.d/{NAME}.conf", (units / f"{NAME}.sysusers").read_bytes())
    for path in units.glob("*.catalog"):
        yield File(f"usr/lib/systemd/catalog/{path.name}", path.read_bytes())
    # No conffile: dpkg would stop each upgrade to ask about a configuration that its owner has changed.
    yield File(f"usr/share/{NAME}/config.toml", _configuration(source))
    yield File(f"usr/share/man/man8/{NAME}.8.gz", _zip(manual.page(about.version, about.time)))
    yield File(f"usr/share/bash-completion/completions/{NAME}", completion.script().encode())
    yield from _documentation(source, about)


def _distribution(about: About) -> Iterator[File]:
    """Yield what `pip` and `importlib.metadata` know a distribution by."""
    project = about.project
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {about.version}",
        f"Summary: {project['description']}",
        f"License: {project['license']}",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {needed}" for needed in project["dependencies"]),
    ]
    folder = f"{MODULES}/{NAME.replace('-', '_')}-{about.version}.dist-info"
    yield File(f"{folder}/METADATA", "\n".join([*lines, ""]).encode())
    yield File(f"{folder}/INSTALLER", b"debian\n")
    commands = "".join(f"{name} = {function}\n" for name, function in project["scripts"].items())
    yield File(f"{folder}/entry_points.txt", f"[console_scripts]\n{commands}".encode())


def _configuration(source: Path) -> bytes:
    """Return the example with an address that has to be set, as a second copy on the card is no safe place."""
    example = (source / "config" / "config.toml").read_text("utf-8")
    before, line, after = example.partition('\n#url = "')
    if not line:
        raise ValueError('config/config.toml has no line that begins with #url = "')
    rest = after.partition("\n")[2]
    return f'{before}\n# The service waits until it is set here.\nurl = ""\n{rest}'.encode()


def wheel_files(source: Path) -> Iterator[File]:
    """Yield the files that `install-service` writes: the wheel carries them in a folder that mirrors the system's."""
    about, local = _about(source), "usr/local/share"
    units = source / "systemd"
    for path in _units(units):
        yield File(f"etc/systemd/system/{path.name}", path.read_bytes())
    for path in units.glob("*.catalog"):
        yield File(f"usr/local/lib/systemd/catalog/{path.name}", path.read_bytes())
    for path in (units / "drop-ins").glob("*.conf"):
        yield File(f"{local}/doc/{NAME}/examples/{path.name}", path.read_bytes())
    yield File(f"etc/sysusers.d/{NAME}.conf", (units / f"{NAME}.sysusers").read_bytes())
    yield File(f"etc/{NAME}/config.toml", _configuration(source))
    page = manual.page(about.version, about.time, examples=f"/{local}/doc/{NAME}/examples")
    yield File(f"{local}/man/man8/{NAME}.8", page.encode())
    yield File(f"{local}/bash-completion/completions/{NAME}", completion.script().encode())


def _about(source: Path) -> About:
    return About(tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"], _time(source))


def _units(folder: Path) -> Iterator[Path]:
    for kind in ("service", "timer", "socket"):
        yield from folder.glob(f"*.{kind}")


def _documentation(source: Path, about: About) -> Iterator[File]:
    entry = (
        f"{NAME} ({about.version}) stable; urgency=medium\n\n"
        f"  * Version {about.version}.\n\n"
        f" -- {MAINTAINER}  {formatdate(about.time)}\n"
    )
    licence = "".join(f" {line or '.'}\n" for line in (source / "LICENSE").read_text("utf-8").splitlines()[4:])
    owner = next(line for line in (source / "LICENSE").read_text("utf-8").splitlines() if line.startswith("Copyright"))
    copyright_file = (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        f"Upstream-Name: {NAME}\n\n"
        f"Files: *\nCopyright: {owner.removeprefix('Copyright (c) ')}\nLicense: Expat\n{licence}"
    )
    yield File(f"{DOC}/changelog.gz", _zip(entry))
    yield File(f"{DOC}/copyright", copyright_file.encode())
    yield File(f"{DOC}/README.md.gz", _zip((source / "README.md").read_text("utf-8")))
    for path in (source / "systemd" / "drop-ins").glob("*.conf"):
        yield File(f"{DOC}/examples/{path.name}", path.read_bytes())
    yield File(f"usr/share/lintian/overrides/{NAME}", (source / "systemd" / "deb" / "lintian-overrides").read_bytes())


def _control(source: Path, about: About, files: list[File]) -> Iterator[File]:
    """Yield what dpkg itself reads."""
    fields = {
        "Package": NAME,
        "Version": about.version,
        "Section": "science",
        "Priority": "optional",
        "Architecture": "all",
        "Maintainer": MAINTAINER,
        "Installed-Size": str(sum(-(-len(file.content) // 1024) for file in files)),
        "Depends": ", ".join(_dependencies(about)),
        "Description": DESCRIPTION,
    }
    yield File("DEBIAN/control", "".join(f"{name}: {value}\n" for name, value in fields.items()).encode())
    sums = (f"{hashlib.md5(file.content).hexdigest()}  {file.path}\n" for file in files)
    yield File("DEBIAN/md5sums", "".join(sorted(sums)).encode())
    for script in ("postinst", "prerm", "postrm"):
        yield File(f"DEBIAN/{script}", (source / "systemd" / "deb" / script).read_bytes(), 0o755)


def _dependencies(about: About) -> Iterator[str]:
    """Yield Debian's packages, with the lowest versions that pyproject.toml allows."""
    yield f"python3 (>= {about.project['requires-python'].removeprefix('>=')})"
    for needed in about.project["dependencies"]:
        name, _, version = needed.partition(">=")
        yield f"{DEBIAN_NAMES.get(name, f'python3-{name}')} (>= {version})"
    yield "python3-systemd"
    yield "default-dbus-system-bus | dbus-system-bus"  # without it, nothing can be run as the service is
    yield "systemd | systemd-standalone-sysusers | systemd-sysusers"


def _zip(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


def _write(root: Path, file: File) -> None:
    path = root / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    path.chmod(file.mode)


def _set_times_and_modes(root: Path, when: int) -> None:
    """Give everything the same time, and folders the same mode whatever the umask is."""
    for folder, _, names in os.walk(root):
        os.chmod(folder, 0o755)  # noqa: S103  # as every folder of a package has it
        for path in [folder, *(os.path.join(folder, name) for name in names)]:
            os.utime(path, (when, when))
