import errno
import os
import subprocess
import sys
import threading
from contextlib import ExitStack

import mounted
import pytest
from flushes import flushes
from program import python
from sticky_pi_api.filesystem.mounts import file_system_type, is_within, network_file_system
from sticky_pi_api.filesystem.safe_open import file_system_id
from sticky_pi_uploader.exceptions import StateError
from sticky_pi_uploader.state_dir.folder import make
from sticky_pi_uploader.state_dir.mounts import image_dir_problem, prepare_state_dir, state_dir_problem

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount and to become another user")


@pytest.fixture
def tmpfs(tmp_path):
    """An empty file system of its own."""
    with mounted.tmpfs(tmp_path / "tmpfs") as folder:
        yield folder


def as_nobody(code):
    """Run code as a user without rights, in a process of its own; return what it prints."""
    prepared = "import os; from sticky_pi_uploader.state_dir.mounts import *; os.setuid(65534)\n"
    return python(prepared + code, check=True).stdout.strip()


# --- file_system_id ----------------------------------------------------------------------------------------------


def test_all_of_one_file_system_has_one_id_and_another_has_another(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "file").touch()
    ids = {file_system_id(str(path)) for path in (tmp_path, tmp_path / "a", tmp_path / "file")}
    assert len(ids) == 1
    assert ids != {file_system_id("/proc")}


@needs_root
def test_a_file_system_mounted_over_a_folder_has_another_id(tmp_path, tmpfs):
    assert file_system_id(str(tmpfs)) != file_system_id(str(tmp_path))


def test_a_file_system_without_an_id_is_told_by_its_device():
    without = [path for path in ("/proc", "/sys", "/dev", "/dev/pts", "/dev/shm") if not os.statvfs(path).f_fsid]
    if not without:
        pytest.skip("this kernel gives every file system an id")
    for path in without:
        assert file_system_id(path) == f"device {os.stat(path).st_dev:x}"


def test_what_is_gone_has_no_file_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_system_id(str(tmp_path / "gone"))


# --- image_dir_problem -------------------------------------------------------------------------------------------


@pytest.fixture
def fstab(tmp_path):
    """Write a table of file systems and return its path."""

    def write(*mount_points):
        lines = ["# a comment", "", "proc /proc proc defaults 0 0", "/dev/x none swap sw 0 0", "one-field"]
        lines += [f"/dev/y {mount_point} ext4 noauto 0 0" for mount_point in mount_points]
        (tmp_path / "fstab").write_bytes(os.fsencode("\n".join(lines)))
        return str(tmp_path / "fstab")

    return write


def test_a_folder_that_can_be_read_is_no_problem(tmp_path):
    assert image_dir_problem(str(tmp_path)) is None


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert image_dir_problem(f"{tmp_path}/gone") == f"the image folder {tmp_path}/gone isn't there"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    assert image_dir_problem(f"{tmp_path}/file") == f"the image folder {tmp_path}/file isn't a folder"
    assert image_dir_problem(f"{tmp_path}/file/x") == f"the image folder {tmp_path}/file/x isn't a folder"


@needs_root
@pytest.mark.parametrize("mode", [0o700, 0o704, 0o701])
def test_a_folder_that_may_not_be_read_is_named_with_what_to_do(mode, tmp_path_factory):
    # pytest's own folders are nobody else's either: what counts is the message.
    folder = tmp_path_factory.mktemp("pictures")
    folder.chmod(mode)
    said = as_nobody(f"print(image_dir_problem({str(folder)!r}))")
    assert said == f"the image folder {folder} can't be read: permission denied; try it with sudo"


@pytest.mark.parametrize("below", ["", "/pictures", "/a/b"])
def test_an_empty_mount_point_of_fstab_is_not_mounted(tmp_path, fstab, below):
    (tmp_path / "card").mkdir()
    said = image_dir_problem(f"{tmp_path}/card{below}", fstab=fstab(f"{tmp_path}/card"))
    assert said is not None
    assert said.startswith(f"the image folder {tmp_path}/card{below} isn't mounted")


