"""Functions that remember what they gave (`functools.cache`), and when that holds no more.

A run from the top would find them empty. Here one lives on while what its code reads is made anew:
then it has to forget, or a step that runs for that very reason would be given the old results. As
long as nothing has changed, it keeps what the steps before have put in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..pipe import graph
from .namespace import Namespace
from .trial import Trial

_CACHE: Any = type(functools.cache(len))


def forget(space: Namespace, trial: Trial, reads_of: Callable[[str], Iterable[str]]) -> None:
    """Empty the caches in the step's reach whose functions read what is not what it was."""
    digests = {one.path.name: one.whole for one in trial.inputs}
    for name in trial.placed:
        for function in _caching(space.ns.get(name)):
            reach = graph.reach([name], reads_of)
            seen = {one: digest for one, digest in digests.items() if one in reach}
            if space.remembered.setdefault(function, seen) != seen:
                function.cache_clear()
                space.remembered[function] = seen


def _caching(value: object) -> Iterator[Any]:
    """The caches that a value is, or that a class of the notebook has among its methods."""
    held = [value]
    if isinstance(value, type) and value.__module__ == "__main__":
        held = [getattr(one, "__func__", one) for one in vars(value).copy().values()]
    yield from (one for one in held if isinstance(one, _CACHE))
