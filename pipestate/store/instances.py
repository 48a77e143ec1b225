"""Instances whose own pickling says too little, or cannot be loaded again.

Pickle leaves out what an exception came from. And before it gives an instance its attributes it
asks it for `__setstate__`: a class whose `__getattr__` passes everything on to an attribute that is
not there yet goes round in circles. Each function here answers as `reductions.reduce` does.
"""

from __future__ import annotations

import copyreg
from typing import Any

from . import rebuild

Reduction = tuple[Any, ...]


def exception(obj: Any) -> Reduction | None:
    """An exception with its cause and context. Its traceback, which holds frames, is left out."""
    links = obj.__cause__, obj.__context__, obj.__suppress_context__
    if links == (None, None, False) or type(obj).__setstate__ is not BaseException.__setstate__:
        return None
    made = obj.__reduce_ex__(5)
    if not isinstance(made, tuple) or len(made) > 3:
        return None
    attributes = made[2] if len(made) == 3 else None
    return (*made[:2], (attributes, *links), None, None, rebuild.set_exception)


def answers_all(cls: type) -> bool:
    """Whether instances answer to any name, and are given their state in the ordinary way."""
    names = [vars(base).keys() for base in cls.__mro__[:-1]]
    return any("__getattr__" in one for one in names) and not any(
        "__setstate__" in one for one in names
    )


def answering(obj: Any) -> Reduction | None:
    """An instance that is not asked for `__setstate__` when it comes back."""
    made = obj.__reduce_ex__(5)
    if not isinstance(made, tuple) or made[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
        return None
    function, args, state, listed, pairs = [*made, None, None, None][:5]
    if state is None or len(made) > 5:
        return None
    return function, args, state, listed, pairs, rebuild.set_attributes
