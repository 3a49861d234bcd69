"""What a `drain` with nothing to do costs: the price of a trap that wakes up and finds nothing new.

    python tests/bench/cold_start.py

The whole process, against a Python that does nothing at all.
"""

from benchmark import ROUNDS, Row, cost, cpu, in_turns, main, memory, ratio, uploader


def rows(folder):
    images = folder / "images"
    images.mkdir()
    idle, drain = in_turns(
        lambda: cost("-c", "pass"),
        lambda: uploader("drain", "--image-dir", images),
        rounds=2 * ROUNDS,
    )
    yield Row("drain, nothing to do: CPU", ratio(cpu(drain), cpu(idle)), 5, "×", "python3 -c pass")
    yield Row("drain, nothing to do: peak memory", memory(drain) - memory(idle), 14, "MiB", "over python3 -c pass")


if __name__ == "__main__":
    main(rows, __doc__)
