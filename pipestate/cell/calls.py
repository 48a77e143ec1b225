"""What calls read, and what they may do to what they are given.

Whatever is called may change what it is given, and what it is called on; the tables in `lookers`
name those that do not. Magics are calls too.
"""

from __future__ import annotations

import ast
from typing import cast

from ..record import AccessPath
from .facts import KEEP, LOOK, WRITE
from .lookers import (
    ARITHMETIC,
    ARITHMETIC_MODULES,
    DYNAMIC_CALLS,
    FRAME_READERS,
    LOOKERS,
    LOOKING_METHODS,
    PASSERS,
    PASSING_METHODS,
    QUERY_OPTIONS,
)
from .magics import MagicText, read_magic, words
from .reads import Reads

_SHELL_CALLS = frozenset(["run_line_magic", "run_cell_magic", "system", "getoutput"])


class Calls(Reads):
    """Walks calls: of a magic, a builtin, a method, or anything; then their arguments."""

    def call(self, node: ast.Call, use: int) -> None:
        """A call: of a magic, a builtin, a method, or anything."""
        func = node.func
        if isinstance(func, ast.Name):
            self.plain_call(node, func, use)
        elif isinstance(func, ast.Attribute):
            if _is_shell_call(func) and self.shell_call(node, func.attr):
                return
            self.method_call(node, func, use)
        else:
            self.expr(func, WRITE)
            self.given(node, WRITE)

    def plain_call(self, node: ast.Call, func: ast.Name, use: int) -> None:
        """`f(x)`."""
        name = func.id
        if _is_seed(name):
            self.facts.flags.add("seeds")
        self.name(name, (), LOOK)
        if name in ("vars", "dir") and not node.args:
            self.facts.flags.add("dynamic")
        is_own = self.is_own(name)
        is_known = name in LOOKERS or name in PASSERS
        if not is_own and not is_known:
            self.facts.called.add(AccessPath(self.scope.mangled(name)))
        if is_own or not is_known or _writes_by_option(node):
            self.facts.flags.add("changes")  # also without arguments: it may know the names
            self.given(node, WRITE)
        elif name in LOOKERS:
            self.given(node, LOOK)
        else:
            self.given(node, max(use, KEEP) if name == "display" else use)

    def method_call(self, node: ast.Call, func: ast.Attribute, use: int) -> None:
        """`x.f(y)`: x counts as a whole, unless it turns out to be a module."""
        method = func.attr
        if _is_seed(method):
            self.facts.flags.add("seeds")
        root, parts = self.chain(func)
        is_arithmetic = (
            method in ARITHMETIC and isinstance(root, ast.Name) and root.id in ARITHMETIC_MODULES
        )
        if _writes_by_option(node):
            receiver = given = WRITE
        elif method in LOOKING_METHODS or is_arithmetic:
            receiver = given = LOOK
        elif method in PASSING_METHODS:
            receiver = given = use
        else:
            receiver = given = WRITE
        is_attributes_only = len(parts) > 0 and _is_attributes(func)
        if isinstance(root, ast.Name) and is_attributes_only:
            self.name(root.id, parts, receiver)
            if not self.is_own(root.id):
                self.facts.called.add(AccessPath(self.scope.mangled(root.id), parts))
            if method in DYNAMIC_CALLS.get(root.id, ()):
                self.facts.flags.add("dynamic")
        else:
            self.path(func.value, receiver)
            self.chain(func)  # for what its last attribute says
        if method in FRAME_READERS and not (method == "query" and _is_no_text(node)):
            self.frame_text(node)
        self.given(node, given)

    def given(self, node: ast.Call, use: int) -> None:
        """The arguments of a call, put to one use."""
        for argument in node.args:
            self.expr(argument, use)
        for option in node.keywords:
            self.expr(option.value, WRITE if option.arg == "file" else use)

    def frame_text(self, node: ast.Call) -> None:
        """`df.query("price > @limit")` reads names that only its text mentions."""
        for argument in (*node.args, *(option.value for option in node.keywords)):
            if isinstance(argument, (ast.Constant, ast.JoinedStr)):
                texts = [n.value for n in ast.walk(argument) if isinstance(n, ast.Constant)]
                for word in words(" ".join(text for text in texts if isinstance(text, str))):
                    self.name(word, (), WRITE)
            else:
                self.facts.flags.add("dynamic")

    def shell_call(self, node: ast.Call, kind: str) -> bool:
        """A magic or a shell line; False where it is not as IPython writes them."""
        texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        wanted = {"run_line_magic": 2, "run_cell_magic": 3}.get(kind, 1)
        if len(texts) != wanted or node.keywords or not all(isinstance(t, str) for t in texts):
            return False
        self.magic(read_magic(kind, tuple(cast("list[str]", texts))))
        return True

    def magic(self, text: MagicText) -> None:
        """Read what a magic runs."""
        raise NotImplementedError


def _is_no_text(node: ast.Call) -> bool:
    """Whether `query` is asked for something else: `tree.query(points, k=2)`."""
    options = {option.arg for option in node.keywords if option.arg is not None}
    return len(node.args) > 1 or not options <= QUERY_OPTIONS


def _is_seed(name: str) -> bool:
    return (
        "seed" in name.lower()
        or name in ("set_state", "setstate")
        or name.startswith("set_rng_state")
    )


def _is_attributes(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        if node.attr.startswith("__"):
            return False
        node = node.value
    return isinstance(node, ast.Name)


def _is_shell_call(func: ast.Attribute) -> bool:
    maker = func.value
    return (
        func.attr in _SHELL_CALLS
        and isinstance(maker, ast.Call)
        and isinstance(maker.func, ast.Name)
        and maker.func.id == "get_ipython"
        and not maker.args
    )


def _writes_by_option(node: ast.Call) -> bool:
    return any(option.arg in (None, "inplace", "out", "key") for option in node.keywords)


Calls.expressions = Reads.expressions | {ast.Call: Calls.call}
