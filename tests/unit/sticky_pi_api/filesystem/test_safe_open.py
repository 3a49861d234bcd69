import errno
import gc
import os
import socket
import stat
import sys

import pytest
from sticky_pi_api.filesystem.safe_open import open_beneath, open_file, open_folder
from tracing import traced


@pytest.fixture
def root(tmp_path):
    """A folder with one thing of each kind, and a file that nobody may reach through it."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "file").write_text("content")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "dangling").symlink_to(tmp_path / "made")
    (root / "folder link").symlink_to("a")
    (root / "a" / "up").symlink_to("../..")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture(autouse=True)
def _no_descriptor_is_left_open():
    gc.collect()  # what earlier tests left may be closed at any moment
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def descriptor(root):
    descriptor = os.open(root, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def closed(descriptor):
    """Close a descriptor, and tell which file it was."""
    status = os.fstat(descriptor)
    os.close(descriptor)
    return status.st_dev, status.st_ino


def identity(path):
    status = path.stat()
    return status.st_dev, status.st_ino


def test_a_file_is_opened_read_and_not_inherited(root, descriptor):
    for opened in (open_file(str(root / "file")), open_file("file", folder=descriptor)):
        assert not os.get_inheritable(opened)
        assert os.read(opened, 100) == b"content"
        os.close(opened)


def test_a_new_file_gets_its_mode_and_one_that_is_there_is_written_to(root):
    before = os.umask(0o022)
    try:
        assert closed(open_file(str(root / "new"), os.O_RDWR | os.O_CREAT, 0o600)) == identity(root / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "new").stat().st_mode) == 0o600
    assert closed(open_file(str(root / "file"), os.O_RDWR | os.O_CREAT)) == identity(root / "file")
    with pytest.raises(FileExistsError, match="File exists"):
        open_file(str(root / "file"), os.O_RDWR | os.O_CREAT | os.O_EXCL)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT])
@pytest.mark.parametrize(
    ("name", "kind"),
    [("link", "link"), ("dangling", "link"), ("folder link", "link"), ("pipe", "pipe"), ("a", "folder")],
)
def test_anything_else_is_refused_at_once_by_its_name_and_stays_as_it_is(root, name, kind, flags):
    with pytest.raises(OSError, match=f"it is a {kind}, not a file: '{root}/{name}'"):
        open_file(str(root / name), flags)
    assert (root.parent / "secret").read_text() == "secret"
    assert not (root.parent / "made").exists()


def test_a_pipe_that_somebody_reads_and_a_socket_are_refused_too(root, monkeypatch):
    reader = os.open(root / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="it is a pipe, not a file"):
        open_file(str(root / "pipe"), os.O_WRONLY)
    os.close(reader)
    monkeypatch.chdir(root)  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(OSError, match="it is a socket, not a file"):
            open_file("socket")


def test_what_is_missing_is_missing(root):
    for opened in (open_file, open_folder):
        with pytest.raises(FileNotFoundError):
            opened(str(root / "none"))


def test_a_folder_is_opened_and_a_link_to_one_is_refused(root, descriptor):
    assert closed(open_folder(str(root / "a"))) == identity(root / "a")
    assert closed(open_folder("a", folder=descriptor)) == identity(root / "a")
    for name, kind in (("folder link", "link"), ("dangling", "link"), ("file", "file"), ("pipe", "pipe")):
        with pytest.raises(OSError, match=f"it is a {kind}, not a folder") as caught:
            open_folder(str(root / name))
        assert caught.value.errno in (errno.ENOTDIR, errno.ELOOP)


def test_a_folder_beneath_another_is_reached_one_by_one(root, descriptor):
    for path in ("a/b/c", "a", ""):
        assert closed(open_beneath(descriptor, path)) == identity(root / path)


@pytest.mark.parametrize("path", ["folder link", "folder link/b", "a/up", "a/up/root", "file", "file/b", "pipe/b"])
def test_no_link_and_no_file_leads_beneath(descriptor, path):
    with pytest.raises(OSError, match="not a folder") as caught:
        open_beneath(descriptor, path)
    assert caught.value.filename == path


@pytest.mark.parametrize("path", ["/", "/etc", "..", "a/..", "a//b", "a/", ".", "a/./b"])
def test_a_path_that_could_leave_the_folder_is_none(descriptor, path):
    with pytest.raises(OSError, match="it is no path beneath a folder"):
        open_beneath(descriptor, path)


def test_a_missing_folder_beneath_is_missing(descriptor):
    with pytest.raises(FileNotFoundError) as caught:
        open_beneath(descriptor, "a/none/c")
    assert caught.value.filename == "a/none/c"


RENAME = """
import os, sys
from sticky_pi_api.filesystem.safe_open import rename_new
folder = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
try:
    rename_new(folder, *sys.argv[2:])
except OSError as error:
    print(type(error).__name__, error)
"""


def renamed(root, old, new, *injected):
    """Rename in a process whose calls are tampered with, as strace's `inject` has it; returns what it says."""
    options = [option for each in injected for option in ("-e", f"inject={each}")]
    command = [sys.executable, "-c", RENAME, root, old, new]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return traced(["-o", os.devnull, "-e", "trace=renameat2,linkat", *options], command, env=environment).stdout


OLD_SYSTEM = "renameat2:error=ENOSYS"
OTHER_FILE_SYSTEM = "renameat2:error=EINVAL"


@pytest.mark.parametrize("injected", [[], [OLD_SYSTEM], [OTHER_FILE_SYSTEM]], ids=["", "old system", "in two steps"])
def test_a_file_is_renamed_where_nothing_has_the_name_and_else_not(root, injected):
    assert renamed(root, "file", "caf\udce9", *injected) == ""
    assert (root / os.fsdecode(b"caf\xe9")).read_text() == "content"
    (root / "file").write_text("another")
    for name in ("file", "link", "dangling", "a", "pipe"):
        assert "FileExistsError" in renamed(root, "caf\udce9", name, *injected)
    assert "FileNotFoundError" in renamed(root, "none", "new", *injected)
    assert (root / "file").read_text() == "another"
    assert (root / os.fsdecode(b"caf\xe9")).read_text() == "content"


def test_where_that_is_impossible_without_overwriting_it_is_an_error_and_nothing_changes(root):
    said = renamed(root, "file", "new", OTHER_FILE_SYSTEM, "linkat:error=EPERM")
    assert "its file system can't rename a file without overwriting another: 'file'" in said
    assert (root / "file").exists()
    assert not (root / "new").exists()
