"""Keeps the house in order: imports point one way, each outside library has its module, and a start loads little."""

import ast
import os
import subprocess
import sys
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import pytest
from program import python
from sticky_pi_uploader.demo.pictures import make_picture

SOURCE = Path(__file__).parents[2] / "daemon"

LAYERS = {
    "sticky_pi_api": (
        ("client",),
        ("remote",),
        ("specifications",),
        ("local", "put_images", "storage"),
        ("image_parser", "validation"),
        ("utils",),
        ("bundles",),
        ("sqlite", "transport"),
        ("filesystem", "images"),
        ("configuration", "exceptions"),
        ("types",),
    ),
    "sticky_pi_uploader": (
        ("__main__",),
        ("cli",),
        ("service",),
        ("budget", "retention", "watch"),
        ("intake", "ownership", "upload"),
        ("config", "image_dir", "outbox", "state_dir"),
        ("journal",),
        ("clock", "demo", "exceptions", "models", "scan_requests", "sequence"),
        ("wording",),
    ),
}
"""The folders and modules at the top of each package: one may import those of the rows below its own, and no others"""

OUTSIDE = {
    "sticky_pi_api": {
        "PIL": {"images"},
        "piexif": {"images"},
        "requests": {"transport"},
        "sqlite3": {"local", "put_images", "remote", "sqlite"},
        "sqlite_utils": {"sqlite"},
        "tenacity": {"remote"},
        "urllib3": {"transport"},
    },
    "sticky_pi_uploader": {
        "PIL": {"demo"},
        "piexif": {"demo"},
        "sqlite3": {"outbox"},
        "systemd": {"journal", "service"},
        "tenacity": {"upload"},
        "watchdog": {"watch"},
    },
}
"""What isn't Python's own, and SQLite, and the folders whose modules may use it."""

HEAVY = {
    *("PIL", "numpy", "pandas", "piexif", "requests", "sqlite_utils", "systemd", "tenacity", "watchdog"),
    *("asyncio", "concurrent.futures", "dataclasses", "difflib", "email", "http", "importlib.metadata", "inspect"),
    *("ipaddress", "logging.handlers", "shutil", "tempfile", "tomllib", "unittest", "urllib.parse", "urllib.request"),
}
"""What is imported where it is needed, and not before: a trap that is awake for a minute has no time for it."""

ON_REQUESTS = {
    f"sticky_pi_api.transport.{name}" for name in ("connections", "errors", "proxies", "response_body", "session")
}
"""Modules made of the classes of `requests`: they are imported when a server is first spoken to"""

NOT_FOR_NOTHING = {
    "sticky_pi_uploader.budget",
    "sticky_pi_api.client",
    "sticky_pi_api.image_parser",
    "sticky_pi_uploader.cli.output.formatting",
    "sticky_pi_uploader.watch.network",
    "sticky_pi_uploader.service.supervisor",
    "sticky_pi_uploader.service.systemd",
    "sticky_pi_uploader.watch.watcher",
}
"""What a drain with nothing to do needs none of."""


@pytest.mark.parametrize("package", LAYERS)
def test_every_folder_has_its_layer(package):
    placed = [module for layer in LAYERS[package] for module in layer]
    there = {_part(path) for path in _files(package)} - {"__init__"}
    assert sorted(placed) == sorted(there)


@pytest.mark.parametrize("package", LAYERS)
def test_a_folder_imports_only_those_of_the_layers_below_its_own(package):
    layer_of = {module: number for number, layer in enumerate(LAYERS[package]) for module in layer}
    wrong = [
        f"{importing} imports {imported}"
        for importing, imported in _inner_imports(package)
        if importing != imported and layer_of[imported] <= layer_of[importing]
    ]
    assert wrong == []


def test_the_client_library_knows_nothing_of_the_daemon():
    importing = [
        path.name for path in _files("sticky_pi_api") for name, _ in _imports(path) if "sticky_pi_uploader" in name
    ]
    assert importing == []


@pytest.mark.parametrize("package", OUTSIDE)
def test_each_outside_library_is_used_in_its_own_module_only(package):
    used = defaultdict(set)
    for path in _files(package):
        for name, only_for_types in _imports(path):
            library = name.partition(".")[0]
            ours = library in LAYERS
            if not (ours or only_for_types) and (library not in sys.stdlib_module_names or library == "sqlite3"):
                used[library].add(_part(path))
    assert used == OUTSIDE[package]


