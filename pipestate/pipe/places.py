"""Where a step stands in the pipe: `--after`, else the notebook's order, else that of first runs.

Pure: what is known of the cells goes in, an order comes out. Steps whose cells the saved notebook
has stand as it has them; the others keep the slots that their first runs gave them. A cell that has
an id but is not in the saved notebook yet stands above every cell that runs after it, until it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field


class Cells(Struct, frozen=True):
    """What is known of the steps' cells: their ids by step, the ids in the saved notebook in order
    (empty where it is not known), and the steps that say themselves where they stand."""

    ids: Mapping[str, str]
    saved: tuple[str, ...] = ()
    after: Mapping[str, str] | None = None


class Row(Struct, frozen=True):
    """Where cells and steps stand in the notebook: the higher the number, the further down.

    `cells` are those that the saved notebook has; `steps` all, beside the cells they follow where
    their own is not among them; `sure` those whose place is known.
    """

    cells: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, float] = field(default_factory=dict)
    sure: frozenset[str] = frozenset()

    def is_above(self, cell: str, step: str) -> bool | None:
        """Whether a plain cell stands above a step; None where that is not known."""
        if cell not in self.cells or step not in self.sure:
            return None
        return self.cells[cell] < self.steps[step]


def row_of(order: Sequence[str], cells: Cells) -> Row:
    """The steps in their places, `order`, on one line with the notebook's other cells."""
    index = {cell: number for number, cell in enumerate(cells.saved)}
    own = cells.after or {}
    steps: dict[str, float] = {}
    sure, last = set(), -1.0
    for step in order:
        cell = cells.ids.get(step, "")
        if cell in index and step not in own:
            steps[step] = last = float(index[cell])
            sure.add(step)
            continue
        steps[step] = last + 0.5
        if own.get(step) in sure:
            sure.add(step)
    return Row(index, steps, frozenset(sure))


def order_for(step: str, order: Sequence[str], cells: Cells) -> tuple[str, ...]:
    """The steps in their places when `step` is about to run."""
    own = cells.after or {}
    if not cells.saved and not own:
        return tuple(order) if step in order else (*order, step)
    row = list(order) if step in order else [*order, step]
    index = {cell: number for number, cell in enumerate(cells.saved)}
    known = {one for one in row if cells.ids.get(one) in index and one not in own}
    slots = iter(sorted(known, key=lambda one: index[cells.ids[one]]))
    row = [next(slots) if one in known else one for one in row]
    if step in known:
        row = _unsaved_above(step, row, cells, index)
    for one, other in own.items():
        if one in row and other in row and one != other:
            row.remove(one)
            row.insert(row.index(other) + 1, one)
    return tuple(row)


def _unsaved_above(step: str, row: list[str], cells: Cells, index: Mapping[str, int]) -> list[str]:
    """New cells that ran before `step` does, and are not saved yet, stand above it."""
    at = row.index(step)
    new = dict.fromkeys(
        one for one in row[at + 1 :] if cells.ids.get(one, "") and cells.ids[one] not in index
    )
    rest = [one for one in row if one not in new]
    at = rest.index(step)
    return [*rest[:at], *new, *rest[at:]]
