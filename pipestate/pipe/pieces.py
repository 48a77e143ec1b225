"""The cells that a program can be made of: the steps in their places, with what their runs told,
and the plain cells between them.

Nobody watches which files a plain cell opens: those whose names it has in quotes count as both read
and written by it. Files are known here by the last part of their path.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from ..cell import names as cell_names
from ..cell import programs
from ..record import ABSENT, Record, Seen, Text


class Piece(Struct, frozen=True):
    """A cell's text, the step that it is, and what the step's run told.

    `leaves` are the names that it made, changed or took away, None where no run has proved it;
    `kin` the names that shared objects after it, `fixed` those whose objects cannot change; `known`
    those that the run met or left; and the files that it read and wrote. `at` is when it ran.
    """

    step: str
    text: str
    leaves: frozenset[str] | None = None
    kin: tuple[frozenset[str], ...] = ()
    fixed: frozenset[str] = frozenset()
    files_read: frozenset[str] = frozenset()
    files_written: frozenset[str] = frozenset()
    at: float = 0.0
    known: frozenset[str] = frozenset()


def pieces(
    order: Sequence[str],
    record: Callable[[str], Record | None],
    text: Callable[[str], str],
    seen: Mapping[str, Seen],
    said: Sequence[Text] = (),
    last: Iterable[Text] = (),
) -> list[Piece]:
    """The cells of a pipe in order, with the plain cells that gave the steps what no step made, and
    those that gave nothing to a step in the end.

    `said` is all that plain cells have said, as far as that is known: what wrote a file that is
    read here, or made what that one needed, has its place as well.
    """
    heads = {step: head for step in order if (head := record(step)) is not None}
    opened = [one for head in heads.values() for one in (*head.files_read, *head.files_written)]
    files = frozenset(_last_part(one.path) for one in opened)
    found: dict[Piece, None] = {}
    for step in order:
        head = heads.get(step)
        found |= {_plain(one, files): None for one in (_givers(head) if head is not None else ())}
        found[_step(step, text(step), head, seen[step])] = None
    known = {piece.at for piece in found}
    found |= {_plain(one, files): None for one in last if one.at not in known}
    rows = list(found)
    _put_in(rows, [_plain(one, files) for one in said])
    return rows


def _givers(record: Record) -> list[Text]:
    """What the plain cells said that gave a step something, in the order in which they ran."""
    by = record.given_by
    texts = {text for one in by.values() for text in one.texts}
    for given in record.givens:  # an import or a definition says itself how it is made
        if given.source and not any(by[name].texts for name in given.names.keys() & by.keys()):
            texts.add(Text(0.0, given.source))
    return sorted(texts, key=lambda one: one.at)


def _plain(text: Text, known: frozenset[str]) -> Piece:
    """A plain cell; of its words those are files that have a suffix or are `known` as such."""
    files = frozenset(one for one in _quoted(text.text) if one in known or "." in one.strip("."))
    return Piece("a plain cell", text.text, files_read=files, files_written=files, at=text.at)


def _step(step: str, text: str, head: Record | None, seen: Seen) -> Piece:
    if head is None:
        return Piece(step, text)
    values = [version for version in (*head.outputs, *head.givens) if version.kind == "value"]
    met = (one.path.name for one in head.inputs if one.whole != ABSENT)
    return Piece(
        step,
        text,
        frozenset((*head.made, *head.gone)) if head.normal == seen.normal else None,
        tuple(frozenset(version.names) for version in values if version.mutable),
        frozenset(name for version in values if not version.mutable for name in version.names),
        frozenset(_last_part(one.path) for one in head.files_read),
        frozenset(_last_part(one.path) for one in head.files_written),
        head.started,
        frozenset((*head.made, *met)),
    )


def _put_in(rows: list[Piece], said: Sequence[Piece]) -> None:
    """Put those of `said` among the rows that one of these stands on: each before the first that
    reads its file, or the first of their own kind that mentions what it made."""
    put: list[Piece] = []
    known = {piece.at for piece in rows}
    for piece in reversed(said):
        if piece.at in known:
            continue
        names = cell_names.analyse(programs.plain(piece.text))
        made = names.binds | names.may_bind | names.writes
        for number, row in enumerate(rows):
            is_read = row.at > piece.at and not piece.files_written.isdisjoint(row.files_read)
            if is_read or (row in put and not made.isdisjoint(_mentions(row))):
                rows.insert(number, piece)
                put.append(piece)
                break


def _mentions(piece: Piece) -> frozenset[str]:
    return cell_names.analyse(programs.plain(piece.text)).mentions


def _quoted(text: str) -> frozenset[str]:
    """The last parts of all paths that a text could mean by what it has in quotes."""
    try:
        tree = ast.parse(programs.plain(text))
    except SyntaxError:
        return frozenset()
    said = [one.value for one in ast.walk(tree) if isinstance(one, ast.Constant)]
    words = [word for one in said if isinstance(one, str) for word in (one, *one.split())]
    return frozenset(_last_part(word) for word in words)


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
