"""The system calls by their numbers: which never matter, which change nothing, and what each says that it works on.

A call that isn't in these tables counts as one that changes something: so what is found is counted, never listed.
"""

from dataclasses import dataclass

PASSING = {
    "memory": (10, 11, 12, 25, 27, 28),
    "signals": (13, 14, 15, 62, 127, 128, 131, 200, 234),
    "time, and other threads": (24, 35, 96, 201, 202, 203, 204, 219, 228, 229, 230, 324),
    "the process": (39, 57, 58, 59, 60, 61, 95, 157, 158, 186, 218, 231, 273, 302, 309, 334),
    "what it may and where it runs": (63, 97, 98, 99, 100, 102, 104, 107, 108, 110, 118, 120, 318),
}
"""Calls that touch nothing outside the process, and hold no place where it could be"""

OPEN_FLAGS_THAT_CHANGE = 0o100 | 0o1000
"""O_CREAT and O_TRUNC"""


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of a call; `on` says which arguments name what it works on."""

    name: str
    on: str
    changes: bool = True


_READING = """
    0 read descriptor       17 pread64 descriptor     19 readv descriptor       8 lseek descriptor
    3 close descriptor      5 fstat descriptor        72 fcntl descriptor       73 flock descriptor
    16 ioctl descriptor     32 dup descriptor         33 dup2 descriptor        292 dup3 descriptor
    9 mmap mapped           138 fstatfs descriptor    221 fadvise64 descriptor  217 getdents64 descriptor
    78 getdents descriptor  81 fchdir descriptor      45 recvfrom descriptor    47 recvmsg descriptor
    51 getsockname descriptor  52 getpeername descriptor  55 getsockopt descriptor  54 setsockopt descriptor
    7 poll polled           271 ppoll polled          23 select waiting         270 pselect6 waiting
    232 epoll_wait descriptor  281 epoll_pwait descriptor  233 epoll_ctl descriptor
    4 stat path             6 lstat path              21 access path            80 chdir path
    89 readlink path        137 statfs path           191 getxattr path         192 lgetxattr path
    262 newfstatat at       332 statx at              269 faccessat at          439 faccessat2 at
    267 readlinkat at       79 getcwd waiting
    41 socket socket        53 socketpair socket      22 pipe pipe              293 pipe2 pipe
    213 epoll_create epoll  291 epoll_create1 epoll   253 inotify_init inotify  294 inotify_init1 inotify
    254 inotify_add_watch descriptor                  255 inotify_rm_watch descriptor
    56 clone thread         435 clone3 thread         284 eventfd pipe          290 eventfd2 pipe
"""
_CHANGING = """
    1 write descriptor      18 pwrite64 descriptor    20 writev descriptor      296 pwritev descriptor
    74 fsync descriptor     75 fdatasync descriptor   77 ftruncate descriptor   285 fallocate descriptor
    91 fchmod descriptor    93 fchown descriptor      26 msync waiting          277 sync_file_range descriptor
    42 connect descriptor   49 bind descriptor        44 sendto descriptor      46 sendmsg descriptor
    48 shutdown descriptor  50 listen descriptor      307 sendmmsg descriptor   40 sendfile descriptor
    2 open path             76 truncate path          82 rename path            83 mkdir path
    84 rmdir path           85 creat path             86 link path              87 unlink path
    90 chmod path           92 chown path             132 utime path            235 utimes path
    257 openat at           258 mkdirat at            263 unlinkat at           264 renameat at
    265 linkat at           268 fchmodat at           280 utimensat at          316 renameat2 at
    260 fchownat at
"""


def _table(text, *, changes):
    words = iter(text.split())
    return {int(number): Call(name, on, changes) for number, name, on in zip(words, words, words, strict=True)}


CALLS = _table(_READING, changes=False) | _table(_CHANGING, changes=True)
"""Of what is open, and of what is locked, nothing is left of a process that was killed: to close and lock changes
nothing. To wait for the destination's answer, though, is a moment of its own: see `watch`"""


def call_of(number):
    """Return what is known of the call with a number."""
    return CALLS.get(number) or Call(f"call {number}", "waiting")


def passing():
    """Return the numbers of all calls that never matter."""
    return sorted(number for numbers in PASSING.values() for number in numbers)
