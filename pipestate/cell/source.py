"""The text of a cell: its `%%step` line, and what of its source counts.

The line is read by a grammar of its own rather than by argparse, so that a mistake is answered in
one line that names it. The normal form of a source is a digest of its syntax tree: comments,
formatting and docstrings are no change, the order of statements and the types of constants are.
"""

from __future__ import annotations

import ast
import difflib
import functools
import re
import unicodedata
from typing import Any, Final, NoReturn

from blake3 import blake3
from msgspec import Struct

from ..errors import UsageError
from ..record import is_step_name
from . import parsed
from .magics import RUNNERS, to_python

_FORM: Final = "%%step NAME [--done KEY] [--reads PATH] [--always] [--setup] [--force] ..."


class StepLine(Struct, frozen=True):
    """What a `%%step` line says. `stdin` is the step behind `<`."""

    name: str
    done: str | None = None
    reads: tuple[str, ...] = ()
    always: bool = False
    setup: bool = False
    force: bool = False
    no_save: tuple[str, ...] = ()
    after: str | None = None
    stdin: str | None = None


_FLAGS: Final = ("always", "setup", "force")
_SINGLE: Final = {"done": "KEY", "after": "STEP"}
_REPEATED: Final = {"reads": "PATH", "no_save": "NAME"}
_OPTIONS: Final = {f"--{name.replace('_', '-')}": name for name in (*_FLAGS, *_SINGLE, *_REPEATED)}
_STEP: Final = re.compile(r"[ \t]*%%step(?:[ \t]+(?P<line>.*?))?[ \t]*\Z")
_TOKEN: Final = re.compile(r"(?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s\"'])+", re.DOTALL)
_QUOTED: Final = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'([^']*)'", re.DOTALL)
_BARE: Final = re.compile(r"[^\s\"'<#=-][^\s\"']*")


def split_cell(raw: str) -> tuple[str, str] | None:
    """The rest of a cell's `%%step` line, and its body; None if the cell is no step.

    A comment stands in the body for the line, so that line numbers stay what they are; not before
    another cell magic, which has to come first and counts lines by itself.
    """
    if "%%step" not in raw:  # as in most
        return None
    lines = raw.splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return None
    found = _STEP.match(lines[first].rstrip("\r\n"))
    if found is None:
        return None
    rest = lines[first + 1 :]
    following = next((number for number, line in enumerate(rest) if line.strip()), None)
    if following is not None and rest[following].lstrip().startswith("%%"):
        body = "".join(rest[following:])
    else:
        body = "".join([*lines[:first], "#\n", *rest])
    return found["line"] or "", body


def without_mark(transformed: str) -> str:
    """A body with a line that is empty, and no comment, where its `%%step` line stood: so the text
    is the same whether a cell has it or a record, and is read once."""
    return transformed[1:] if transformed.startswith("#\n") else transformed


@functools.lru_cache(maxsize=256)
def parse_line(text: str) -> StepLine:
    """Read the rest of a `%%step` line; raises UsageError with one line that says what is wrong."""
    words = _tokens(text)
    values: dict[str, Any] = {}
    while words:
        word, is_quoted = words.pop(0)
        if word.startswith("<") and not is_quoted:
            _once(values, "stdin", "<", _step_name(word[1:] or _argument(words, "<", "STEP")))
        elif word.startswith("-") and not is_quoted:
            _option(word, words, values)
        elif "name" in values:
            _refuse(f"a step has one name, not {values['name']!r} and {word!r}", f"use {_FORM}")
        else:
            values["name"] = _step_name(word)
    if "name" not in values:
        _refuse("this step has no name", f"use {_FORM}")
    return StepLine(**values)


def format_line(line: StepLine) -> str:
    """The line that `parse_line` reads as this one, options in one order."""
    words = [line.name]
    for name in line.__struct_fields__[1:-1]:
        option, value = f"--{name.replace('_', '-')}", getattr(line, name)
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            for item in value if isinstance(value, tuple) else (value,):
                words += [option, _quoted(item)]
    if line.stdin is not None:
        words += ["<", line.stdin]
    return " ".join(words)


def _option(word: str, words: list[tuple[str, bool]], values: dict[str, Any]) -> None:
    option, has_value, value = word.partition("=")
    name = _OPTIONS.get(option)
    if name is None:
        close = difflib.get_close_matches(option, _OPTIONS, 1)
        known = ", ".join(_OPTIONS)
        _refuse(
            f"%%step has no option {option!r}",
            f"did you mean {close[0]}?" if close else f"its options are {known}",
        )
    if name in _FLAGS:
        if has_value:
            _refuse(f"{option} takes no value", f"write {option} alone")
        values[name] = True
        return
    form = _SINGLE.get(name) or _REPEATED[name]
    value = value if has_value else _argument(words, option, form)
    if not value:
        _refuse(f"{option} needs a {form}", f"write {option} {form}")
    if name == "after":
        value = _step_name(value)
    if name == "no_save" and not value.isidentifier():
        _refuse(f"{value!r} is no name of a variable", f"write {option} {form}")
    if name in _REPEATED:
        values[name] = (*values.get(name, ()), value)
    else:
        _once(values, name, option, value)


