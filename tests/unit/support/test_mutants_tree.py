"""Test how a piece of code is found by its function and its syntax, and how it is changed."""

import ast
import os

import pytest
from mutants import tree

CODE = '''\
"""A module."""

LIMIT = 3


@decorated
class Box:
    """A box."""

    size: int = 7

    def put(self, thing, *, durable: bool = True):
        with self.lock:
            first(thing,
                  "ü", 1)
            second(thing)
        for each in thing:
            if each:
                return f"put {each}"
        match thing:
            case 1:
                one()
            case _:
                other()
        try:
            third()
        except OSError:
            raise
        finally:
            last()

    def take(self):
        def inside():
            return 1

        return self.query("SELECT name FROM box WHERE size > 1")


if LIMIT:

    def only_here():
        pass
'''


@pytest.fixture
def change(tmp_path):
    """Change a piece of a definition in CODE; returns the lines that differ, old and new, stripped."""
    (tmp_path / "box.py").write_text(CODE, "utf-8")

    def changed(place, old, new, **more):
        file, node = tree.locate(tmp_path, place)
        source = tree.changed(file.read_text("utf-8"), node, old, new, **more)
        compile(source, "box.py", "exec")
        before, after = CODE.split("\n"), source.split("\n")
        while before[:1] == after[:1]:
            before, after = before[1:], after[1:]
        while before[-1:] == after[-1:]:
            before, after = before[:-1], after[:-1]
        return [line.strip() for line in before], [line.strip() for line in after]

    return changed


@pytest.mark.parametrize("place", ["LIMIT", "Box", "Box.size", "Box.put", "Box.take.inside", "only_here"])
def test_a_definition_is_found_by_its_qualified_name(tmp_path, place):
    (tmp_path / "box.py").write_text(CODE, "utf-8")
    file, node = tree.locate(tmp_path, place)
    assert file == tmp_path / "box.py"
    assert place.rpartition(".")[2] in ast.get_source_segment(CODE, node)


def test_a_name_that_is_defined_twice_needs_its_module(tmp_path):
    for name in ("box", "crate/box", "crate/sandbox", "crate/__init__"):
        (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text("def put(): pass\n", "utf-8")
    with pytest.raises(ValueError, match=r"^put is defined 4 times, not once$"):
        tree.locate(tmp_path, "put")
    with pytest.raises(ValueError, match=r"^box:put is defined 2 times"):
        tree.locate(tmp_path, "box:put")
    assert tree.locate(tmp_path, "crate.box:put").file == tmp_path / "crate/box.py"
    assert tree.locate(tmp_path, "sandbox:put").file == tmp_path / "crate/sandbox.py"
    assert tree.locate(tmp_path, "crate:put").file == tmp_path / "crate/__init__.py"
    with pytest.raises(ValueError, match=r"^take is defined 0 times"):
        tree.locate(tmp_path, "take")


def test_a_file_that_changed_is_read_anew(tmp_path):
    (tmp_path / "box.py").write_text("def put(): pass\n", "utf-8")
    tree.locate(tmp_path, "put")
    (tmp_path / "box.py").write_text("def put(): pass\n\n\ndef take(): pass\n", "utf-8")
    os.utime(tmp_path / "box.py", (1, 1))
    assert tree.locate(tmp_path, "take").node.lineno == 4


@pytest.mark.parametrize(
    ("place", "old", "new", "lines"),
    [
        ("LIMIT", "3", "4", (["LIMIT = 3"], ["LIMIT = 4"])),
        ("Box.put", "first(thing, 'ü', 1)", "pass", (["first(thing,", '"ü", 1)'], ["pass"])),
        ("Box.put", "second(...)", "", (["second(thing)"], ["pass"])),
        ("Box.put", "second(...)", "[...]", (["second(thing)"], ["[thing]"])),
        ("Box.put", "with self.lock:\n    ...", "if True:\n    ...", (["with self.lock:"], ["if True:"])),
        ("Box.put", "case 1:\n    one()", "case 2:\n    one()", (["case 1:"], ["case 2:"])),
        ("Box.put", "except OSError:\n    raise", "except OSError:\n    pass", (["raise"], ["pass"])),
        ("Box.put", "last()", "pass", (["last()"], ["pass"])),
        ("Box.take", "def inside():\n    ...", "", (["def inside():", "return 1"], ["pass"])),
    ],
)
def test_a_piece_of_code_is_replaced_however_it_is_laid_out(change, place, old, new, lines):
    assert change(place, old, new) == lines


def test_the_default_of_a_parameter_is_replaced(change):
    _, after = change("Box.put", "durable: bool = True", "durable: bool = False")
    assert after == ["def put(self, thing, *, durable: bool = False):"]


def test_a_part_of_a_text_is_replaced(change):
    _, after = change("Box.take", "size > 1", "size > 2", in_text=True)
    assert after == ['return self.query("SELECT name FROM box WHERE size > 2")']
    assert change("Box.put", "put ", "", in_text=True)[1] == ['return f"{each}"']


@pytest.mark.parametrize(
    ("place", "old", "in_text", "message"),
    [
        ("Box.put", "nobody()", False, r"'nobody\(\)' is there 0 times, not once"),
        ("Box.put", "thing", False, "'thing' is there 4 times, not once"),
        ("Box.take", "size > 3", True, "is there 0 times"),
        ("Box.take", "e", True, "written in another way"),
        ("Box.put", "first(thing, 'u', 1)", False, "is there 0 times"),
    ],
)
def test_a_piece_that_is_not_there_just_once_is_refused(change, place, old, in_text, message):
    with pytest.raises(ValueError, match=message):
        change(place, old, "new", in_text=in_text)
