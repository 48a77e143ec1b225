"""The user's own names of a namespace, told from IPython's, of which a long session has thousands.

IPython keeps what each cell said under `_i1`, `_i2`, ... A look that went over them all would cost
a step more with every cell that has run. But a dictionary has its names in the order in which they
came: what is new since the last look stands behind the last of these that was there then, and that
another one is gone is seen by their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, filterfalse, repeat
from operator import is_not
from typing import Any, Final

from ..cell.names import is_hidden

UNBOUND: Final = object()
"""What a namespace gives for a name that it has not, where one look has to say both."""


class Visible:
    """The user's own names of one namespace; other threads may go on in it.

    now ──┬─ _judge               what stands behind the mark
          └─ _go_over ── _judge   all of it, where there is no mark, or the number is another one
    """

    def __init__(self, ns: dict[Any, Any]) -> None:
        self._ns = ns
        self._names: dict[str, None] = {}
        self._hidden = 0  # up to the mark
        self._mark: Any = None
        self._text: object = UNBOUND

    def now(self) -> dict[str, Any]:
        """Each of the names with its object, in the order in which the names were first met."""
        count, new = len(self._ns), list[Any]()
        if self._mark is None or self._ns.get(self._mark, UNBOUND) is not self._text:
            return self._go_over()
        try:
            for name in reversed(self._ns):
                if name is self._mark:
                    break
                new.append(name)
        except RuntimeError:  # a thread has bound a name meanwhile
            return self._go_over()
        hidden = self._judge(new[::-1])
        found = self._held(self._ns)
        return found if len(found) + hidden == count else self._go_over()

    def _go_over(self) -> dict[str, Any]:
        now = self._ns.copy()
        self._hidden = 0
        self._judge(list(now))
        return self._held(now)

    def _held(self, ns: Mapping[Any, Any]) -> dict[str, Any]:
        # One look at each name: a thread may take it away between two.
        get = ns.get
        return {name: held for name in self._names if (held := get(name, UNBOUND)) is not UNBOUND}

    def _judge(self, new: Sequence[Any]) -> int:
        """Take up the names behind the mark, and set it behind the last that tells what a cell
        said: nobody deletes that one, and binds the very same text to it again. Gives the number
        of all that are not the user's."""
        own = list(filter(is_visible, new))
        self._names.update(dict.fromkeys(own))
        hidden = self._hidden + len(new) - len(own)
        for behind, name in enumerate(reversed(new)):
            if type(name) is str and name.startswith("_i") and name[2:].isdecimal():
                rest = new[len(new) - behind :]
                self._hidden = hidden - len(rest) + sum(map(is_visible, rest))
                self._mark, self._text = name, self._ns.get(name, UNBOUND)
                break
        return hidden


def is_visible(name: object) -> bool:
    """Whether a name of a namespace is the user's own; `globals()[3] = 4` is nobody's."""
    return isinstance(name, str) and not is_hidden(name)


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names that have another object now than then, or had none, and those that are gone: of
    thousands, mostly one or two."""
    others = list(compress(now, map(is_not, now.values(), map(then.get, now, repeat(UNBOUND)))))
    count = len(now) - sum(name not in then for name in others)
    gone: Iterable[str] = filterfalse(now.__contains__, then) if count != len(then) else ()
    return others, list(gone)
