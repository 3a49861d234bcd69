"""Takes each guard of the promise away in turn: a fsync, a receipt's comparison, a state's guard. A test has to notice.

A test run sees that the list of guards is no staler than the code. The long run takes a quarter of an hour:

    STICKY_PI_MUTANTS=1 tests/run -k mutants

`python -m mutants WORD`, with tests/support and daemon on the path, takes away those with a word in their name.
"""

import os
import re
import sys
from collections import Counter

import pytest
from mutants import ROOT, Copy
from mutants.guards import GUARDS

IS_LONG = bool(os.environ.get("STICKY_PI_MUTANTS"))
TESTS = sorted({test for guard in GUARDS for test in guard.tests})


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_each_guard_is_in_the_code_and_without_it_the_code_is_still_python(guard):
    compile(guard.applied(ROOT), guard.file, "exec")


@pytest.mark.parametrize("test", TESTS)
def test_what_is_to_notice_is_there(test):
    file, _, name = test.partition("::")
    source = (ROOT / "tests" / file).read_text("utf-8")
    assert f"\ndef {name or 'test_'}" in source


def test_each_guard_has_a_name_of_its_own():
    assert [name for name, count in Counter(guard.name for guard in GUARDS).items() if count > 1] == []


def test_every_flush_in_the_code_is_a_guard():
    call = re.compile(
        r"^ +(?!def |\s).*\b(?:flush\(\w|sync_folder\(|entries\.flush\(|os\.f(?:data)?sync\()", re.MULTILINE
    )
    unguarded = {}
    for path in (ROOT / "daemon").rglob("*.py"):
        source = path.read_text("utf-8")
        for guard in GUARDS:
            if ROOT / "daemon" / guard.file == path:
                source = source.replace(guard.text, "")
        unguarded |= {str(path): calls for calls in [call.findall(source)] if calls}
    assert unguarded == {}


@pytest.mark.skipif(not IS_LONG, reason="a long run: STICKY_PI_MUTANTS=1 takes the guards away")
def test_a_test_misses_each_guard(tmp_path):
    copy = Copy(tmp_path)
    failed, said = copy.run(TESTS, timeout=3600)
    assert failed is None, said
    results = [copy.without(guard) for guard in GUARDS]
    for result in results:
        print(f"{result.guard.name}: {result.noticed_by}, {result.seconds:.0f} s", file=sys.stderr)
    assert [result.guard.name for result in results if result.noticed_by is None] == []
