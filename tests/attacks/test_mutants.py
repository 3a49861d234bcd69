"""Takes each guard of the promise away in turn: a fsync, a receipt's comparison, a state's guard. A test has to notice.

A test run sees that the list of guards is no staler than the code. The long run takes a quarter of an hour:

    STICKY_PI_MUTANTS=1 tests/run -k mutants

`python -m mutants WORD`, with tests/support and daemon on the path, takes away those with a word in their name.
"""

import ast
import os
import sys
from collections import Counter, defaultdict

import pytest
from mutants import ROOT, Copy, located
from mutants.guards import GUARDS

IS_LONG = bool(os.environ.get("STICKY_PI_MUTANTS"))
TESTS = sorted({test for guard in GUARDS for test in guard.tests})


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_each_guard_is_in_the_code_and_without_it_the_code_is_still_python(guard):
    file, source = guard.applied(ROOT)
    compile(source, file, "exec")


@pytest.mark.parametrize("test", TESTS)
def test_what_is_to_notice_is_there(test):
    (found,) = located([test])
    assert (ROOT / "tests" / found.partition("::")[0]).is_file()


def test_each_guard_has_a_name_of_its_own():
    assert [name for name, count in Counter(guard.name for guard in GUARDS).items() if count > 1] == []


def test_every_flush_in_the_code_is_a_guard():
    guarded = defaultdict(Counter)
    for guard in GUARDS:
        file, source = guard.applied(ROOT)
        guarded[file, guard.place] |= _flushes(file.read_text("utf-8")) - _flushes(source)
    unguarded = {}
    for file in (ROOT / "daemon").rglob("*.py"):
        taken = sum((flushes for (guarded_file, _), flushes in guarded.items() if guarded_file == file), Counter())
        unguarded |= {str(file): left for left in [_flushes(file.read_text("utf-8")) - taken] if left}
    assert unguarded == {}


def _flushes(source):
    """Count the calls that flush to the disk, by their text; a stream's own `flush()` takes no argument."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return Counter(ast.unparse(call) for call in calls if _is_flush(call))


def _is_flush(call):
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in ("fsync", "fdatasync", "sync_folder") or (name == "flush" and bool(call.args))


@pytest.mark.skipif(not IS_LONG, reason="a long run: STICKY_PI_MUTANTS=1 takes the guards away")
def test_a_test_misses_each_guard(tmp_path):
    copy = Copy(tmp_path)
    failed, said = copy.run(located(TESTS), timeout=3600)
    assert failed is None, said
    results = [copy.without(guard) for guard in GUARDS]
    for result in results:
        print(f"{result.guard.name}: {result.noticed_by}, {result.seconds:.0f} s", file=sys.stderr)
    assert [result.guard.name for result in results if result.noticed_by is None] == []
