"""The benchmarks' own workings: what they measure is for people to run, and not for tests that take time."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
STORED = json.loads((BENCH / "ratios.json").read_text(encoding="utf-8"))


def run(*command):
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def compare(tmp_path):
    """Compare the stored figures with others; returns the exit status and the lines said."""

    def do(figures):
        table = tmp_path / "table.json"
        table.write_text(json.dumps(figures))
        done = run(BENCH / "compare", "--table", table)
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    return do


def test_figures_as_they_were_are_not_worse(compare):
    assert compare(STORED) == (0, [f"{len(STORED)} figures, 0 of them worse than stored"])


def test_a_figure_that_grew_by_a_quarter_is_named(compare):
    name, value = next((name, value) for name, value in STORED.items() if value)
    status, (line, _) = compare(STORED | {name: value * 1.25})
    assert status == 1
    assert line.startswith(f"worse: {name}: ")


def test_a_process_costs_what_the_kernel_says_of_it(tmp_path):
    script = (
        "import benchmark; cost = benchmark.cost('-c', 'x = bytearray(range(250)) * 200_000');"
        " base = benchmark.cost('-c', 'pass'); print(cost.cpu > 0, 40 < cost.peak - base.peak < 60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=BENCH, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("True True\n", "")


def test_every_benchmark_of_the_table_has_rows(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("table", BENCH / "table.py")
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    for name in table.BENCHES:
        source = (BENCH / f"{name}.py").read_text(encoding="utf-8")
        assert "def rows(" in source
        assert f"python tests/bench/{name}.py" in source
