"""Digests of values: the one door to what `streams`, `joints` and `parts` do.

A digest stands for a value in every process and under every hash seed. Two values have the same one
exactly if their content is equal and the mutable objects in them are shared in the same way;
objects that cannot change never count as shared.
"""

from __future__ import annotations

from .joints import Shares, components, joined, joint, joint_of, of_one, outermost, shares, together
from .parts import MISSING, OPAQUE, at, flat, parts
from .streams import Stream, leaf, numbers_of, stream

__all__ = [
    "MISSING",
    "OPAQUE",
    "Shares",
    "Stream",
    "at",
    "components",
    "flat",
    "joined",
    "joint",
    "joint_of",
    "leaf",
    "numbers_of",
    "of_one",
    "outermost",
    "parts",
    "shares",
    "stream",
    "together",
]
