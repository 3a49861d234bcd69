"""The client library's reference lists every published name, and each is there with its arguments."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "daemon" / "sticky_pi_api" / "REFERENCE.md").read_text(encoding="utf-8")
SEEDS = ROOT.parent / "shared" / "seeds"


def listed():
    """Yield each name of the page, in full, and its arguments, None where it has no parentheses."""
    for section in PAGE.split("\n## ")[1:]:
        module = section.split("\n", 1)[0].strip()
        for name, call, arguments in re.findall(r"^\| `([\w.]+)(\((.*?)\))?` \|", section, flags=re.MULTILINE):
            yield f"{module}.{name}", arguments if call else None


def published():
    """Yield the same of the published reference's text."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(SEEDS.glob("*.txt")))
    owner = ""
    for line in text.splitlines():
        if found := re.fullmatch(r"(class )?([\w.]+)(\((.*)\))?\[source\]", line.strip()):
            is_class, name, has_arguments, arguments = found.groups()
            owner = name if is_class else owner
            full = name if name.startswith("sticky_pi_api.") else f"{owner}.{name}"
            yield full, arguments if has_arguments else None
        elif found := re.fullmatch(r"property (\w+)(\[source\])?", line.strip()):
            yield f"{owner}.{found[1]}", None


def parameters(arguments):
    """Return the parameters of a signature's text: kind, name and default of each."""
    parsed = ast.parse(f"def function({arguments}): pass").body[0]
    module = ast.Module([parsed], [])
    namespace = {}
    exec(compile(module, "reference", "exec"), namespace)
    return [described(one) for one in inspect.signature(namespace["function"]).parameters.values()]


def described(parameter):
    # What *args and **kwargs are called is nobody's business.
    is_open = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.kind, "" if is_open else parameter.name, parameter.default


def find(full):
    """Return what a name leads to, and whether it is called on an instance."""
    package, module, *names = full.split(".")
    found = import_module(f"{package}.{module}")
    for name in names[:-1]:
        found = getattr(found, name)
    if inspect.isclass(found) and isinstance(one := inspect.getattr_static(found, names[-1]), property):
        return one, False
    is_method = inspect.isclass(found) and inspect.isfunction(getattr(found, names[-1]))
    return getattr(found, names[-1]), is_method


@pytest.mark.parametrize(("name", "arguments"), list(listed()), ids=[name for name, _ in listed()])
def test_a_name_of_the_reference_is_there_with_its_arguments(name, arguments):
    there, is_method = find(name)
    if arguments is None:
        assert isinstance(there, property) or inspect.isclass(there)
        return
    ours = [described(one) for one in inspect.signature(there).parameters.values()][is_method:]
    wanted = parameters(arguments)
    more = [one for one in ours if one not in wanted]
    assert [one for one in ours if one in wanted] == wanted
    assert {kind for kind, _, _ in more} <= {inspect.Parameter.KEYWORD_ONLY}


def test_the_reference_lists_every_published_name_with_its_arguments():
    if not SEEDS.is_dir():
        pytest.skip(f"the published reference's text is not in {SEEDS}")
    names = list(published())
    assert len(names) > 40
    ours = [(name, arguments and parameters(arguments)) for name, arguments in listed()]
    assert [name for name, arguments in names if (name, arguments and parameters(arguments)) not in ours] == []
