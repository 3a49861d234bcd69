"""Says what these tests need that isn't there."""

import os
import shutil
import subprocess
import sys

TOOLS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "dpkg-deb": "dpkg",
    "strace": "strace",
}
"""The commands, and Debian's packages that they come from"""


ALONE = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc")
"""What runs a command with mounts and processes of its own, which end when it does"""


def reason_to_skip():
    """Return why no container can be booted here, or why it would prove nothing; None where nothing is in the way."""
    if sys.prefix != sys.base_prefix:
        return "the containers have Debian's libraries, so this runs with them only: tests/run --debian"
    if os.geteuid() != 0:
        return "booting a container takes root"
    if missing := sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None}):
        return f"missing, to boot containers with: {', '.join(missing)}"
    if subprocess.run([*ALONE, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode != 0:
        return "even root may not have namespaces here, to boot containers in"
    if unified_hierarchy() is None:
        return "there is no version 2 control group hierarchy here, which a container's systemd needs"
    return None


def unified_hierarchy():
    """Return the folder of this process in the version 2 control groups; None where they aren't mounted."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        ours = [line.rstrip("\n").partition("::")[2] for line in file if line.startswith("0::")]
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounted = [line.split()[4] for line in file if " - cgroup2 " in line]
    return os.path.normpath(mounted[0] + ours[0]) if ours and mounted else None
