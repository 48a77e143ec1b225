"""A cell as plain Python, for a reader or an interpreter that has no IPython.

What a magic does to the session alone is left out; what it does to values, files and the process is
said in Python. What cannot be said stays as a note in its place: `pass  # %sql …`, a statement, so
that it stands where a block needs one. A command's braces and dollars are filled in as IPython
does, which takes the whole text as it stands where one of them is no name of the notebook.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Collection
from typing import Final

from msgspec import Struct, field

from . import magics
from .fills import filled

NOTE: Final = "pass  # "
"""Begins the statement that stands for a magic which plain Python cannot say."""

_LEFT_OUT: Final = magics.SESSION | frozenset(
    "bookmark clear cls dhist dirs hist history html javascript js latex less lf lk ll ls lsmagic"
    " lx magic man markdown more notebook page pdef pdoc pfile pinfo pinfo2 pipe psearch psource"
    " quickref rehashx svg timeit who who_ls whos".split()
)
"""Magics that set the session up, show something, or measure."""

_PROGRAMS: Final = frozenset(["cat", "cp", "mkdir", "mv", "rm", "rmdir"])
"""Magics that run the program of their name."""

_COMMANDS: Final = frozenset(["system", "sx"])
_CALLS: Final = frozenset(["getoutput", "run_cell_magic", "run_line_magic", "system"])


def plain(text: str, known: Collection[str] = ()) -> str:
    """The text of a cell, as it was typed or as IPython hands it to Python, in plain Python.

    `known` are the names that the notebook has, for commands that mention them. What is no Python
    even then is given as it is.
    """
    if "%" not in text and "!" not in text and "?" not in text and "get_ipython" not in text:
        return text
    called = magics.called(text.lstrip("\n"))
    if called is None:
        return text
    cell = _Cell(called, known)
    body = cell.body()
    return "".join(f"import {name}\n" for name in sorted(cell.modules)) + body


class _Cell(Struct):
    """A cell on its way: its text in lines, and the modules that the new lines need."""

    text: str
    known: Collection[str]
    modules: set[str] = field(default_factory=set)

    def body(self) -> str:
        """The text with each magic said in Python."""
        tree = ast.parse(self.text)
        own = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        self.known = {*self.known, *own}
        lines = self.text.encode("utf-8", "surrogatepass").splitlines(keepends=True)
        top = frozenset(map(id, tree.body))
        for node in reversed(list(_statements(tree))):
            said = self._statement(node, is_top=id(node) in top)
            if said is not None:
                _replace(lines, node, said)
        return b"".join(lines).decode("utf-8", "surrogatepass")

    def _statement(self, node: ast.stmt, *, is_top: bool) -> str | None:
        """What stands for a statement with a magic in it; None for one without."""
        found = _magic_in(node)
        if found is None:
            return None
        kind, texts = _words_of(found)
        if isinstance(node, ast.Expr) and node.value is found:
            return self._said(kind, texts) or ("" if is_top else "pass")
        value = self._value(kind, texts)
        whole = ast.get_source_segment(self.text, node) or ""
        call = ast.get_source_segment(self.text, found) or ""
        if value is None:
            return _note(whole.replace(call, _typed(kind, texts), 1))
        return whole.replace(call, value, 1)

    # --- a magic alone ---------------------------------------------------------------------------

    def _said(self, kind: str, texts: tuple[str, ...]) -> str:
        """A magic as a statement; "" for one that has no part in what anything means."""
        if kind in ("system", "getoutput"):
            return self._command(texts[0])
        name, line = texts[0], texts[1].strip()
        body = texts[2] if kind == "run_cell_magic" else None
        if name in ("time", "prun", "capture"):
            return self._timed(name, line, body)
        if name in _LEFT_OUT or (name == "env" and not re.search(r"[ =]", line)):
            return ""
        return self._acted(name, line, body) or _note(_typed(kind, texts))

    def _timed(self, name: str, line: str, body: str | None) -> str:
        """The Python in a magic that runs it."""
        if name == "capture":
            note = f"{_note(f'%%capture {line}')}\n" if line and line[0] != "-" else ""
            return note + self._inner(body or "")
        rest = magics.without_options(name, line)
        parts = [self._inner(part) for part in (rest, body) if part and part.strip()]
        return "\n".join(parts)

    def _inner(self, text: str) -> str:
        called = magics.called(textwrap.dedent(text).strip("\n"))
        if called is None:
            return _note(text)
        return _Cell(called, self.known, self.modules).body().rstrip("\n")

    def _acted(self, name: str, line: str, body: str | None) -> str:
        """A magic that does something to the process or to files; "" for one not known."""
        if body is None and name in _PROGRAMS:
            return self._command(f"{name} {line}")
        if body is None and name in _COMMANDS:
            return self._command(line)
        if body is None and name in ("env", "set_env"):
            return self._env(line)
        if body is None and name in ("cd", "pushd"):
            return self._cd(line)
        if body is not None and name in ("writefile", "file"):
            return self._file(line, body)
        if body is not None and name in ("bash", "sh") and not line:
            self.modules.add("subprocess")
            return f"subprocess.run([{name!r}], input={body!r}, text=True)"
        return ""

    def _command(self, command: str) -> str:
        self.modules.add("subprocess")
        return f"subprocess.run({filled(command, self.known)}, shell=True)"

    def _env(self, line: str) -> str:
        name, _, value = line.partition("=" if "=" in line else " ")
        self.modules.add("os")
        return f"os.environ[{name.strip()!r}] = {filled(value.strip(), self.known)}"

    def _cd(self, line: str) -> str:
        folder = re.sub(r"^-q\b\s*", "", line).strip().strip("\"'")
        if folder.startswith("-"):
            return ""
        self.modules.add("os")
        return f"os.chdir(os.path.expanduser({filled(folder or '~', self.known)}))"

    def _file(self, line: str, body: str) -> str:
        words = re.match(r"(-a\b|--append\b)?\s*(.*)", line)
        path = filled((words[2] if words else line).strip("\"'"), self.known)
        self.modules.add("pathlib")
        target = f"pathlib.Path({path}).expanduser()"
        if words and words[1]:
            return f"{target}.open('a', encoding='utf-8').write({body!r})"
        return f"{target}.write_text({body!r}, encoding='utf-8')"

    # --- a magic for its value -------------------------------------------------------------------

    def _value(self, kind: str, texts: tuple[str, ...]) -> str | None:
        """A magic as an expression; None where it is none."""
        if kind == "getoutput":
            return self._lines(texts[0])
        name, line = (texts[0], texts[1].strip()) if kind == "run_line_magic" else ("", "")
        if name in ("time", "prun"):
            rest = self._inner(magics.without_options(name, line))
            return f"({rest})" if _is_expression(rest) else None
        if name in _COMMANDS:
            return self._lines(line)
        if name == "pwd":
            self.modules.add("os")
            return "os.getcwd()"
        if name == "env" and line and not re.search(r"[ =]", line):
            self.modules.add("os")
            return f"os.environ[{line!r}]"
        return None

    def _lines(self, command: str) -> str:
        """The lines that a command writes, errors among them, as IPython gives them."""
        self.modules.add("subprocess")
        pipes = "stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True"
        text = filled(command, self.known)
        return f"subprocess.run({text}, shell=True, {pipes}).stdout.splitlines()"


# --- the text around it --------------------------------------------------------------------------

_BLOCKS: Final = (
    ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If | ast.For | ast.AsyncFor
    | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.TryStar | ast.Match
)  # fmt: skip


def _statements(tree: ast.Module) -> list[ast.stmt]:
    """All statements that hold no others, in the order of their text."""
    found = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and not isinstance(n, _BLOCKS)]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def _magic_in(node: ast.AST) -> ast.Call | None:
    """The first call of a magic in a statement, its texts in the call."""
    return next(
        (one for one in ast.walk(node) if isinstance(one, ast.Call) and _is_magic(one)), None
    )


def _is_magic(call: ast.Call) -> bool:
    func = call.func
    return (
        isinstance(func, ast.Attribute)
        and func.attr in _CALLS
        and isinstance(func.value, ast.Call)
        and isinstance(func.value.func, ast.Name)
        and func.value.func.id == "get_ipython"
        and all(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in call.args)
    )


def _words_of(call: ast.Call) -> tuple[str, tuple[str, ...]]:
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr, tuple(str(ast.literal_eval(one)) for one in call.args)


def _typed(kind: str, texts: tuple[str, ...]) -> str:
    """A magic as somebody types it."""
    if kind in ("system", "getoutput"):
        return f"!{texts[0]}"
    mark = "%%" if kind == "run_cell_magic" else "%"
    return f"{mark}{texts[0]} {' '.join(texts[1:])}".strip()


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True


def _note(text: str) -> str:
    """A note of one line."""
    first, _, rest = text.strip().partition("\n")
    return f"{NOTE}{first}{' ...' if rest else ''} (a magic, left out: no Python says it)"


def _replace(lines: list[bytes], node: ast.stmt, text: str) -> None:
    """Put a text in the place of a node, its later lines as deep as the first."""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset or 0 :]
    if not text:  # what is after it is a comment, or the `;` that quiets it
        after = b"\n" if after.endswith(b"\n") else b""
    indent = before if not before.strip() else b""
    rows = text.encode("utf-8", "surrogatepass").split(b"\n")
    lines[first : last + 1] = [before + (b"\n" + indent).join(rows) + after]
