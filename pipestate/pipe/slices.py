"""The smallest program that makes a name, and who made and who uses it.

A slice goes backwards through the statements of the steps, keeping those that bind or may change
what is still wanted, after Weiser's program slicing (1981). It is made of top-level statements, as
the reader knows them from the cells; in doubt a statement stays.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..cell import names as cell_names
from ..record import ABSENT, VALUE, Record


@dataclass(frozen=True, slots=True)
class Piece:
    """A cell's Python, and the step that it is."""

    step: str
    text: str


def pieces(
    order: Sequence[str],
    record: Callable[[str], Record | None],
    text: Callable[[str], str],
) -> list[Piece]:
    """The cells of a pipe in order, with the plain cells that gave the steps what no step made."""
    found: dict[Piece, None] = {}
    for step in order:
        head = record(step)
        for given in head.givens if head is not None else ():
            if given.source:
                found[Piece("a plain cell", given.source)] = None
        found[Piece(step, text(step))] = None
    return list(found)


def code(pieces: Sequence[Piece], names: Iterable[str]) -> str:
    """The statements of `pieces`, in order, that have a part in what `names` mean after them."""
    wanted = set(names)
    kept: list[str] = []
    for piece in reversed(pieces):
        lines = _statements(piece.text, wanted)
        if lines:
            kept.append(f"# {piece.step}\n" + "\n".join(lines))
    return "\n\n".join(reversed(kept)) + ("\n" if kept else "")


def _statements(text: str, wanted: set[str]) -> list[str]:
    """The statements of one cell that are wanted; `wanted` becomes what they read in turn."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # IPython's own syntax, read where there is no IPython
        return [text]
    kept: list[str] = []
    for node in reversed(tree.body):
        source = _source(text, node)
        said = cell_names.analyse(source)
        makes = said.binds | said.may_bind | said.deletes | said.writes | said.kept
        if said.stars or said.is_dynamic or not wanted.isdisjoint(makes):
            kept.append(source)
            reads = {path.name for path in said.reads} | said.mentions
            wanted -= said.binds - reads
            wanted |= reads
    return list(reversed(kept))


def _source(text: str, node: ast.stmt) -> str:
    lines = text.splitlines()
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
    last = node.end_lineno or node.lineno
    if first == last:  # `a = 1; b = 2` are two statements of one line
        return ast.get_source_segment(text, node) or lines[first - 1]
    return "\n".join(lines[first - 1 : last])


@dataclass(frozen=True, slots=True)
class Link:
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
