"""Mutated configurations: each is understood, or every problem in it is said at once, without the password."""

import json
import os
import tomllib

from sticky_pi_uploader.config import load
from sticky_pi_uploader.config.schema import SCHEMA
from sticky_pi_uploader.config.toml import as_toml
from sticky_pi_uploader.exceptions import ConfigError

from . import commands
from .mutations import mutate, mutate_text

PASSWORD = "Pollen-4711"
_GOOD = {
    "image_dir": ["/sticky_pi_data", "/a b/ü", "/x/../y"],
    "state_dir": ["/var/lib/spi", "/sticky_pi_data/.state"],
    "scan_interval": [1, 600, 86400],
    "picture_interval": [1, 1200],
    "api.url": [
        "https://example.org",
        "https://[2001:db8::1]:8443",
        "file:///mnt/store",
        "http://127.0.0.1:8080",
        "file:///%FF",
    ],
    "api.username": ["trap", "trap@example.org", "ü ü"],
    "api.password_file": ["/dev/null", "/nonexistent", "/etc"],
    "api.ca_file": ["/etc/ssl/ca.pem"],
    "api.allow_http": [True, False],
    "api.parallel": [1, 32],
    "api.max_rate": [1000, "50 kB", "1 MiB"],
    "api.give_up_after": [1, 5],
    "api.order": ["auto", "newest", "spread"],
    "retention.keep_days": [0, 14],
    "retention.min_free": ["15 %", "500 MB", 0, "99.9 %"],
    "retention.also_remove": [[], ["suspect", "rejected"]],
    "retention.keep_record_days": [1, 400],
    "hold.hours": [[], ["10:00-16:00"], ["22:00-04:00", "00:00-24:00"]],
    "hold.battery_below": [1, 100],
}
_BAD = {
    "image_dir": ["", "relative", 1, True, [], {}],
    "scan_interval": [0, 86401, 1.5, "600", True],
    "picture_interval": [0, -1, "20 min"],
    "api.username": ["", "a:b", 7, "a\u0007b"],
    "api.ca_file": ["ca.pem", ""],
    "api.parallel": [0, 33, "4"],
    "api.max_rate": [999, "50", "1 parsec", -1],
    "api.give_up_after": [0, 1001],
    "api.order": ["", "oldest", ["spread"], 1, True],
    "retention.keep_days": [-1, "14", 36501],
    "retention.min_free": ["100 %", "15", "lots", -1],
    "retention.also_remove": ["suspect", ["pending"], [1]],
    "retention.keep_record_days": [0, "400 days"],
    "hold.hours": ["10:00-16:00", ["10:00-10:00"], ["25:00-26:00"], [1], 7],
    "hold.battery_below": [0, 101, "30 %", True],
}
_TOKENS = [
    *"\" ' \"\"\" ''' [ ] [[ { } = # , . \\u0000 \\UFFFFFFFF \\e 0x 1e999 inf -nan 1979-05-27T07:32:00Z true".split(),
    *"[hold] hours -24:00".split(),
    *"[api] [retention] image_dir state_dir api.url url username password password_file min_free keep_days".split(),
    *"null % kB file:// https:// http:// @ : ? %ZZ %00 .. ~".split(),
    *("\n", "\r", "\t", "\ufeff", "\x7f", "é", "9" * 30, "9" * 5000, "[" * 50, "a." * 400),
]
_VARIABLES = [name for key in SCHEMA for name in key.environment] + ["CREDENTIALS_DIRECTORY"]


class Target:
    """The configuration's readers, and the command that prints it."""

    def __init__(self, folder):
        self._file = os.fspath(folder / "config.toml")

    def close(self):
        """Nothing is held."""

    def try_one(self, random):
        if random.random() < 0.15:
            return self._try_many_problems(random)
        values = {name: random.choice(_GOOD[name]) for name in random.sample(sorted(_GOOD), random.randrange(10))}
        text = _toml(random, values)
        blob = mutate(random, text.encode(), [token.encode() for token in (*_TOKENS,)] + [b"\xff", b"\0"])
        self._write(blob if random.random() < 0.8 else text.encode())
        environ, flags = _environment(random), _flags(random)
        try:
            config = load(flags, environ, self._file, check_secrets=random.random() < 0.5)
        except ConfigError as error:
            _check_problems(error.problems)
            end = "refused"
        else:
            self._read_back(config)
            end = "understood"
        self._show(random, environ, end)
        return end

    def _try_many_problems(self, random):
        """Each of several wrong values is named, whatever else is wrong."""
        wrong = {name: random.choice(_BAD[name]) for name in random.sample(sorted(_BAD), random.randint(2, 6))}
        self._write(_toml(random, wrong).encode())
        problems = []
        load({}, {}, self._file, problems=problems)
        _check_problems(problems)
        for key in SCHEMA:
            if key.name in wrong:
                assert [str(key) in problem for problem in problems].count(True) == 1, (key.name, problems)
        assert len(problems) == len(wrong), problems
        return "refused for several reasons"

    def _show(self, random, environ, end):
        """See now and then that the commands say the same."""
        if random.random() < 0.02:
            done = commands.run(
                "--config", self._file, random.choice(("config", "check")), environ=_without_nul(environ)
            )
            assert PASSWORD not in done.out + done.err
            assert end != "refused" or done.status in (0, 1, 78), done

    def _read_back(self, config):
        """See that the configuration in force, written down, gives itself."""
        text = as_toml(config)
        assert PASSWORD not in text + repr(config)
        tomllib.loads(text)
        if "which a file can't say" in text:
            return
        self._write(text.encode())
        again = load({}, {}, self._file)
        assert as_toml(again).splitlines()[1:] == [line for line in text.splitlines()[1:] if "# password =" not in line]

    def _write(self, blob):
        with open(self._file, "wb") as file:
            file.write(blob)


def _check_problems(problems):
    assert problems
    for problem in problems:
        assert PASSWORD not in problem
        assert "\n" not in problem, problem


def _toml(random, values):
    """Write values by their key, in sections or with dotted names."""
    lines, sections = [], {"": []}
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        line = f"{key} = {_literal(value)}"
        if section and random.random() < 0.1 and section not in sections:
            lines.append(f"{name} = {_literal(value)}")
            sections[section] = None
        elif (kept := sections.setdefault(section, [])) is not None:
            kept.append(line)
        else:
            lines.append(f"{name} = {_literal(value)}")
    for section, kept in sections.items():
        if kept:
            lines = [*kept, *lines] if not section else [*lines, f"[{section}]", *kept]
    return "\n".join(lines) + "\n"


def _literal(value):
    if isinstance(value, dict):
        return "{ a = 1 }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _environment(random):
    environ = {}
    for name in random.sample(_VARIABLES, random.choice((0, 0, 1, 3))):
        environ[name] = mutate_text(
            random, random.choice(("/a", "https://example.org", "trap", "example.org:8443")), _TOKENS
        )
    if random.random() < 0.3:
        environ["SPI_API_PASSWORD"] = PASSWORD
    return environ


def _flags(random):
    names = [key.name for key in SCHEMA if key.flag]
    chosen = random.sample(names, random.choice((0, 0, 1, 2)))
    return {name: mutate_text(random, random.choice(("/a", "a/b", "https://h:1", "trap")), _TOKENS) for name in chosen}


def _without_nul(environ):
    """Return what an environment can hold."""
    return {name: value.replace("\0", "") for name, value in environ.items()}
