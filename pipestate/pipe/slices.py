"""The smallest program that makes a name, and who made and who uses it.

A slice goes backwards through the statements of the cells, keeping those that bind or may change
what is still wanted, after Weiser's program slicing (1981). It is made of top-level statements, as
the reader knows them from the cells, magics in plain Python; in doubt a statement stays.

An object may be changed by another name than the one that is wanted. Which names may share objects,
their *kin*, is told by the statements, and by the records, which also tell what a step left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from ..cell import names as cell_names
from ..cell import programs
from ..cell.names import Names
from ..record import ABSENT, VALUE, Record
from .pieces import Piece

_RANDOM: Final = "random state"
"""Stands among the wanted names for the global random states: no identifier can be it."""

_DISPLAY: Final = "display = print  # outside of a notebook"

_PROCESS: Final = frozenset(["locale", "os", "pathlib", "shutil", "subprocess", "sys"])
"""Modules whose calls may do something to files, or to the process, that no name tells."""


# --- statements ----------------------------------------------------------------------------------


class _Statement(Struct, frozen=True):
    """A statement with what it, and the functions of the program that it reaches, do with names.

    `modules` are those that it reaches, `sets` those whose state it may change: it does nothing
    else (`plt.title("tea")`). One that `stays` has a part in any program: a note, a command, what
    it does to the process.
    """

    source: str
    own: Names
    whole: Names
    modules: frozenset[str]
    sets: frozenset[str]
    draws: bool
    stays: bool

    @property
    def changes(self) -> frozenset[str]:
        """The names that it binds or deletes, or may, and those whose objects it may change."""
        said = self.whole
        return self.own.binds | self.own.deletes | said.may_bind | said.writes

    @property
    def joins(self) -> frozenset[str]:
        """The names that may share objects after it."""
        held = self.whole.writes | self.whole.kept
        return held | self.own.binds | self.whole.may_bind if held else frozenset()


class _Reader(Struct):
    """Reads statements in their order: each with the imports and the functions above it."""

    imports: dict[str, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)

    def statements(self, text: str) -> list[_Statement] | None:
        """The statements of a cell; None for one in IPython's own syntax."""
        try:
            tree = ast.parse(text)
        except SyntaxError:  # no Python, and nothing that is known of IPython
            return None
        return [self._read(node, _source(text, node)) for node in tree.body]

    def _read(self, node: ast.stmt, source: str) -> _Statement:
        own = cell_names.analyse(source)
        self.imports |= {line.name: line.statement for line in own.imports}
        for name in own.binds | own.may_bind:
            self.functions.pop(name, None)
        if _defines(node):
            self.functions |= dict.fromkeys(own.binds, source)
        reached = self._reached(own)
        whole = cell_names.analyse("\n".join((*reached, source))) if reached else own
        mentions = whole.mentions | whole.binds
        modules = frozenset(self.imports[n].split()[1] for n in mentions if n in self.imports)
        roots = frozenset(module.partition(".")[0] for module in modules)
        sets = roots if not own.imports and self._only_sets(node, own) else frozenset()
        draws = any(module.partition(".")[0] == "random" for module in modules) or any(
            str(key).startswith("rand") for path in whole.reads for _, key in path.parts
        )
        does = not sets.isdisjoint(_PROCESS) or ("subprocess" in roots and not own.imports)
        stays = isinstance(node, ast.Pass) or (does and not _defines(node))
        return _Statement(source, own, whole, roots, sets, draws and not own.imports, stays)

    def _reached(self, own: Names) -> list[str]:
        """The definitions that a statement reaches, in their order."""
        found: set[str] = set()
        waiting = [path.name for path in own.reads]
        while waiting:
            name = waiting.pop()
            if name in self.functions and name not in found:
                found.add(name)
                waiting.extend(cell_names.analyse(self.functions[name]).mentions)
        return [source for name, source in self.functions.items() if name in found]

    def _only_sets(self, node: ast.stmt, own: Names) -> bool:
        """Whether it binds nothing, and calls or stores into something imported."""
        if own.binds or own.deletes:
            return False
        if isinstance(node, ast.Expr):
            return isinstance(node.value, ast.Call) and _root(node.value.func) in self.imports
        return not own.writes.isdisjoint(self.imports)


def _defines(node: ast.stmt) -> bool:
    is_lambda = isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)
    return is_lambda or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _source(text: str, node: ast.stmt) -> str:
    lines = text.splitlines()
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
    last = node.end_lineno or node.lineno
    if isinstance(node, ast.Pass):  # a note: what stands behind it says what it is
        return lines[first - 1].removeprefix("pass").strip() or "pass"
    if first == last:  # `a = 1; b = 2` are two statements of one line
        return ast.get_source_segment(text, node) or lines[first - 1]
    return "\n".join(lines[first - 1 : last])


# --- the slice -----------------------------------------------------------------------------------


