"""What a cell's source says about names: what it reads, how deep, what it binds, what it changes.

A pure function of the source as IPython hands it to Python (magics made calls), and remembered by
it. The rooms below do the work: `scopes` knows whose a name is, `reads` how deep an expression
looks, `flow` in which order things happen, `magics` what a magic's text means, `definitions` what
can be made again from source. In doubt a cell reads more, and paths are wider.

The idea is ExpressionExplorer's (Pluto), with liveness instead of one assignment a notebook.
"""

from __future__ import annotations

import ast
import functools
import re
from typing import Final

import msgspec

from ..record import IMPORTED, AccessPath
from . import parsed
from .bodies import Bodies, Definition, defined_names, use_bodies
from .definitions import (
    DefinitionLine,
    ImportLine,
    definition_lines,
    import_lines,
    session_lines,
)
from .scopes import Scope

IPYTHON_NAMES: Final = frozenset(
    "In Out _ __ ___ _dh _exit_code _i _ih _ii _iii _oh display exit get_ipython open_in_editor"
    " quit __annotations__ __builtin__ __builtins__ __conditional_annotations__ __doc__ __file__"
    " __loader__ __name__ __package__ __session__ __spec__ __vsc_ipynb_file__"
    " __warningregistry__".split()
)
"""Names that IPython and Python put into a notebook's namespace; `_1`, `_i1` besides."""

_DISPLAYED: Final = re.compile(r"(?:_{1,3}|_\d+|_oh|Out)\Z")
_NUMBERED: Final = re.compile(r"_i?\d+\Z")


class Names(msgspec.Struct, frozen=True):
    """What a cell does with names, as far as its source tells.

    `reads` are paths read before the cell has surely bound (or deleted) their name, in it or in
    the functions of it that it mentions; hidden names (`is_hidden`) and builtins are among them.
    `called` are those of them that are called: `f`, `np.mean`, `df.head`. A called attribute
    counts as its path only where everything before the last dot is a module; else what stands
    before the dot is read as a whole. What is called may also change itself: an instance with
    `__call__`.

    `binds` are surely bound at the end, `deletes` surely gone, `may_bind` perhaps bound or gone:
    the three share no name. `may_delete` are deleted somewhere on the way, be it as `except … as`
    takes its name away again. `writes` are names of other cells whose objects, or parts of them,
    this cell may change in place: stored into, given to a call, or called a method of. `kept` are
    those of which a part may outlive its expression, bound or held or displayed; all of `writes`
    are among them. A step that may change what it read by another name keeps it too, and
    `is_changing`: it changes something, by whatever name.

    `late_imports` are what functions of the cell that it mentions import when they run: modules, or
    names in modules.

    `session` are statements that set the session up, to be run again when the cell is not.
    `mentions` are all globals that the cell or any function in it, used or not, may look up before
    it has bound them; `get_ipython` is among them where a magic may bind what nobody can foresee.
    """

    reads: frozenset[AccessPath] = frozenset()
    called: frozenset[AccessPath] = frozenset()
    binds: frozenset[str] = frozenset()
    may_bind: frozenset[str] = frozenset()
    may_delete: frozenset[str] = frozenset()
    deletes: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    mentions: frozenset[str] = frozenset()
    imports: tuple[ImportLine, ...] = ()
    definitions: tuple[DefinitionLine, ...] = ()
    stars: tuple[str, ...] = ()
    session: tuple[str, ...] = ()
    is_dynamic: bool = False
    is_async: bool = False
    is_changing: bool = False
    seeds: bool = False
    late_imports: frozenset[str] = frozenset()


@functools.lru_cache(maxsize=1 << 16)  # a long session has thousands: `_i1`, `_i2`, ...
def is_hidden(name: str) -> bool:
    """Whether a name is IPython's or Python's own, until a cell's source binds it."""
    return name in IPYTHON_NAMES or _NUMBERED.match(name) is not None


def is_displayed(name: str) -> bool:
    """Whether IPython binds a name to what was displayed: `_`, `__`, `_7`, `Out`."""
    return _DISPLAYED.match(name) is not None


@functools.lru_cache(maxsize=1024)
def analyse(transformed: str) -> Names:
    """What a cell, magics transformed into calls, does with names; raises SyntaxError as `ast`."""
    tree = parsed.parse(transformed)
    try:
        return _names(tree, transformed)
    except RecursionError:
        return _coarse(tree, transformed)


def _names(tree: ast.Module, source: str) -> Names:
    walker = Bodies(Scope("module"), defined_names(tree))
    walker.block(tree.body)
    use_bodies(walker)
    facts, state = walker.facts, walker.state
    # A function may have deleted or bound a name after the cell itself last did the opposite.
    bound = frozenset(name for name in facts.touched if state.get(name) is True)
    gone = frozenset(name for name in facts.touched if state.get(name) is False)
    binds, deletes = bound - facts.late_deleted, gone - facts.late_bound
    imports, stars = import_lines(tree)
    return Names(
        reads=frozenset(facts.reads),
        called=frozenset(facts.called),
        binds=binds,
        may_bind=frozenset(facts.touched) - binds - deletes,
        may_delete=frozenset(n for n, is_bound in walker.log if not is_bound) | facts.late_deleted,
        deletes=deletes,
        writes=frozenset(facts.writes),
        kept=frozenset(facts.kept),
        mentions=frozenset(facts.mentions | {path.name for path in facts.reads}),
        imports=imports,
        definitions=definition_lines(tree, source, _needs, _bound_often(walker)),
        stars=stars,
        session=session_lines(tree),
        is_dynamic="dynamic" in facts.flags,
        is_async="async" in facts.flags,
        is_changing="changes" in facts.flags,
        seeds="seeds" in facts.flags,
        late_imports=frozenset(
            flag.removeprefix(IMPORTED) for flag in facts.flags if flag.startswith(IMPORTED)
        ),
    )


def _bound_often(walker: Bodies) -> frozenset[str]:
    """Names that the cell, or a function in it, binds or deletes more than once."""
    seen: set[str] = set()
    often = {n for bodies in walker.bodies.values() for body in bodies for n in body.touched}
    for name, _ in walker.log:
        (often if name in seen else seen).add(name)
    return frozenset(often)


def _needs(node: Definition) -> frozenset[str]:
    walker = Bodies(Scope("module"), frozenset())
    walker.header(node)
    return frozenset(path.name for path in walker.facts.reads)


def _coarse(tree: ast.Module, source: str) -> Names:
    """For a cell nested too deep to walk: everything that it spells, and then some."""
    spelled = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    bound = frozenset(
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    )
    imports, stars = import_lines(tree)
    return Names(
        reads=frozenset(AccessPath(name) for name in spelled),
        may_bind=bound | {line.name for line in imports} | defined_names(tree),
        writes=spelled,
        kept=spelled,
        mentions=spelled,
        imports=imports,
        stars=stars,
        is_dynamic=True,
        is_changing=True,
    )
