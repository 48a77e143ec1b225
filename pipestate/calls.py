"""The functions of the package that only look: `get`, `read`, `jobs`; `changes` has the others.

Each is one word to the values of a job, which are kept from call to call.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, TypeVar

from .store.folder import locate, open_store, state
from .values import Values, check_job, check_name

V = TypeVar("V", bound=Values)


def get(job: str, step: str, default: Any = None, *, store: str | Path | None = None) -> Any:
    """The value of a step, or `default` where the step has none.

    The value is what the step displayed last; if it showed nothing, a dict of the names it bound.
    Raises TrustError for one that no key has signed which the user trusts, DamageError for one that
    is missing or altered, PackError for one that could not be kept.
    """
    check_name(step)
    return at_hand(job, store, Values).get(step, default)


def read(job: str, *, store: str | Path | None = None) -> dict[str, Any]:
    """The values of all steps of a job, by step, in their places, as they stood at one moment."""
    return at_hand(job, store, Values).together()


def jobs(*, store: str | Path | None = None) -> list[str]:
    """The jobs of the store, in the order of their first runs."""
    return open_store(locate(store)).index.found_jobs()


_MOST = 16
"""How many jobs a thread keeps at hand."""

_here = threading.local()


def at_hand(name: str, store: str | Path | None, kind: type[V]) -> V:
    """A job that this thread keeps from call to call: to open one is to fold all that happened
    since the last snapshot, a hundred times what there is to do otherwise."""
    check_job(name)
    known: OrderedDict[object, Values] = vars(_here).setdefault("jobs", OrderedDict())
    path = locate(store)
    mark = (name, path, state(path))
    found = known.get(mark)
    if not isinstance(found, kind):
        found = known[mark] = kind(name, path)
    known.move_to_end(mark)
    while len(known) > _MOST:
        known.popitem(last=False)
    return found
