"""Find a piece of code by the function that it stands in and by its syntax, and change it.

A place is the qualified name of a function, class or constant, such as "PictureReader.read" or "BATCH_SIZE", whatever
module it is in. A name that is defined more than once needs the end of its module's name before it:
"remover:Remover.remove".

A piece of code is Python. It matches whatever has the same syntax tree, however that is laid out. In it, `...` stands
for any expression, or, as a statement, for any number of statements; the new code gets them where it has `...`, too.
"""

import ast
import functools
import textwrap
from pathlib import Path
from typing import NamedTuple

_HEADS = {"case ": "match _:\n", "except": "try:\n    pass\n"}
"""What has to stand before a piece that is no statement by itself"""


class Found(NamedTuple):
    """A definition, in the file that has it."""

    file: Path
    node: ast.AST


@functools.cache
def _definitions(file, _changed_at):
    """Return the functions, classes and constants of a file, by their qualified names."""
    found = {}
    for name, node in named(ast.parse(file.read_text("utf-8")), ""):
        found.setdefault(name, []).append(node)
    return found


def locate(root, place):
    """Find a place's definition below a folder of source. Raises ValueError where it isn't defined just once."""
    end, _, name = place.rpartition(":")
    found = [
        Found(file, node)
        for file in sorted(root.rglob("*.py"))
        if not end or f".{_module(root, file)}".endswith(f".{end}")
        for node in _definitions(file, file.stat().st_mtime_ns).get(name, ())
    ]
    if len(found) != 1:
        raise ValueError(f"{place} is defined {len(found)} times, not once")
    return found[0]


def _module(root, file):
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def named(node, prefix):
    """Yield the qualified name and the node of each function, class and constant that is defined in a node."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield prefix + child.name, child
                yield from named(child, f"{prefix}{child.name}.")
            case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
                if isinstance(node, ast.Module | ast.ClassDef):
                    yield prefix + name, child
            case _ if not isinstance(node, ast.Module | ast.ClassDef) or isinstance(child, ast.If | ast.Try | ast.With):
                yield from named(child, prefix)


def changed(source, node, old, new, *, in_text=False):
    """Return a file's source in which a piece of the definition `node` is replaced.

    With `in_text`, the piece is part of a text constant. Raises ValueError where it isn't there just once.
    """
    found = _in_texts(node, old) if in_text else list(_matches(node, *_pattern(old, drop=not new)))
    if len(found) != 1:
        raise ValueError(f"{old!r} is there {len(found)} times, not once")
    if in_text:
        text = ast.get_source_segment(source, found[0])
        if text.count(old) != 1:
            raise ValueError(f"{old!r} is written in another way in the source")
        return replaced(source, [found[0]], text.replace(old, new))
    nodes, captured = found[0]
    return replaced(source, nodes, _with_captured(new, captured, source) if new else "pass")


def _in_texts(node, text):
    """List the text constants in a definition, f-strings among them, that have a text in them."""
    is_text = isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    if is_text:
        return [node] if text in (node.value if isinstance(node, ast.Constant) else ast.unparse(node)) else []
    return [found for child in ast.iter_child_nodes(node) for found in _in_texts(child, text)]


def _pattern(old, *, drop):
    """Return the nodes of a piece of code, and whether they are one expression."""
    old = textwrap.dedent(old).strip()
    for head, before in _HEADS.items():
        if old.startswith(head):
            outer = ast.parse(before + textwrap.indent(old, "    " if head == "case " else "")).body[0]
            return (outer.cases if head == "case " else outer.handlers), False
    body = ast.parse(old).body
    if len(body) == 1 and isinstance(body[0], ast.Expr) and not drop:
        return [body[0].value], True
    return body, False


def _matches(node, pattern, is_expression):
    """Yield (nodes, captured nodes) of every place in a definition that a pattern matches."""
    for each in ast.walk(node):
        if is_expression:
            captured = []
            if isinstance(each, ast.expr) and _same(pattern[0], each, captured):
                yield [each], captured
            continue
        yield from _parameters(each, pattern)
        for field in ("body", "orelse", "finalbody", "cases", "handlers"):
            block = getattr(each, field, None)
            if isinstance(block, list):
                yield from _runs(block, pattern)


def _runs(block, pattern):
    for start in range(len(block) - len(pattern) + 1):
        run, captured = block[start : start + len(pattern)], []
        if all(_same(ours, theirs, captured) for ours, theirs in zip(pattern, run, strict=True)):
            yield run, captured


def _parameters(node, pattern):
    """Yield the parameter of a function that is written as the pattern is: `name: type = default`."""
    if not isinstance(node, ast.FunctionDef) or len(pattern) != 1 or not isinstance(pattern[0], ast.AnnAssign):
        return
    wanted, args = pattern[0], node.args
    positional = [*args.posonlyargs, *args.args]
    pairs = [*zip(positional[len(positional) - len(args.defaults) :], args.defaults, strict=True)]
    pairs += [(arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default]
    for arg, default in pairs:
        is_it = isinstance(wanted.target, ast.Name) and arg.arg == wanted.target.id
        if is_it and _same(wanted.annotation, arg.annotation, []) and _same(wanted.value, default, []):
            yield [arg, default], []


def _is_any(node):
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _same(ours, theirs, captured):
    if _is_any(ours) and isinstance(theirs, ast.expr):
        captured.append([theirs])
        return True
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, list):
        if len(ours) == 1 and isinstance(ours[0], ast.Expr) and _is_any(ours[0].value):
            captured.append(theirs)
            return True
        return len(ours) == len(theirs) and all(_same(*pair, captured) for pair in zip(ours, theirs, strict=True))
    if isinstance(ours, ast.AST):
        fields = [field for field in ours._fields if field not in ("ctx", "kind", "type_comment")]
        return all(_same(getattr(ours, name), getattr(theirs, name), captured) for name in fields)
    return ours == theirs


def _with_captured(new, captured, source):
    """Put what `...` stood for into the new code."""
    new = textwrap.dedent(new).strip()
    for nodes in captured:
        text = _text(source, nodes)
        lines, at = new.split("\n"), next(number for number, line in enumerate(new.split("\n")) if "..." in line)
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        lines[at] = lines[at].replace("...", text.replace("\n", f"\n{indent}"), 1)
        new = "\n".join(lines)
    return new


def _span(source, nodes):
    """Return where the source of nodes begins and ends, as offsets, and the column where it begins."""
    lines = [0, *(at + 1 for at, char in enumerate(source) if char == "\n")]

    def offset(line, column):
        at = lines[line - 1]
        return at + len(source[at:].split("\n", 1)[0].encode()[:column].decode())

    first, last = nodes[0], nodes[-1]
    decorators = getattr(first, "decorator_list", [])
    start = decorators[0] if decorators else first
    if isinstance(first, ast.match_case):
        begin = source.rindex("case", 0, offset(first.pattern.lineno, first.pattern.col_offset))
    else:
        begin = offset(start.lineno, start.col_offset) - bool(decorators)
    if isinstance(last, ast.match_case):
        last = last.body[-1]
    column = begin - source.rfind("\n", 0, begin) - 1
    return begin, offset(last.end_lineno, last.end_col_offset), column


def _text(source, nodes):
    begin, end, column = _span(source, nodes)
    first, *more = source[begin:end].split("\n")
    return "\n".join([first, *(line.removeprefix(" " * column) for line in more)])


def replaced(source, nodes, text):
    """Return a source in which nodes that follow each other are replaced by a text."""
    begin, end, column = _span(source, nodes)
    return source[:begin] + text.replace("\n", "\n" + " " * column) + source[end:]
