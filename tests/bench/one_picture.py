"""What a `drain` of one new picture costs, into a store and to an HTTPS server: what a trap wakes up for.

    python tests/bench/one_picture.py

The whole process, against `plain_script.py`, and into a store also against `lean_script.py`; the store, or the state
folder, has its tables already.
"""

from functools import partial
from itertools import count

from benchmark import HERE, ROUNDS, Row, cost, cpu, in_turns, main, memory, ratio, uploader
from https_server import PASSWORD, https_server
from pictures import file_name, full_size, put

PLAIN, LEAN = HERE / "plain_script.py", HERE / "lean_script.py"


def rows(folder):
    for generation in (2020, 2022):
        yield from _to_a_store(folder / f"store-{generation}", generation)
    for generation in (2020, 2022):
        yield from _to_a_server(folder / f"server-{generation}", generation)


def _to_a_store(folder, generation):
    images, numbers = folder / "images", count()
    drain = partial(uploader, "drain", "--image-dir", images, "--api-url", f"file://{folder}/store")
    _prepare(folder, images, drain)
    plain, lean, ours = in_turns(
        partial(_script_with_one, PLAIN, folder, numbers, generation),
        partial(_script_with_one, LEAN, folder, numbers, generation),
        partial(_drain_one, images, numbers, generation, drain),
    )
    name = f"drain, one {generation} picture to a store"
    yield Row(f"{name}: CPU", ratio(cpu(ours), cpu(plain)), 0.8, "×", "plain_script.py, to a folder")
    yield Row(f"{name}: CPU, against a leaner script", ratio(cpu(ours), cpu(lean)), 0.8, "×", "lean_script.py")


def _to_a_server(folder, generation):
    images, numbers = folder / "images", count()
    folder.mkdir()
    with https_server(folder) as server:
        flags = server.flags(folder / "config.toml")
        drain = partial(uploader, "drain", "--image-dir", images, *flags, **PASSWORD)
        _prepare(folder, images, drain)
        plain, ours = in_turns(
            partial(_script_with_one, PLAIN, folder, numbers, generation, server.front.url, server.ca_file),
            partial(_drain_one, images, numbers, generation, drain),
            rounds=ROUNDS * 2 // 3,
        )
    name = f"drain, one {generation} picture to HTTPS"
    yield Row(f"{name}: CPU", ratio(cpu(ours), cpu(plain)), 0.9, "×", "plain_script.py, with requests.post")
    yield Row(f"{name}: peak memory", memory(ours), 50, "MiB", "of the whole process")


def _prepare(folder, images, drain):
    images.mkdir(parents=True, exist_ok=True)
    (folder / "plain").mkdir()
    drain()


def _script_with_one(script, folder, numbers, generation, *url):
    path = folder / "plain" / file_name(next(numbers))
    path.write_bytes(full_size(generation))
    return cost(script, path, folder / "plain" / "sent", *url)


def _drain_one(images, numbers, generation, drain):
    put(images, next(numbers), full_size(generation))
    return drain()


if __name__ == "__main__":
    main(rows, __doc__)