def test_mount_points_elsewhere_and_the_root_are_no_concern(tmp_path, fstab):
    table = fstab("/", f"{tmp_path}/other", f"{tmp_path}/pict", f"{tmp_path}/pictures/below")
    (tmp_path / "pictures").mkdir()
    assert image_dir_problem(f"{tmp_path}/pictures", fstab=table) is None


def test_a_mount_point_with_a_space_in_its_name_is_recognised(tmp_path, fstab):
    (tmp_path / "my card").mkdir()
    said = image_dir_problem(f"{tmp_path}/my card", fstab=fstab(f"{tmp_path}/my\\040card/"))
    assert said == f"the image folder {tmp_path}/my card isn't mounted"


def test_a_link_to_an_empty_mount_point_does_not_hide_it(tmp_path, fstab):
    (tmp_path / "card").mkdir()
    (tmp_path / "link").symlink_to("card")
    assert "isn't mounted" in (image_dir_problem(f"{tmp_path}/link", fstab=fstab(f"{tmp_path}/card")) or "")


@needs_root
def test_a_mount_point_on_which_something_is_mounted_is_fine(tmpfs, fstab):
    assert image_dir_problem(str(tmpfs), fstab=fstab(str(tmpfs))) is None


@needs_root
def test_a_folder_bound_to_the_mount_point_from_the_same_disk_is_fine(tmp_path, fstab):
    (tmp_path / "real").mkdir()
    with mounted.bound(tmp_path / "real", tmp_path / "card"):
        assert image_dir_problem(f"{tmp_path}/card", fstab=fstab(f"{tmp_path}/card")) is None


@needs_root
def test_an_empty_mount_point_that_a_sandbox_bound_to_itself_is_not_mounted_until_the_disk_is(tmp_path, fstab):
    card = tmp_path / "card"
    card.mkdir()
    with ExitStack() as stack:
        for mount in (mounted.bound(card, card), mounted.tmpfs(card)):
            said = image_dir_problem(str(card), fstab=fstab(str(card)))
            assert said == f"the image folder {card} isn't mounted"
            stack.enter_context(mount)
        assert image_dir_problem(str(card), fstab=fstab(str(card))) is None


def test_without_fstab_or_without_the_kernels_list_nothing_is_held_against_a_folder(tmp_path, fstab):
    assert image_dir_problem(str(tmp_path), fstab="/nonexistent") is None
    assert image_dir_problem(str(tmp_path), fstab=fstab(str(tmp_path)), mountinfo="/nonexistent") is None


# --- network_file_system -----------------------------------------------------------------------------------------


@pytest.fixture
def mountinfo(tmp_path):
    """Write a list of mounts as the kernel does, and return its path."""

    def write(*mounts):
        lines = [
            f"{n} 1 0:{n} / {folder} rw,relatime{' shared:1 master:2' * (n % 2)} - {kind} source rw"
            for n, (folder, kind) in enumerate(mounts, start=20)
        ]
        (tmp_path / "mountinfo").write_bytes(os.fsencode("\n".join(["", *lines, "garbage"])))
        return str(tmp_path / "mountinfo")

    return write


OVER_A_NETWORK = "nfs nfs4 cifs smb3 9p fuse.sshfs vboxsf ceph afs glusterfs vmhgfs fuse.rclone".split()
LOCAL = "ext4 vfat exfat btrfs tmpfs fuseblk fuse.mergerfs v".split()


@pytest.mark.parametrize("kind", [*OVER_A_NETWORK, *LOCAL])
def test_a_network_file_system_is_named_and_a_local_one_is_not(mountinfo, kind):
    above = "ext4" if kind in OVER_A_NETWORK else "nfs"
    found = network_file_system("/pictures/a", mountinfo(("/", above), ("/pictures", kind)))
    assert found == (kind if kind in OVER_A_NETWORK else None)


