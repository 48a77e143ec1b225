"""What IPython fills into the text of a command, as Python: `!cat {path} $name`.

As IPython does it: braces hold any expression, a dollar a name with its attributes, none in single
quotes, and a text of which one part cannot be filled in is left as it stands, so that `$HOME` and
`awk '{print $1}'` reach the shell.
"""

from __future__ import annotations

import ast
import builtins
import re
import string
from collections.abc import Collection, Iterator
from typing import Final

_DOLLAR: Final = re.compile(r"(.*?)\$(\$?[\w.]+)(?=(?:[^']*'[^']*')*[^']*$)", re.DOTALL)


def filled(text: str, known: Collection[str]) -> str:
    """A text as a literal, or as an f-string where it mentions names; `known` are those there."""
    try:
        parts = list(_parts(text, known))
        if all(isinstance(one, ast.Constant) for one in parts):
            return repr("".join(str(one.value) for one in parts if isinstance(one, ast.Constant)))
        return ast.unparse(ast.JoinedStr(parts))
    except (ValueError, SyntaxError, LookupError):
        return repr(text)


def _parts(text: str, known: Collection[str]) -> Iterator[ast.expr]:
    """The literal parts and the expressions of a text; LookupError for a name that is not there."""
    for literal, name, form, conversion in string.Formatter().parse(text):
        held, rest = "", 0
        for match in _DOLLAR.finditer(literal):
            rest = match.end()
            if match[2].startswith("$"):
                held += match[1] + match[2]
            else:
                yield ast.Constant(held + match[1])
                yield _field(match[2], known)
                held = ""
        yield ast.Constant(held + literal[rest:])
        if name is not None:  # IPython formats nothing: what is behind a colon belongs to a slice
            yield _field(f"{name}:{form}" if form else name, known, conversion)


def _field(source: str, known: Collection[str], conversion: str | None = None) -> ast.expr:
    value = ast.parse(source.strip(), mode="eval").body
    for node in ast.walk(value):
        if isinstance(node, ast.Name) and node.id not in known and not hasattr(builtins, node.id):
            raise LookupError(node.id)
    return ast.FormattedValue(value, ord(conversion) if conversion else -1)
