"""The five functions of the package: `get`, `set`, `read`, `write`, `jobs`.

Each is one word to a `Job`, which is kept from call to call.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .job import Job, check_job
from .store.folder import locate, open_store, state


def get(job: str, step: str, default: Any = None, *, store: str | Path | None = None) -> Any:
    """The value of a step, or `default` where the step has none.

    The value is what the step displayed last; if it showed nothing, a dict of the names it bound.
    Raises TrustError for one that no key has signed which the user trusts, DamageError for one that
    is missing or altered, PackError for one that could not be kept.
    """
    return _job(job, store).get(step, default)


def set(job: str, step: str, value: Any, *, store: str | Path | None = None) -> None:
    """Make `value` the value of a step; steps that read it go stale.

    It binds the step's own name, if that is an identifier. What a cell of the step bound stays as
    it is, also where `value` is a dict of such names: `get` gives them together, `set` does not.

    Raises PackError, and changes nothing, where the value cannot be kept.
    """
    _job_to_set(job, store)[step] = value


def read(job: str, *, store: str | Path | None = None) -> dict[str, Any]:
    """The values of all steps of a job, by step, in their places."""
    return dict(_job(job, store))


def write(job: str, mapping: Mapping[str, Any], *, store: str | Path | None = None) -> None:
    """Set several steps, in the order of the mapping; other steps stay as they are.

    All of them are set, or, after an error, none.
    """
    _job(job, store).update(mapping)


def jobs(*, store: str | Path | None = None) -> list[str]:
    """The jobs of the store, in the order of their first runs."""
    return open_store(locate(store)).index.found_jobs()


_MOST = 16
"""How many jobs a thread keeps at hand."""

_here = threading.local()


_FRESH = 0.05
"""Seconds for which who sets one value after the other is spared the look for the job: it takes as
long as what else is done until the value is safe. A job sees by itself where its store is gone."""


def _job_to_set(name: str, store: str | Path | None) -> Job:
    said = store or os.environ.get("PIPESTATE_STORE")
    if not said or not os.path.isabs(said):  # it has to be looked for
        return _job(name, store)
    here = (name, said, os.environ.get("PIPESTATE_KEYS"))
    known: tuple[object, float, Job] | None = vars(_here).get("set")
    now = time.monotonic()
    if known is None or known[0] != here or now - known[1] > _FRESH:
        known = _here.set = here, now, _job(name, store)
    return known[2]


def _job(name: str, store: str | Path | None) -> Job:
    """A job that this thread keeps from call to call: to open one is to fold all that happened
    since the last snapshot, a hundred times what there is to do otherwise."""
    check_job(name)
    known: OrderedDict[object, Job] = vars(_here).setdefault("jobs", OrderedDict())
    path = locate(store)
    mark = (name, path, state(path))
    if mark not in known:
        known[mark] = Job(name, path)
    known.move_to_end(mark)
    while len(known) > _MOST:
        known.popitem(last=False)
    return known[mark]