def test_importing_any_module_loads_nothing_heavy():
    modules = [_module(path) for package in LAYERS for path in _files(package)]
    modules.remove("sticky_pi_uploader.__main__")  # it runs
    modules = [name for name in modules if name not in ON_REQUESTS]
    script = f"""if True:
        import importlib, sys
        before = set(sys.modules)
        for name in {modules!r}:
            importlib.import_module(name)
            if loaded := (sys.modules.keys() - before) & {HEAVY!r}:
                sys.exit(f"{{name}} loads {{', '.join(sorted(loaded))}}")
    """
    done = python(script)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_imported_while_a_finder_looks_for_something_else():
    """It would be with the lock that every import needs: another thread at an import may hold what it waits for."""
    script = """if True:
        import sys

        class Spy:
            def find_spec(self, name, *_):
                frame, looking = sys._getframe(1), 0
                while frame is not None:
                    looking += frame.f_code.co_name == "_find_spec"
                    frame = frame.f_back
                if looking > 1:
                    nested.append(name)

        nested = []
        sys.meta_path.insert(0, Spy())
        import piexif, sticky_pi_api.transport.session, watchdog.observers.inotify
        from PIL import Image, JpegImagePlugin
        sys.exit(" ".join(nested) or None)
    """
    done = python(script)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_drain_with_nothing_to_do_loads_nothing_heavy(tmp_path):
    folder = _trap(tmp_path)
    assert _drain(folder).returncode == 0  # makes the tables
    script = f"""if True:
        import sys
        from sticky_pi_uploader.cli.main import main
        status = main(sys.argv[1:])
        sys.exit(" ".join(sorted(sys.modules.keys() & {HEAVY | NOT_FOR_NOTHING!r})) or status)
    """
    done = _drain(folder, "-c", script)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_drain_of_one_picture_to_a_store_does_without_openssl(tmp_path):
    folder = _trap(tmp_path)
    make_picture(folder, "5c173ff2", datetime(2020, 6, 20, 21, 33, 24))  # noqa: DTZ001 - naive datetimes are UTC
    script = """if True:
        import sys
        from sticky_pi_uploader.cli.main import main
        status = main(sys.argv[1:])
        sys.exit("OpenSSL is loaded" if "_hashlib" in sys.modules else status)
    """
    assert _drain(folder).returncode == 0  # makes the tables
    make_picture(folder, "5c173ff2", datetime(2020, 6, 21, 21, 33, 24))  # noqa: DTZ001
    done = _drain(folder, "-c", script)
    assert (done.returncode, "uploaded" in done.stderr) == (0, True), done.stderr


def test_an_upload_to_a_server_does_without_the_database_of_a_store():
    script = """if True:
        import sys
        from sticky_pi_api.client import RemoteClient
        import sticky_pi_api.validation.images, sticky_pi_uploader.upload.uploader
        assert RemoteClient and "sticky_pi_api.remote.api" in sys.modules
        sys.exit(" ".join(name for name in sys.modules if name.startswith("sticky_pi_api.local.")))
    """
    done = python(script)
    assert done.stderr.split() == ["sticky_pi_api.local.errors"]


def test_nothing_changes_where_numpy_and_pandas_are_installed(tmp_path):
    for name in ("numpy", "pandas"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemError('it was imported')\n")
    folder = _trap(tmp_path)
    make_picture(folder, "5c173ff2", datetime(2020, 6, 20, 21, 33, 24))  # noqa: DTZ001 - naive datetimes are UTC
    done = _drain(folder, path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.rpartition(": ")[2] for line in done.stderr.splitlines()] == ["taken in", "uploaded"]


def _trap(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


def _drain(folder, *python, path=""):
    return subprocess.run(
        [sys.executable, *(python or ("-m", "sticky_pi_uploader")), "drain", "--image-dir", folder],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(path), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _files(package):
    return sorted((SOURCE / package).rglob("*.py"))


def _module(path):
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def _part(path):
    """Name what a file is part of within its package: itself, or the folder that it is in."""
    return path.relative_to(SOURCE).with_suffix("").parts[1]


def _inner_imports(package):
    """Yield the pairs of importing and imported parts of one package, imports for types included."""
    for path in _files(package):
        for name, _ in _imports(path):
            parts = name.split(".")
            if parts[0] == package and len(parts) > 1:
                yield _part(path), parts[1]


def _imports(path):
    """Yield the full name of each module that a file imports, and whether that is for type checkers only."""
    tree = ast.parse(path.read_bytes())
    for_types = {
        node for block in ast.walk(tree) if _is_for_types(block) for child in block.body for node in ast.walk(child)
    }
    # A relative import counts from the folder.
    folder = path.relative_to(SOURCE).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(
                [*folder[: len(folder) - node.level + 1], node.module or ""] if node.level else [node.module]
            )
            # `from package import module` and `from module import name` look the same.
            names = [f"{base.rstrip('.')}.{alias.name}" for alias in node.names] if _is_folder(base) else [base]
        else:
            continue
        yield from ((name, node in for_types) for name in names)


def _is_for_types(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_folder(name):
    return name.rstrip(".") in LAYERS
