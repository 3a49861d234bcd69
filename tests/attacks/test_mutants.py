"""Change the code, one place at a time: a test has to notice.

Each guard of the promise is taken away in turn: a fsync, a receipt's comparison, a state's guard. And places that are
chosen at random are changed. A test run sees that the list of guards is no staler than the code. The long runs take a
quarter of an hour, and up to four hours:

    STICKY_PI_MUTANTS=1 tests/run -k mutants
    STICKY_PI_CHANCE=200 tests/run -k mutants -s

`python -m mutants`, with tests/support and daemon on the path, takes away some guards, or makes some random changes.
"""

import ast
import os
import sys
from collections import Counter, defaultdict

import pytest
from mutants import ROOT, Copy, chance, located
from mutants.guards import GUARDS

IS_LONG = bool(os.environ.get("STICKY_PI_MUTANTS"))
CHANCE = int(os.environ.get("STICKY_PI_CHANCE") or 0)
SEED = int(os.environ.get("STICKY_PI_SEED") or 7)
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


@pytest.fixture(scope="module")
def changes():
    """Return some changes by chance."""
    return list(chance.mutations(ROOT / "daemon", 100, SEED))


def test_each_change_by_chance_leaves_the_code_python_and_is_a_change(changes):
    for change in changes:
        code = compile(change.source, change.file, "exec", ast.PyCF_ONLY_AST)
        assert ast.dump(code) != ast.dump(ast.parse((ROOT / "daemon" / change.file).read_text("utf-8"))), change.change


def test_changes_follow_from_the_seed_alone(changes):
    assert list(chance.mutations(ROOT / "daemon", 100, SEED)) == changes
    assert list(chance.mutations(ROOT / "daemon", 100, SEED + 1)) != changes


def test_each_change_has_the_own_tests_its_own_folder(changes):
    for change in changes:
        tests = chance.own_tests(change.file)
        assert tests, change.file
        assert all((ROOT / "tests" / test).exists() for test in tests), change.file
    audit = chance.own_tests("sticky_pi_uploader/cli/commands/pictures/audit.py")
    assert audit[0] == "unit/sticky_pi_uploader/cli/commands/pictures/test_audit.py"
    ends = ("", "/checks", "/commands", "/commands/pictures", "/commands/service", "/output")
    assert {os.path.dirname(test) for test in audit} == {f"unit/sticky_pi_uploader/cli{end}" for end in ends}
    assert chance.own_tests("sticky_pi_api/validation/users.py") == (
        "unit/sticky_pi_api/validation/test_validation.py",
    )
    assert "unit/sticky_pi_uploader/test_clock.py" in chance.own_tests("sticky_pi_uploader/clock.py")


CODE = """
LIMIT = 30
TEXT = "3"

def answer(box, size: int = 7):
    'Docstring 3.'
    log.info("box %s", 3)
    if box and not size < 3:
        return f"put {box + 1}"
    box.close()
"""


def test_what_matters_is_changed_and_what_is_for_people_is_not(tmp_path):
    (tmp_path / "box.py").write_text(CODE, "utf-8")
    assert sorted(change.change for change in chance.mutations(tmp_path, 1000, SEED)) == [
        "3 → 4",
        "30 → 300",
        "box and not size < 3 → ((box) or (not size < 3))",
        "box.close() → pass",
        "not size < 3 → bool(size < 3)",
        'return f"put {box + 1}" → return None',
        "size < 3 → size <= 3",
    ]


@pytest.mark.parametrize(
    ("before", "after", "noticed_by"),
    [
        ("def ", "def ", "None"),
        ("import os", "import no_module_of_this_name", "pytest: exit status"),
        ("return ", "return not ", "unit/sticky_pi_uploader/test_clock.py::"),
        ("import os", "while True: pass", "hung"),
    ],
)
def test_a_change_is_noticed_by_tests_that_fail_hang_or_cannot_start(tmp_path, before, after, noticed_by):
    file = "sticky_pi_uploader/clock.py"
    source = (ROOT / "daemon" / file).read_text("utf-8").replace(before, after)
    longest = 5 if noticed_by == "hung" else 60
    found = Copy(tmp_path).with_change(file, source, ["unit/sticky_pi_uploader/test_clock.py"], timeout=longest)
    assert str(found).startswith(noticed_by)


def test_a_table_tells_whether_enough_changes_were_noticed(changes, capsys):
    noticed = [chance.Outcome(change, "unit/test_box.py::test_it", 1.0) for change in changes[:19]]
    missed = chance.Outcome(changes[19], None, 1.0)
    assert chance.report([*noticed, missed]) == 0
    assert capsys.readouterr().out.endswith("| NOTHING | 1 |\n\n20 changes, 19 of them noticed\n")
    assert chance.report([*noticed[1:], missed]) == 1


@pytest.mark.skipif(not CHANCE, reason="a long run: STICKY_PI_CHANCE=200 changes the code at so many places")
def test_changes_by_chance_are_noticed(tmp_path):
    assert chance.report(chance.run(CHANCE, SEED, tmp_path)) == 0
