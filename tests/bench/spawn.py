"""Runs a command and prints its exit status, its seconds of the processor, and the most MiB that it had.

    python -I -S tests/bench/spawn.py LOG COMMAND…

It loads next to nothing itself: a process inherits the peak of the one that it is made from.
"""

import os
import sys


def main(log, *command):
    into_log = [(os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_APPEND, 0), (os.POSIX_SPAWN_DUP2, 1, 2)]
    child = os.posix_spawn(command[0], command, os.environ, file_actions=into_log)
    _, status, usage = os.wait4(child, 0)
    print(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


main(*sys.argv[1:])
