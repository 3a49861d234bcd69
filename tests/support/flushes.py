"""What a piece of Python makes durable, and in what order, as strace sees it."""

import os
import re
import sys

from tracing import traced

_CALLS = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,write"


def flushes(log, code, *arguments):
    """Run code that prints "begin", and list what it does from there on to files and folders, in a log of strace's.

    Each as (call, path): `flush`, `rename` with the new name, `unlink`, `mkdir`, and `say` with what is printed.
    """
    done = traced(
        ["-y", "-s", "300", "-o", log, "-e", f"trace={_CALLS}"],
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
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
        # A call on an open folder names that, and then what lies in it.
        opened = re.findall(r"\d+<([^>]*)>", rest)
        yield call.removesuffix("2").removesuffix("at"), os.path.join(*opened[-1:], texts[-1])
