"""The functions of the package that change a job: `set` and `write`.

Each is one word to a `Job`, which is kept from call to call.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .calls import at_hand
from .job import Job

_here = threading.local()


def set(job: str, step: str, value: Any, *, store: str | Path | None = None) -> None:
    """Make `value` the value of a step; steps that read it go stale.

    It binds the step's own name, if that is an identifier. What a cell of the step bound stays as
    it is, also where `value` is a dict of such names: `get` gives them together, `set` does not.

    Raises PackError, and changes nothing, where the value cannot be kept.
    """
    _job(job, store)[step] = value


def write(job: str, mapping: Mapping[str, Any], *, store: str | Path | None = None) -> None:
    """Set several steps, in the order of the mapping; other steps stay as they are.

    All of them are set, or, after an error, none.
    """
    at_hand(job, store, Job).update(mapping)


_FRESH = 0.05
"""Seconds for which who sets one value after the other is spared the look for the job: it takes as
long as what else is done until the value is safe. A job sees by itself where its store is gone."""


def _job(name: str, store: str | Path | None) -> Job:
    said = store or os.environ.get("PIPESTATE_STORE")
    if not said or not os.path.isabs(said):  # it has to be looked for
        return at_hand(name, store, Job)
    here = (name, said, os.environ.get("PIPESTATE_KEYS"))
    known: tuple[object, float, Job] | None = vars(_here).get("set")
    now = time.monotonic()
    if known is None or known[0] != here or now - known[1] > _FRESH:
        known = _here.set = here, now, at_hand(name, store, Job)
    return known[2]