def test_the_longest_mount_point_counts_and_whole_names_only(mountinfo):
    table = mountinfo(("/pictures/a", "ext4"), ("/", "nfs"), ("/pictures", "cifs"), ("/pictures/ab", "9p"))
    assert network_file_system("/pictures/a/x", table) is None
    assert network_file_system("/pictures/abc", table) == "cifs"
    assert network_file_system("/pic", table) == "nfs"


def test_of_two_mounts_at_one_place_the_later_counts(mountinfo):
    assert network_file_system("/x", mountinfo(("/x", "autofs"), ("/x", "nfs4"))) == "nfs4"
    assert network_file_system("/x", mountinfo(("/x", "nfs4"), ("/x", "ext4"))) is None


def test_names_that_the_kernel_escapes_are_read(mountinfo):
    table = mountinfo(("/", "ext4"), ("/my\\040card\\134\\011caf\udce9", "nfs"))
    assert network_file_system("/my card\\\tcaf\udce9/x", table) == "nfs"


def test_a_link_is_followed_to_where_the_pictures_are(tmp_path, mountinfo):
    (tmp_path / "link").symlink_to("/share")
    assert network_file_system(f"{tmp_path}/link", mountinfo(("/", "ext4"), ("/share", "nfs"))) == "nfs"


def test_nothing_is_said_without_the_kernels_list(tmp_path):
    assert network_file_system(str(tmp_path), "/nonexistent") is None


def test_the_type_of_any_file_system_can_be_asked_for(tmp_path, mountinfo):
    assert file_system_type("/x/y", mountinfo(("/", "ext4"), ("/x", "tmpfs"))) == "tmpfs"
    assert (file_system_type("/proc"), network_file_system("/proc")) == ("proc", None)
    assert file_system_type(str(tmp_path), "/nonexistent") == ""


# --- is_within ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [("/a", "/a", True), ("/a/b", "/a", True), ("/ab", "/a", False), ("/a", "/a/b", False), ("/a", "/", True)],
)
def test_within_goes_by_whole_names(path, folder, expected):
    assert is_within(path, folder) is expected


# --- prepare_state_dir -------------------------------------------------------------------------------------------


