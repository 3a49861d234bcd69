"""Change the code at random places, as a slip of the pen would, one place at a time.

    python -m mutants --chance 200 --seed 7

changes 200 places, each in a copy of the project, and runs the tests of the changed module's own folder on it. A table
names each change and the first test that noticed it.
"""

import ast
import os
import queue
import random
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from . import LONGEST, ROOT, Copy, tree

ENOUGH = 0.95
"""Share of the mutations that the tests have to notice"""
_COMPARISONS = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
_ARITHMETIC = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.FloorDiv: "*", ast.Div: "*", ast.Mod: "+"}
_LOGGED = {"debug", "info", "warning", "error", "critical", "log"}
"""Calls that only log: people read them"""


class Mutation(NamedTuple):
    """One changed place."""

    file: str
    """below `daemon`"""
    function: str
    line: int
    change: str
    """the old code and the new code, on one line"""
    source: str
    """the whole file, changed"""


class Outcome(NamedTuple):
    """The result of the tests for one mutation."""

    mutation: Mutation
    noticed_by: str | None
    """the first test that failed; None if none did"""
    seconds: float


def mutations(root, count, seed):
    """Choose `count` places below a folder of source, each with a change, at random but by `seed` alone."""
    places = [
        (path, *place) for path in sorted(root.rglob("*.py")) for place in _places(ast.parse(path.read_text("utf-8")))
    ]
    for path, function, node, new in random.Random(seed).sample(places, min(count, len(places))):
        source = path.read_text("utf-8")
        old = " ".join(ast.get_source_segment(source, node).split())
        mutated = tree.replaced(source, [node], new)
        yield Mutation(str(path.relative_to(root)), function, node.lineno, f"{old} → {new}", mutated)


def own_tests(file):
    """Return the test files of a module's own folder, below `tests`, those first that name the module.

    For a module at the top of a package, these are the test files at the top of the package's tests.
    """
    package, *folders, name = Path(file).with_suffix("").parts
    unit = ROOT / "tests" / "unit" / package
    found = (unit / folders[0]).rglob("test_*.py") if folders else unit.glob("test_*.py")
    module = ".".join([package, *folders, name]).removesuffix(".__init__")
    imports = re.compile(
        rf"(from|import) {re.escape(module)}\b|from {re.escape('.'.join([package, *folders]))} import .*\b{name}\b"
    )

    def is_far(path):
        return not path.stem.startswith(f"test_{name}"), not imports.search(path.read_text("utf-8")), path

    return tuple(str(path.relative_to(ROOT / "tests")) for path in sorted(found, key=is_far))


def run(count, seed, folder, *, jobs=None):
    """Try mutations, `jobs` at a time (by default one for each core), and yield their outcomes, file by file."""
    copies, jobs = queue.SimpleQueue(), jobs or len(os.sched_getaffinity(0))
    for number in range(jobs):
        (place := Path(folder) / str(number)).mkdir()
        copies.put(Copy(place))
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda one: _outcome(copies, one), sorted(mutations(ROOT / "daemon", count, seed)))


def _outcome(copies, mutation):
    """Try a mutation; tests that fail on unchanged code as well, for a reason of the machine's, don't count."""
    tests = [*own_tests(mutation.file)]
    with _borrowed(copies) as copy:
        while True:
            began = time.monotonic()
            noticed_by = copy.with_change(mutation.file, mutation.source, tests, timeout=LONGEST)
            seconds = time.monotonic() - began
            if noticed_by is None or not noticed_by.startswith("unit/") or copy.run([noticed_by])[0] is None:
                return Outcome(mutation, noticed_by, seconds)
            print(f"fails on unchanged code, and is left out: {noticed_by}", file=sys.stderr, flush=True)
            tests.append(f"--deselect=tests/{noticed_by}")


@contextmanager
def _borrowed(copies):
    copy = copies.get()
    try:
        yield copy
    finally:
        copies.put(copy)


def report(outcomes):
    """Print a table of outcomes as they come; returns the exit status: 0 if enough of them were noticed, else 1."""
    found = []
    for outcome in outcomes:
        found.append(outcome)
        file, function, line, change, _ = outcome.mutation
        noticed_by = (outcome.noticed_by or "NOTHING").rpartition("/")[2]
        print(f"| {file}:{line} {function} | `{change}` | {noticed_by} | {outcome.seconds:.0f} |", flush=True)
    noticed = sum(outcome.noticed_by is not None for outcome in found)
    print(f"\n{len(found)} changes, {noticed} of them noticed")
    return 0 if noticed >= ENOUGH * len(found) else 1


def _places(module):
    """Yield (function, node, new code) for all that can be changed in a module."""
    for name, node in tree.named(module, ""):
        match node:
            case ast.FunctionDef():
                for statement in node.body:
                    yield from ((name, *change) for change in _changes(statement))
            case ast.Assign(value=ast.Constant(int(value) | float(value))) if type(value) is not bool:
                # One more of a limit or a time is no mistake; another unit is.
                yield name, node.value, str(value * 10 or 1)
            case ast.Assign() | ast.AnnAssign() if node.value is not None:
                yield from ((name, *change) for change in _changes(node.value))


def _changes(node):
    """Yield (node, new code) for all that can be changed in a statement or an expression."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom | ast.JoinedStr):
        return
    if _is_for_people(node):
        return
    yield from _changes_here(node)
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _changes(child)


def _is_for_people(node):
    """Tell whether a node is a docstring, or a call that only logs."""
    if not isinstance(node, ast.Expr):
        return False
    call = node.value
    if isinstance(call, ast.Constant):
        return True
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _LOGGED


def _changes_here(node):
    yield from _changed_expression(node)
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp):
                yield test, f"(not {ast.unparse(test)})"
        case ast.Return(value) if value is not None and not (isinstance(value, ast.Constant) and value.value is None):
            yield node, "return None"
        case ast.Expr(ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            yield node, "pass"


def _changed_expression(node):
    match node:
        case ast.Compare(left, [operator], [right]) if type(operator) in _COMPARISONS:
            yield node, f"{ast.unparse(left)} {_COMPARISONS[type(operator)]} {ast.unparse(right)}"
        case ast.BoolOp(operator, values):
            other = " or " if isinstance(operator, ast.And) else " and "
            yield node, f"({other.join(f'({ast.unparse(value)})' for value in values)})"
        case ast.UnaryOp(ast.Not(), operand):
            yield node, f"bool({ast.unparse(operand)})"
        case ast.BinOp(left, operator, right) if type(operator) in _ARITHMETIC and not {left, right} & _texts(node):
            yield node, f"({ast.unparse(left)} {_ARITHMETIC[type(operator)]} {ast.unparse(right)})"
        case ast.Constant(bool(value)):
            yield node, str(not value)
        case ast.Constant(int(value) | float(value)):
            yield node, str(value + 1)


def _texts(node):
    return {
        side
        for side in (node.left, node.right)
        if isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
    }
