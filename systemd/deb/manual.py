"""Writes the man page sticky-pi-uploader(8) from what the program's own --help is made of."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Final

from sticky_pi_uploader.cli.arguments import EXIT_STATUSES
from sticky_pi_uploader.config.schema import SCHEMA
from syntax import Argument, Verb, main_flags, verbs

NAME: Final = "sticky-pi-uploader"

FILES: Final = (
    ("/etc/sticky-pi-uploader/config.toml", "the configuration, with every key and its default"),
    ("/etc/credstore/sticky-pi-uploader.api-password", "the account's password for the service, if it is there"),
)
_MEANINGS: Final = {
    "api.url": "as [api] url in the configuration file; SPI_API_HOSTNAME is a host, for https://host",
    "api.password_file": "the password itself, in place of the file that [api] password_file names",
}
"""What variables mean, where it isn't what their keys do"""

UNITS: Final = (
    ("sticky-pi-uploader.service", "`run`, from the boot on"),
    ("sticky-pi-uploader-drain.service", "one `drain`, for a trap that wakes for a minute"),
    ("sticky-pi-uploader-drain.timer", "starts that after the boot and now and then; not enabled by default"),
)


def page(version: str, when: int, examples: str = "/usr/share/doc/sticky-pi-uploader/examples") -> str:
    """Return the page in roff; `when` is its Unix time, `examples` the folder of the drop-ins."""
    return "\n".join(_lines(version, when, examples)) + "\n"


def _lines(version: str, when: int, examples: str) -> Iterator[str]:
    date = time.strftime("%Y-%m-%d", time.gmtime(when))
    yield f'.TH {NAME.upper()} 8 {date} "{NAME} {version}" "System administration"'
    # Nothing here is prose that would gain from it, and names stay whole.
    yield from (".nh", ".ad l")
    yield from (".SH NAME", rf"{_text(NAME)} \- gets every picture of a Sticky Pi trap off its card")
    yield ".SH SYNOPSIS"
    yield rf".B {_text(NAME)}"
    yield r"[\fIOPTION\fR]... \fICOMMAND\fR [\fIARGUMENT\fR]..."
    yield ".SH DESCRIPTION"
    yield _text(
        "Watches the folder into which the camera of a Sticky Pi trap writes, checks each picture, remembers it in a "
        "small database, and sends it, as often as it takes, to the project's server or to a store on another disk."
    )
    yield ".SH COMMANDS"
    for verb in verbs():
        yield from _verb(verb)
    yield ".PP"
    yield _text("A command that root runs on another user's state folder reads the configuration and the password as ")
    yield _text("root, and works as that user from then on.")
    yield ".SH OPTIONS"
    yield _text("All but --version are accepted before and after any command. They win over the environment, which ")
    yield _text("wins over the configuration file.")
    for argument in main_flags():
        yield from _item(_synopsis(argument), argument.help)
    yield ".SH CONFIGURATION"
    for key in SCHEMA:
        default = key.default_means or str(key.default).replace("False", "false")
        yield from _item(_bold(str(key)), f"{key.help} (default: {default})")
    yield ".SH ENVIRONMENT"
    for key in SCHEMA:
        if key.environment:
            meaning = _MEANINGS.get(key.name, f"as {key} in the configuration file")
            yield from _item(", ".join(map(_bold, key.environment)), meaning)
    yield ".SH EXIT STATUS"
    for line in EXIT_STATUSES.splitlines()[1:]:
        status, _, meaning = line.strip().partition(" ")
        yield from _item(_bold(status), meaning.strip())
    drop_ins = (examples, "drop-ins for the service: other folders, an encrypted password")
    for heading, table in (("UNITS", UNITS), ("FILES", (*FILES, drop_ins))):
        yield f".SH {heading}"
        for name, meaning in table:
            yield from _item(_bold(name), meaning)
    yield ".SH EXAMPLES"
    for verb in verbs():
        yield from _item(_bold(f"{NAME} {verb.example}"), verb.summary)
    yield from (".SH SEE ALSO", ".BR systemctl (1),", ".BR journalctl (1),", ".BR systemd.unit (5)")


def _verb(verb: Verb) -> Iterator[str]:
    written = [_bold(verb.name)]
    for argument in verb.own:
        # One that is known by its place is repeated within its brackets, a flag with its value as a whole.
        places = "..." * (argument.repeats and not argument.flags)
        synopsis = _synopsis(argument) + places
        synopsis = f"[{synopsis}]" if argument.optional else synopsis
        written.append(synopsis + "..." * (argument.repeats and bool(argument.flags)))
    yield from _item(" ".join(written), verb.summary)
    if verb.own:
        yield ".RS"
        for argument in verb.own:
            yield from _item(_synopsis(argument), argument.help)
        yield ".RE"


def _item(tag: str, text: str) -> Iterator[str]:
    yield from (".TP", tag, _text(text[:1].upper() + text[1:] + "."))


def _synopsis(argument: Argument) -> str:
    flags = ", ".join(map(_bold, argument.flags))
    return " ".join(filter(None, [flags, argument.metavar and rf"\fI{_text(argument.metavar)}\fR"]))


def _bold(text: str) -> str:
    return rf"\fB{_text(text)}\fR"


def _text(text: str) -> str:
    """Escape what roff would take for its own; words in `backticks` become bold."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return re.sub("`([^`]+)`", r"\\fB\1\\fR", escaped)