class _Slice(Struct):
    """What is still wanted on the way up: names, their kin with them, modules and files."""

    wanted: set[str]
    kin: Mapping[str, frozenset[str]]
    modules_of: Mapping[str, frozenset[str]]
    is_seeded: bool
    modules: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    def take(self, piece: Piece, statements: Sequence[_Statement] | None) -> list[str]:
        """The statements of a cell that are wanted."""
        if statements is None:
            return [piece.text]
        is_all = not piece.files_written.isdisjoint(self.files)
        leaves = piece.leaves
        is_left_alone = leaves is not None and self.wanted.isdisjoint(leaves)
        kept: list[str] = []
        for one in reversed(statements):
            if is_all or self._wants(one, is_left_alone=is_left_alone):
                kept.append(one.source)
                self._take(one)
        if kept:
            self.files |= piece.files_read
        return list(reversed(kept))

    def _wants(self, one: _Statement, *, is_left_alone: bool) -> bool:
        if one.stays or one.own.stars or one.whole.is_dynamic:
            return True
        if self.is_seeded and _RANDOM in self.wanted and (one.draws or one.whole.seeds):
            return True
        if one.sets and not one.sets.isdisjoint(self.modules.union(*self._modules_wanted())):
            return True
        if is_left_alone:
            return False
        makes = one.own.binds | one.own.deletes | one.whole.may_bind
        if not self.wanted.isdisjoint(makes):
            return True
        return any(not self.wanted.isdisjoint(self.kin.get(n, ())) for n in one.whole.writes)

    def _modules_wanted(self) -> Iterator[frozenset[str]]:
        return (self.modules_of.get(name, frozenset()) for name in self.wanted)

    def _take(self, one: _Statement) -> None:
        reads = {path.name for path in chain(one.own.reads, one.whole.reads)} | one.own.mentions
        self.wanted -= one.own.binds - reads
        self.wanted |= reads
        self.modules |= one.modules
        if one.draws:
            self.wanted.add(_RANDOM)


def code(pieces: Sequence[Piece], names: Iterable[str]) -> str:
    """The statements of `pieces`, in order, that have a part in what `names` mean after them."""
    reader = _Reader()
    known = frozenset[str]().union(*(piece.known for piece in pieces))
    pieces = [replace(piece, text=programs.plain(piece.text, known)) for piece in pieces]
    read = [(piece, reader.statements(piece.text)) for piece in pieces]
    all_read = [one for _, statements in read for one in statements or ()]
    joined = chain.from_iterable(_joined(piece, some or ()) for piece, some in read)
    kin = _kin(pieces, joined, reader.imports)
    modules_of: dict[str, frozenset[str]] = {}
    for one in all_read:
        for name in one.changes - reader.imports.keys():
            for mate in kin.get(name, {name}):
                modules_of[mate] = modules_of.get(mate, frozenset()) | one.modules
    is_seeded = any(one.whole.seeds for one in all_read)
    slice_ = _Slice(set(names), kin, modules_of, is_seeded)
    kept: list[str] = []
    for piece, statements in reversed(read):
        lines = slice_.take(piece, statements)
        if lines:
            kept.append(f"# {piece.step}\n" + "\n".join(lines))
    if "display" in slice_.wanted:
        kept.append(_DISPLAY)
    return "\n\n".join(reversed(kept)) + ("\n" if kept else "")


def _joined(piece: Piece, statements: Sequence[_Statement]) -> Iterator[frozenset[str]]:
    """The names that may share objects after each statement of a cell.

    What a run has left alone shares nothing with what it made.
    """
    bound = frozenset(name for one in statements for name in one.own.binds | one.own.may_bind)
    for one in statements:
        names = one.joins
        yield names if piece.leaves is None else names & (piece.leaves | bound)


def _kin(
    pieces: Sequence[Piece], joined: Iterable[frozenset[str]], imports: Iterable[str]
) -> Mapping[str, frozenset[str]]:
    """For each name those that may share objects with it, itself among them.

    A module is kin to nothing: else all that came out of one would be.
    """
    fixed = frozenset().union(*(piece.fixed for piece in pieces))
    mutable = frozenset(n for piece in pieces for group in piece.kin for n in group)
    alone = (fixed - mutable) | frozenset(imports)
    found: dict[str, frozenset[str]] = {}
    for names in chain(joined, *(piece.kin for piece in pieces)):
        mates = {*(names - alone)}
        for name in tuple(mates):
            mates |= found.get(name, frozenset())
        group = frozenset(mates)
        found |= dict.fromkeys(group, group)
    return found


class Link(Struct, frozen=True):
    """A step that has to do with a name, and the names by which it has."""

    step: str
    names: tuple[str, ...]


def makers(
    order: Sequence[str], record: Callable[[str], Record | None], name: str, *, deep: bool
) -> list[Link]:
    """The steps that a name comes from, nearest last: its maker and what that reads.

    With `deep`, theirs in turn.
    """
    made = {step: head for step in order if (head := record(step)) is not None}
    maker = next((s for s in reversed(order) if s in made and name in made[s].made), None)
    if maker is None:
        return []
    found: dict[str, tuple[str, ...]] = {maker: (name,)}
    waiting = [maker]
    while waiting:
        step = waiting.pop()
        for source, names in _sources(made[step]).items():
            if source in made and source not in found:
                found[source] = names
                if deep:
                    waiting.append(source)
    return [Link(step, found[step]) for step in order if step in found]


def _sources(record: Record) -> Mapping[str, tuple[str, ...]]:
    by_step: dict[str, list[str]] = {}
    for one in record.inputs:
        if one.maker and one.whole != ABSENT:
            by_step.setdefault(one.maker, []).append(str(one.path))
    return {step: tuple(paths) for step, paths in by_step.items()}


def users(
    order: Sequence[str], record: Callable[[str], Record | None], name: str, *, deep: bool
) -> list[Link]:
    """The steps that read a name after it was made; with `deep`, those that read what they make."""
    wanted = {name}
    found = []
    for step in order:
        head = record(step)
        if head is None:
            continue
        read = {one.path.name for one in head.inputs if one.whole != ABSENT} & wanted
        if read:
            found.append(Link(step, tuple(sorted(read))))
            if deep:
                wanted |= set(head.made) - {VALUE}
    return found
