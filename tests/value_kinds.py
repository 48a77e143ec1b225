"""The kinds of values that a notebook holds: how each is made, looked at and changed.

The tables are the files in `values/`, one a group.

`V` stands for the kind's name in the notebook, and `V_x` for further names of its own. `make` is
the cell of a step; where it is several, each is a step. `look` is an expression whose repr tells
all that counts about the value, in any process; `same` one that is true where identity is right;
`change` a statement that writes to the value.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

HELPERS = """
RATE = 3
class Meter:
    def __init__(self, start):
        self.seen = [start]
    def read(self):
        return self.seen[-1] * RATE
def append(xs, x):
    xs.append(x)
"""
"""The module `helpers.py` that lies beside the notebook."""


@dataclass(frozen=True)
class Kind:
    """One kind of value. `lost` is the type that a message names where it cannot be kept."""

    group: str
    title: str
    make: tuple[str, ...]
    look: str = "V"
    same: str = ""
    change: str = ""
    lost: str = ""
    known: str = ""
    """Why it does not hold, where it is known not to; the table says so."""
    is_remembering: bool = False
    """Whether a look alone changes its pickled state, as a cached property does."""

    @property
    def slug(self) -> str:
        return re.sub(r"\W+", "_", self.title)

    def write(self, text: str) -> str:
        """`text` with this kind's own names in it."""
        return re.sub(r"\bV(?![A-Za-z0-9])", f"v_{self.slug}", text)


def read(group: str) -> list[Kind]:
    """The kinds that a table tells: a title after `#`, then the cells, then lines with a sign.

    `?` what to look at, `=` what must be the same, `!` what changes it, `~` the type that cannot be
    kept, `^` why it is known not to hold, `*` that a look changes it; `+` begins a next cell.
    """
    table = (Path(__file__).parent / "values" / f"{group}.txt").read_text(encoding="utf-8")
    found = []
    for block in re.split(r"\n(?=# )", table.strip("\n")):
        title, *lines = block.split("\n")
        signs = {"?": "V", "=": "", "!": "", "~": "", "^": "", "*": ""}
        cells: list[list[str]] = [[]]
        for line in lines:
            if line == "+":
                cells.append([])
            elif line[:1] in signs and line[1:2] in ("", " "):
                signs[line[0]] = line[2:] or line[0]
            else:
                cells[-1].append(line)
        look, same, change, lost, known, remembers = signs.values()
        told = (look, same, change, lost, known, bool(remembers))
        make = tuple("\n".join(cell).strip("\n") for cell in cells)
        found.append(Kind(group, title[2:].strip(), make, *told))
    return found


GROUPS = ("builtins", "library", "code", "science", "torch")
HAS_TORCH = importlib.util.find_spec("torch") is not None
KINDS = [one for group in GROUPS if group != "torch" or HAS_TORCH for one in read(group)]


def source(kind: Kind) -> str:
    """All cells of a kind as one program."""
    return kind.write("\n".join(kind.make))


def report(kind: Kind) -> str:
    """A statement that prints what the value looks like and whether identity is right."""
    return kind.write(f"print(ascii((({kind.look}), bool({kind.same or True}))))")


def change(kind: Kind) -> str:
    """The statement that writes to the value, and the look at it after that."""
    return kind.write(f"{kind.change}\n") + report(kind)


FRESH = """
import json, sys, warnings
warnings.simplefilter('ignore')
sys.path.insert(0, '')
found = {}
for slug, cells in json.load(open('fresh.json')).items():
    found[slug] = []
    for cell in cells:
        shown = []
        globals()['print'] = lambda *words: shown.append(' '.join(words))
        try:
            exec(compile(cell, slug, 'exec'))
        except Exception as error:  # whatever a kind's own code raises
            raise SystemExit(f'{slug}: {error!r} in {cell}')
        found[slug].append(shown[-1:])
json.dump(found, sys.stdout)
"""
"""A plain Python process that makes every value fresh, looks, changes it, and looks again."""
