"""What `run` costs while it waits for its first picture to send: a year of date folders, and nothing happens.

    python tests/bench/idle.py [--minutes N]

Memory is what it has at the end, over a Python that sleeps; wake-ups are the times that any of its threads left the
processor by itself; bytes are those that it wrote to files, as the kernel counts them. All but the first minute, in
which it starts, counts. Needs ten minutes.
"""

import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

from benchmark import Row, environment, main

DAYS = 365
MINUTES = 10


def rows(folder, minutes=MINUTES):
    images = folder / "images"
    for day in range(DAYS):
        (images / f"5c173ff2/{date(2020, 1, 1) + timedelta(days=day)}").mkdir(parents=True)
    # Nothing but the system's own log takes what it says.
    command = ["-m", "sticky_pi_uploader", "run", "--image-dir", images, "--api-url", f"file://{folder}/store"]
    bare = _start("-c", "import time; time.sleep(1e6)")
    ours = _start(*command)
    try:
        time.sleep(60)
        before, written = _switches(ours.pid), _written(ours.pid)
        time.sleep(60 * (minutes - 1))
        wake_ups = (_switches(ours.pid) - before) / (minutes - 1)
        yield Row("run, idle: memory", _memory(ours.pid) - _memory(bare.pid), 20, "MiB", f"over Python; {DAYS} folders")
        yield Row("run, idle: wake-ups", wake_ups, 6, "/min", "of all its threads, without systemd")
        yield Row("run, idle: written", (_written(ours.pid) - written) / 1000, 0, "KB", f"in {minutes - 1} minutes")
    finally:
        for process in (bare, ours):
            process.terminate()
            process.wait()


def _start(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)


def _memory(pid):
    return _status(Path(f"/proc/{pid}/status"), "VmRSS") / 1024


def _switches(pid):
    return sum(_status(task / "status", "voluntary_ctxt_switches") for task in Path(f"/proc/{pid}/task").iterdir())


def _status(file, name):
    lines = file.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _written(pid):
    lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


if __name__ == "__main__":
    main(rows, __doc__, minutes=MINUTES)
