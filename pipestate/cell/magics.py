"""What the text of a magic or of a shell line says: Python to run, names to fill in, mere words.

Works on text alone, so that no IPython is needed to read a record's source: it knows IPython's own
magics by name, and of any other only that its text may mention names. Magics nested in a magic's
body come untransformed, and get here the little of IPython's transformation that they need.
"""

from __future__ import annotations

import ast
import functools
import keyword
import re
import string
import textwrap
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

RUNNERS: Final = frozenset(["time", "timeit", "prun", "capture"])
"""Magics that run Python: their text is code of the cell."""

SESSION: Final = frozenset(
    "aimport alias alias_magic autoawait autocall automagic autoreload colors config gui load_ext"
    " matplotlib pprint precision pylab reload_ext unalias unload_ext xmode".split()
)
"""Line magics that set the session up, and are run again where their step is restored."""

_DYNAMIC: Final = frozenset(
    "debug edit load loadpy macro pylab recall rep rerun reset reset_selective run store who who_ls"
    " whos xdel".split()
)
_SILENT: Final = SESSION | frozenset(
    "bookmark cd cls clear conda dhist dirs env hist history less lf lk ll ls lsmagic lx magic"
    " mamba man micromamba mkdir more mv notebook pip popd pushd pwd quickref rehashx rm rmdir"
    " sc set_env sx system uv".split()
)
"""Magics whose text names nothing but what stands in braces or behind a dollar."""

_PROSE: Final = frozenset("file html javascript js latex markdown svg writefile".split())
"""Cell magics whose body is for a reader or a file."""

_ASKING: Final = frozenset("pdef pdoc pfile pinfo pinfo2 psearch psource".split())
"""Magics that show what somebody asks about a name."""

_LOADERS: Final = frozenset(["load_ext", "reload_ext"])
_SCRIPTS: Final = frozenset("bash cmd perl pypy python python2 python3 ruby script sh".split())
"""IPython's magics that run another program; any that is unknown may be the notebook's own."""

_OPTIONS: Final = {
    "time": re.compile(r"(?:\s*--no-raise-error\b)*\s*"),
    "timeit": re.compile(r"(?:\s*-(?:[nrp]\s*\d+|v\s*\w+|[tcqo]+\b))*\s*"),
    "prun": re.compile(r"(?:\s*-(?:[lsTD]\s*\S+|[rq]+\b))*\s*"),
}
_WORD: Final = re.compile(r"[^\W\d]\w*")
_DOLLAR: Final = re.compile(r"\$([^\W\d]\w*)")
_ASSIGNED: Final = re.compile(
    r"([^\W\d]\w*)\s*(?:=(?!=)|<<)|(?:-[ov]|--\w+)[ =]+([^\W\d]\w*)", re.MULTILINE
)


class Code(Struct, frozen=True):
    """Python that a magic runs; `None` as tree if it cannot be read. Timed code is a function."""

    tree: ast.Module | None
    is_function: bool = False
    is_sure: bool = True


class MagicText(Struct, frozen=True):
    """What one magic does with names: `shown` is put into its text, `words` are of unknown use.

    A foreign one may also bind what its text does not say.
    """

    shown: tuple[ast.expr, ...] = ()
    code: tuple[Code, ...] = ()
    words: frozenset[str] = frozenset()
    binds: frozenset[str] = frozenset()
    is_dynamic: bool = False
    is_foreign: bool = False


def read_magic(kind: str, arguments: tuple[str, ...]) -> MagicText:
    """What a call of the method `kind` of IPython's shell with these texts does with names."""
    if kind in ("system", "getoutput"):
        return MagicText(_filled_in(arguments[0]))
    name, line = arguments[0], arguments[1]
    cell = arguments[2] if kind == "run_cell_magic" else None
    if name in RUNNERS and name != "capture":
        return _runner(name, line, cell)
    if name == "capture" and cell is not None:
        given = frozenset(word for word in line.split() if word.isidentifier())
        code = Code(to_python(cell), is_sure=False)
        return MagicText((), (code,), binds=given, is_dynamic=code.tree is None)
    if name in _DYNAMIC:
        return MagicText(words=words(line), binds=words(line), is_dynamic=True, is_foreign=True)
    shown = _filled_in(line)
    if name in (_SILENT if cell is None else _PROSE):
        return MagicText(shown, is_foreign=name in _LOADERS)
    if name in _ASKING:
        return MagicText(_filled_in(" ".join(f"${word}" for word in words(line))))
    text = f"{line}\n{cell or ''}"
    # A function of the notebook's may be the magic: then its name leads to what it reads.
    maker = frozenset[str]() if name in _SCRIPTS else words(name)
    return MagicText(shown, (), words(text) | maker, assigned(text), is_foreign=True)


