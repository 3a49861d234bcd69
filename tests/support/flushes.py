"""What a piece of Python makes durable, and in what order, as strace sees it."""

import os
import re
import shutil
import subprocess
import sys

import pytest


def flushes(log, code, *arguments):
    """Run code that prints "begin", and list what it does from there on to files and folders, in a log of strace's.

    Each as (call, path): `flush`, `rename` with the new name, `unlink`, `mkdir`, and `say` with what is printed.
    """
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace, to see what is flushed")
    done = subprocess.run(
        [
            *(strace, "-f", "-y", "-s", "300", "-o", log, "-e", "trace=fsync,fdatasync,rename,unlink,mkdir,write"),
            *(sys.executable, "-c", code, *map(str, arguments)),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if "ptrace" in done.stderr:
        pytest.skip(f"strace doesn't work here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    lines = log.read_text("utf-8").partition('"begin')[2].splitlines()[1:]
    return [call for line in lines for call in _understood(line)]


def _understood(line):
    call, _, rest = line.partition(" ")[2].strip().partition("(")
    if call in ("fsync", "fdatasync"):
        yield "flush", rest.partition("<")[2].partition(">")[0]
        return
    texts = re.findall(r'"((?:[^"\\]|\\.)*)"', rest)
    if call == "write":
        said = texts[0].removesuffix("\\n") if rest.startswith("1<") else ""
        if said:
            yield "say", said
    elif texts:
        yield call, texts[-1]