@pytest.fixture
def image_dir(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def refusal(state_dir, image_dir, **more):
    with pytest.raises(StateError) as caught:
        prepare_state_dir(str(state_dir), str(image_dir), **more)
    assert caught.value.exit_status == 74
    return str(caught.value)


EXCHANGE = """if True:
    import os, sys
    print("ready", flush=True)
    while True:
        os.mkdir(sys.argv[1])
        os.rmdir(sys.argv[1])
    """


def test_a_folder_that_comes_and_goes_while_it_is_looked_at_is_no_error(tmp_path):
    state = tmp_path / "state"
    with subprocess.Popen([sys.executable, "-c", EXCHANGE, state], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        try:
            found = {state_dir_problem(str(state)) for _ in range(4000)}
        finally:
            process.kill()
    gone = f"the state folder {state} can't be written: No such file or directory"
    assert found <= {None, gone}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_the_state_folder_is_made_with_what_lies_between_whatever_the_umask(image_dir, umask):
    before = os.umask(umask)
    try:
        prepare_state_dir(f"{image_dir}/var/state", str(image_dir))
    finally:
        os.umask(before)
    for folder in (image_dir / "var", image_dir / "var" / "state"):
        assert folder.stat().st_mode & 0o7777 == 0o755


def test_a_state_folder_that_is_there_is_left_as_it_is(image_dir):
    state_dir = image_dir / "state"
    state_dir.mkdir(mode=0o700)
    prepare_state_dir(str(state_dir), str(image_dir))
    assert state_dir.stat().st_mode & 0o7777 == 0o700


def test_elsewhere_only_the_state_folder_itself_is_made(tmp_path, image_dir):
    prepare_state_dir(f"{tmp_path}/state", str(image_dir))
    assert (tmp_path / "state").is_dir()
    assert "the folder above it isn't there" in refusal(f"{tmp_path}/var/state", image_dir)
    assert not (tmp_path / "var").exists()


def test_elsewhere_it_is_made_without_an_image_folder(tmp_path):
    prepare_state_dir(f"{tmp_path}/state", f"{tmp_path}/gone")
    assert (tmp_path / "state").is_dir()


def test_nothing_is_made_under_an_image_folder_that_is_not_there(tmp_path):
    assert "isn't there" in refusal(f"{tmp_path}/gone/.state", f"{tmp_path}/gone")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_made_on_an_empty_mount_point(image_dir, fstab):
    assert "isn't mounted" in refusal(image_dir / ".state", image_dir, fstab=fstab(image_dir))
    assert list(image_dir.iterdir()) == []


def test_nothing_is_made_on_an_empty_mount_point_that_is_reached_by_a_link(tmp_path, image_dir, fstab):
    (tmp_path / "link").symlink_to("pictures")
    assert "isn't mounted" in refusal(tmp_path / "link" / ".state", image_dir, fstab=fstab(image_dir))
    assert list(image_dir.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path, image_dir):
    (image_dir / "file").touch()
    said = f"a file is in the way at {image_dir}/file"
    assert said in refusal(image_dir / "file", image_dir)
    assert said in refusal(image_dir / "file" / "a" / "b", image_dir)
    (tmp_path / "other").touch()
    assert "a file is in the way" in refusal(tmp_path / "other" / "state", image_dir)


@needs_root
def test_root_makes_nothing_by_a_link_below_the_image_folder(image_dir):
    (image_dir / "link").symlink_to("state")
    said = refusal(image_dir / "link", image_dir)
    assert f"{image_dir}/link is a link, which root doesn't follow there: set state_dir to the folder" in said
    assert not (image_dir / "state").exists()


@needs_root
def test_a_state_folder_that_may_not_be_written_is_refused_with_what_to_do():
    code = """if True:
        for state_dir in ("/usr", "/usr/state"):
            try:
                prepare_state_dir(state_dir, "/nonexistent")
            except Exception as error:
                print(error)
        """
    assert as_nobody(code).splitlines() == [
        "the state folder /usr can't be written: permission denied; try it with sudo",
        "the state folder /usr/state can't be made: permission denied; try it with sudo",
    ]


@needs_root
def test_a_read_only_file_system_is_said_to_be_one(tmpfs, tmp_path):
    (tmpfs / "state").mkdir()
    mounted.remount(tmpfs, "ro")
    assert refusal(tmpfs / "state", tmp_path).endswith("can't be written: its file system is read-only")
    assert refusal(tmpfs / "new", tmp_path).endswith("can't be made: Read-only file system")


MAKE_STATE = """
import sys
from sticky_pi_uploader.state_dir.mounts import prepare_state_dir
print("begin", flush=True)
prepare_state_dir(*sys.argv[1:])
"""


def test_a_state_folder_is_made_durably(tmp_path, image_dir):
    state_dir = image_dir / "between" / "state"
    calls = flushes(tmp_path / "log", MAKE_STATE, state_dir, image_dir)
    assert calls == [
        *(("mkdir", str(image_dir / "between")), ("flush", str(image_dir))),
        *(("mkdir", str(state_dir)), ("flush", str(image_dir / "between"))),
    ]


def test_several_that_make_it_at_once_all_succeed(image_dir):
    failures = []

    def prepare():
        try:
            prepare_state_dir(f"{image_dir}/a/b/c/d/e", str(image_dir))
        except StateError as error:
            failures.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_state_folder_whose_name_cant_be_flushed_leaves_nothing_open(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Input/output error"):
        make(str(tmp_path / "state"), str(tmp_path / "images"), with_parents=False)
    assert os.listdir("/proc/self/fd") == before