def _runner(name: str, line: str, cell: str | None) -> MagicText:
    options = _OPTIONS[name].match(line)
    given, rest = line[: options.end()], line[options.end() :]  # type: ignore[union-attr]
    is_function = name == "timeit"
    is_sure = "--no-raise-error" not in given
    texts = [text for text in (rest, cell) if text and text.strip()]
    code = tuple(Code(to_python(text), is_function, is_sure) for text in texts)
    saved = frozenset(re.findall(r"-v\s*(\w+)", given)) if is_function else frozenset()
    return MagicText((), code, binds=saved, is_dynamic=any(part.tree is None for part in code))


def without_options(name: str, line: str) -> str:
    """The Python on the line of one of the `RUNNERS`, behind its options."""
    options = _OPTIONS[name].match(line)
    return line[options.end() :] if options else line


def words(text: str) -> frozenset[str]:
    """The words of a text that could be names."""
    return frozenset(word for word in _WORD.findall(text) if not keyword.iskeyword(word))


def assigned(text: str) -> frozenset[str]:
    """The words that a magic in another language may bind: `x = …`, `x << …`, `--out x`."""
    return frozenset(first or second for first, second in _ASSIGNED.findall(text))


def _filled_in(text: str) -> tuple[ast.expr, ...]:
    """The expressions in `{braces}` and the names behind dollars that IPython fills in."""
    found = _DOLLAR.findall(text)
    if "{" in text:
        for expression in _braces(text):
            # What is no expression is left as it stands by IPython; its words may still be names.
            found.extend([expression] if _parsed(expression) else words(expression))
    bodies = [tree.body for name in found if (tree := _parsed(name))]
    return tuple(node.value for body in bodies for node in body if isinstance(node, ast.Expr))


def _braces(text: str) -> Iterator[str]:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:  # braces that do not match are left as they are; their words may be names
        yield from re.findall(r"\{([^{}]*)", text)
        return
    for _, expression, form, _ in parts:
        if expression is not None:
            joined = f"{expression}:{form}" if form else expression
            yield (joined if _parsed(joined) else expression).strip()  # `{xs[1:3]}` is a slice
            if form and "{" in form:
                yield from _braces(form)


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


# --- the little of IPython's transformation that bodies of magics need ----------------------------

_CELL = re.compile(r"%%([\w.]+)[ \t]*(.*)")
_ESCAPES: Final = (
    (re.compile(r"^(\s*)%([\w.]+)[ \t]*(.*)$"), "run_line_magic"),
    (re.compile(r"^(\s*)!!?(.*)$"), "system"),
    (re.compile(r"^(\s*[^=!%'\"#]+=[ \t]*)%([\w.]+)[ \t]*(.*)$"), "run_line_magic"),
    (re.compile(r"^(\s*[^=!%'\"#]+=[ \t]*)!(.*)$"), "getoutput"),
)
_HELP: Final = re.compile(r"^(\s*)(?:\?{1,2}([\w.%*]+)|([\w.%*]+)\?{1,2})\s*$")


@functools.lru_cache(maxsize=64)
def to_python(text: str) -> ast.Module | None:
    """The tree of a magic's body, magics in it made calls; None if it is no Python even then."""
    body = called(textwrap.dedent(text).lstrip("\n"))
    return _parsed(body) if body is not None else None


def called(text: str) -> str | None:
    """A text with its magics made calls, as IPython hands it to Python; None if it is no Python
    even then."""
    if first := _CELL.match(text):
        rest = text[first.end() :].removeprefix("\n")
        call = (first[1], first[2].rstrip(), rest)
        return f"get_ipython().run_cell_magic{call!r}"
    if _parsed(text) is None:
        lines = re.sub(r"\\\n", " ", text).split("\n")
        text = "\n".join(_plain_line(line) for line in lines)
    return text if _parsed(text) is not None else None


def _plain_line(line: str) -> str:
    for pattern, method in _ESCAPES:
        if found := pattern.match(line):
            arguments = ", ".join(repr(part) for part in found.groups()[1:])
            return f"{found[1]}get_ipython().{method}({arguments})"
    if found := _HELP.match(line):
        return f"{found[1]}get_ipython().run_line_magic('pinfo', {found[2] or found[3]!r})"
    return line
