"""Writes bash's completion from what the program's own --help is made of."""

from __future__ import annotations

from collections.abc import Iterable
from string import Template
from typing import Final

from sticky_pi_uploader.models import State
from syntax import Argument, main_flags, verbs

_PICTURES: Final = {
    "explain": (),
    "retry": (State.PENDING, State.CONFLICT, State.REJECTED, State.LOST),
    "dismiss": (State.CONFLICT, State.REJECTED, State.LOST),
}
"""The commands whose files are recorded pictures, and the states of the pictures that are offered; none: any"""

_SCRIPT: Final = Template("""\
# bash completion for sticky-pi-uploader; made from the program's own table of arguments

_sticky_pi_uploader() {
    local current=$${COMP_WORDS[COMP_CWORD]} before=$${COMP_WORDS[COMP_CWORD - 1]} command= configuration=() index
    case $$before in
$values
    esac
    # The first word that is a command's name, and not some flag's value; and the flags that say where the pictures are.
    for ((index = 1; index < COMP_CWORD; index++)); do
        case $${COMP_WORDS[index]} in
        $configures)
            configuration+=("$${COMP_WORDS[index]}")
            [ "$${COMP_WORDS[index + 1]}" != = ] || ((++index))
            ((++index))
            configuration+=("$${COMP_WORDS[index]/#\\~/$$HOME}")
            ;;
        $takes_value) ((++index)) ;;
        -*) ;;
        *) command=$${command:-$${COMP_WORDS[index]}} ;;
        esac
    done
    case $$command in
    "") _sticky_pi_uploader_words "$commands $main" ;;
$verbs
    esac
}

_sticky_pi_uploader_words() {
    mapfile -t COMPREPLY < <(compgen -W "$$1" -- "$$current")
}

_sticky_pi_uploader_paths() {
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen "$$1" -- "$$current")
}

# The names of recorded pictures, and files. A line of `list` is a state, a time, and a path with two spaces around it.
_sticky_pi_uploader_pictures() {
    local names
    names=$$("$${COMP_WORDS[0]}" "$${configuration[@]}" list "$$@" 2>/dev/null </dev/null |
        sed -nE 's|^[a-z]+ +[^ ]+ +([^ ]*/)?([[:alnum:]._-]+)(  .*)?$$|\\2|p')
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -W "$$names" -- "$$current"; compgen -f -- "$$current")
}

complete -F _sticky_pi_uploader sticky-pi-uploader
""")


def script() -> str:
    """Return the script."""
    every = [*main_flags(), *(argument for verb in verbs() for argument in verb.own)]
    valued = {flag: argument.metavar for argument in every for flag in argument.flags if argument.metavar}
    configures = [flag for argument in main_flags() for flag in argument.flags if argument.metavar]
    return _SCRIPT.substitute(
        values="\n".join(f"    {flag}) {_value(str(metavar))}; return ;;" for flag, metavar in valued.items()),
        configures=" | ".join(configures),
        takes_value=" | ".join(flag for flag in valued if flag not in configures),
        commands=" ".join(verb.name for verb in verbs()),
        main=_flags(main_flags()),
        verbs="\n".join(_verb(verb.name, verb.own) for verb in verbs()),
    )


def _verb(name: str, own: Iterable[Argument]) -> str:
    flags = _flags([*own, *(argument for argument in main_flags() if argument.flags != ("--version",))])
    places = [argument.metavar for argument in own if not argument.flags]
    if not places:
        return f'    {name}) _sticky_pi_uploader_words "{flags}" ;;'
    return (
        f"    {name})\n"
        "        case $current in\n"
        f'        -*) _sticky_pi_uploader_words "{flags}" ;;\n'
        f"        *) {_place(name, str(places[0]))} ;;\n"
        "        esac\n"
        "        ;;"
    )


def _place(name: str, metavar: str) -> str:
    if name not in _PICTURES:
        return _value(metavar)
    return " ".join(["_sticky_pi_uploader_pictures", *(f"--state {state}" for state in _PICTURES[name])])


def _value(metavar: str) -> str:
    if metavar == "STATE":
        return f'_sticky_pi_uploader_words "{" ".join(State)}"'
    if metavar == "COMMAND":
        return f'_sticky_pi_uploader_words "{" ".join(verb.name for verb in verbs())}"'
    kinds = {"FOLDER": "-d", "FILE": "-f"}
    return f"_sticky_pi_uploader_paths {kinds[metavar]}" if metavar in kinds else "COMPREPLY=()"


def _flags(arguments: Iterable[Argument]) -> str:
    return " ".join(flag for argument in arguments for flag in argument.flags)
