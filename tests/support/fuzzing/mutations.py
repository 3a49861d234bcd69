"""Mutates bytes and values as fuzzers do: some random steps from something real towards anything at all."""

import copy

INTERESTING = (0, 1, 2, 3, 4, 7, 8, 16, 32, 64, 100, 127, 128, 255, 256, 512, 1000, 1024, 4096, 32767, 32768, 65535)
_LARGE = (65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
_MOST_STEPS = 6
_LONGEST_RUN = 200


def mutate(random, blob, tokens=()):
    """Return bytes that are some steps away from `blob`; `tokens` are bytes that mean something in its format."""
    changed = bytearray(blob)
    for _ in range(random.randint(1, random.choice((1, 2, _MOST_STEPS)))):
        random.choice(_STEPS)(random, changed, tokens)
    return bytes(changed)


def mutate_text(random, text, tokens=()):
    """Return text that is some steps away from `text`."""
    mutated = mutate(random, text.encode("utf-8", "surrogateescape"), [token.encode() for token in tokens])
    return mutated.decode("utf-8", random.choice(("surrogateescape", "replace")))


def mutate_value(random, value):
    """Return a JSON value of which some parts are others than in `value`."""
    changed = [copy.deepcopy(value)]
    for _ in range(random.randint(1, 3)):
        holder, key = random.choice(list(_places(changed)))
        _change_part(random, holder, key)
        if not changed:
            return None
    return changed[0]


def anything(random, depth=0):
    """Return any value that JSON has."""
    kind = random.randrange(9 if depth < 3 else 7)
    if kind == 0:
        return random.choice((None, True, False))
    if kind == 1:
        return random.choice((-1, 1)) * random.choice(INTERESTING + _LARGE + (10**30,))
    if kind == 2:
        return random.choice((0.0, -0.0, 1.5, 1e308, -1e308, 5e-324, float("inf"), float("nan"), 1652811355.5))
    if kind < 7:
        return (
            random.choice(_TEXTS) if random.random() < 0.6 else random.randbytes(random.randrange(40)).decode("latin-1")
        )
    if kind == 7:
        return [anything(random, depth + 1) for _ in range(random.randrange(4))]
    return {random.choice(_TEXTS): anything(random, depth + 1) for _ in range(random.randrange(4))}


_TEXTS = (
    *(
        "",
        " ",
        "\0",
        "\n",
        "\x1b[2J",
        "é",
        "\ud800",
        "\U0001f98b",
        "a" * 300,
        "%s%n",
        "../../etc/passwd",
        "'; --",
        "{}",
    ),
    *"5c173ff2 5C173FF2 0 -1 1e999 nan NULL true None 2020-06-20_20-19-15 2020-06-20T20:19:15Z".split(),
    *"0000-00-00_00-00-00 9999-12-31T23:59:59Z 2020-02-30_00-00-00 device datetime md5 url token http://127.0.0.1:1/x".split(),
    *("file:///etc/passwd", "d41d8cd98f00b204e9800998ecf8427e"),
)


def _places(value):
    """Yield every place in a value that holds a part of it."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in list(inside):
        yield value, key
        if isinstance(part, dict | list):
            yield from _places(part)


def _change_part(random, holder, key):
    if key not in (holder if isinstance(holder, dict) else range(len(holder))):
        return  # went with an earlier step
    step = random.randrange(5)
    if step == 0:
        del holder[key]
    elif step == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif step == 2:
        holder[key] = [holder[key]]
    else:
        holder[key] = anything(random)


def _place(random, changed):
    return random.randrange(len(changed) + 1)


def _run(random, changed):
    start = _place(random, changed)
    return slice(start, start + random.randint(1, random.choice((1, 4, _LONGEST_RUN))))


def _flip_bit(random, changed, _):
    if changed:
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)


def _set_byte(random, changed, _):
    if changed:
        changed[random.randrange(len(changed))] = random.randrange(256)


def _set_number(random, changed, _):
    width = random.choice((1, 2, 4, 8))
    number = random.choice(INTERESTING + _LARGE) % 256**width
    start = _place(random, changed)
    changed[start : start + width] = number.to_bytes(width, random.choice(("big", "little")))


def _add(random, changed, _):
    if changed:
        place = random.randrange(len(changed))
        changed[place] = (changed[place] + random.randint(-9, 9)) % 256


def _delete(random, changed, _):
    del changed[_run(random, changed)]


def _insert(random, changed, _):
    start = _place(random, changed)
    changed[start:start] = random.randbytes(random.randint(1, 16))


def _duplicate(random, changed, _):
    run, start = _run(random, changed), _place(random, changed)
    changed[start:start] = changed[run]


def _overwrite(random, changed, _):
    piece, start = changed[_run(random, changed)], _place(random, changed)
    changed[start : start + len(piece)] = piece


def _zero(random, changed, _):
    run = _run(random, changed)
    changed[run] = bytes(len(changed[run]))


def _truncate(random, changed, _):
    if random.random() < 0.3:
        del changed[_place(random, changed) :]


def _put_token(random, changed, tokens):
    if tokens:
        start, token = _place(random, changed), random.choice(tokens)
        changed[start : start + random.choice((0, len(token)))] = token


def _replace_token(random, changed, tokens):
    there = [token for token in tokens if token in changed]
    if there:
        old, new = random.choice(there), random.choice(tokens)
        changed[:] = changed.replace(old, new, random.choice((1, -1)))


_STEPS = (
    *(_flip_bit, _set_byte, _set_number, _add, _delete, _insert, _duplicate, _overwrite, _zero, _truncate),
    *(_put_token, _put_token, _replace_token),
)