def _argument(words: list[tuple[str, bool]], option: str, form: str) -> str:
    if not words or (words[0][0].startswith(("--", "<")) and not words[0][1]):
        _refuse(f"{option} needs a {form}", f"write {option} {form}")
    return words.pop(0)[0]


def _once(values: dict[str, Any], name: str, option: str, value: str) -> None:
    if name in values:
        _refuse(f"{option} is given twice: {values[name]} and {value}", "keep one of them")
    values[name] = value


def _step_name(word: str) -> str:
    name = unicodedata.normalize("NFC", word)
    if not is_step_name(name):
        close = "".join(char if is_step_name(f"_{char}") else "_" for char in name).lstrip("-")
        _refuse(
            f"{word!r} cannot be the name of a step",
            "letters, digits, _, - and . make a name" + (f": {close}" if close else ""),
        )
    return name


def _tokens(text: str) -> list[tuple[str, bool]]:
    """The words of a line, and whether they begin with a quote; `# …` ends the line."""
    found: list[tuple[str, bool]] = []
    position = 0
    while match := re.compile(r"\s*").match(text, position):
        position = match.end()
        if position == len(text) or text[position] == "#":
            return found
        token = _TOKEN.match(text, position)
        if token is None or (token.end() < len(text) and text[token.end()] in "\"'"):
            _refuse("a quote is not closed", "close it, or take it away")
        position = token.end()
        word = _QUOTED.sub(_unquoted, token[0])
        found.append((word, token[0][0] in "\"'"))
    return found


def _unquoted(match: re.Match[str]) -> str:
    if match[2] is not None:
        return match[2]
    return re.sub(r"\\([\"\\])", r"\1", match[1])


def _quoted(word: str) -> str:
    if _BARE.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _refuse(message: str, hint: str) -> NoReturn:
    raise UsageError(message, hint)


# --- the normal form ------------------------------------------------------------------------------

_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SKIPPED = frozenset(["ctx", "kind", "type_comment", "type_ignores", "lineno", "col_offset"])


@functools.lru_cache(maxsize=1024)
def normal(transformed: str) -> str:
    """A digest of what counts in a source, as IPython hands it to Python.

    A `;` at the end counts where it quiets a display. Python in magics is normalised as well. What
    is no Python counts by its text.
    """
    try:
        text = "".join(_cell(parsed.parse(transformed), transformed))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        text = f"text:{transformed}"
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest(length=20)


def _cell(tree: ast.Module, source: str) -> list[str]:
    last, found = len(tree.body) - 1, list[str]()
    for number, node in enumerate(tree.body):
        if number == last or not _is_text(node):  # a text in the middle shows nothing
            _dump(node, found)
    if tree.body and isinstance(tree.body[-1], ast.Expr) and _is_quiet(tree.body[-1], source):
        found.append(";")
    return found


def _is_quiet(node: ast.stmt, source: str) -> bool:
    """Whether a `;` comes after the last statement, which IPython takes as "show nothing"."""
    lines = source.split("\n")
    line = lines[(node.end_lineno or 1) - 1].encode("utf-8", "surrogatepass")
    rest = line[node.end_col_offset :].decode("utf-8", "replace")
    return any(
        "".join(part.split("#")[0]).lstrip(") \t\r\f").startswith(";")
        for part in [rest, *lines[node.end_lineno or 1 :]]
    )


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _dump(node: Any, found: list[str]) -> None:
    """Unlike `ast.dump`, without what differs between Pythons: fields that are empty."""
    if isinstance(node, ast.AST):
        if isinstance(node, ast.Constant):
            found.append(f"{type(node.value).__name__}:{node.value!r}")
            return
        if isinstance(node, ast.Call) and (inner := _magic(node)) is not None:
            found += inner
            return
        found.append(f"{type(node).__name__}(")
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or value == [] or name in _SKIPPED:
                continue
            if name == "body" and isinstance(node, _DOCUMENTED) and _is_text(value[0]):
                value = value[1:]
            found.append(f"{name}=")
            _dump(value, found)
        found.append(")")
    elif isinstance(node, list):
        found.append("[")
        for item in node:
            _dump(item, found)
            found.append(",")
        found.append("]")
    else:
        found.append(repr(node))


def _magic(node: ast.Call) -> list[str] | None:
    """The normal form of a magic that runs Python."""
    func = node.func
    if not isinstance(func, ast.Attribute) or func.attr not in ("run_line_magic", "run_cell_magic"):
        return None
    texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
    if len(texts) != len(node.args) or not texts or texts[0] not in RUNNERS:
        return None
    code = str(texts[-1])
    tree = to_python(code)
    if tree is None:
        return None
    head = [f"{func.attr}:", *(repr(text) for text in texts[:-1]), ":"]
    return [*head, *_cell(tree, code), "."]
