"""What lies between the fields of numpy's structures, and behind the ten bytes of its long floats:
whatever the memory held, and no content.

What is digested and kept of what has such gaps has zeros there, so that equal ones are kept once,
and nothing of what the memory was used for before comes along.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, NamedTuple

from .content import Pieces, View


class Gaps(NamedTuple):
    """Where the gaps of an element of `itemsize` bytes are: the first byte of each, and the one
    after it."""

    itemsize: int
    spans: tuple[tuple[int, int], ...]


LONG = "gG"
"""The long floats, and the complex numbers of them, by numpy's characters."""


def may_have(dtype: Any) -> bool:
    """Whether to ask for the gaps of a type at all."""
    return dtype.names is not None or dtype.char in LONG


@functools.lru_cache(maxsize=64)
def gaps_of(dtype: Any) -> Gaps | None:
    """The gaps of a structure, or of a number; None for one whose fields are no plain numbers or
    bytes.

    Two equal structures have the same, also if one of them is aligned.
    """
    if dtype.hasobject:
        return None
    if dtype.names is None:
        return Gaps(dtype.itemsize, _behind(dtype, 0))
    fields = sorted(
        ((dtype.fields[name][1], dtype[name]) for name in dtype.names), key=lambda field: field[0]
    )
    if any(
        one.names is not None or one.subdtype is not None or one.kind == "T" for _, one in fields
    ):
        return None
    spans, at = [], 0
    for start, one in [*fields, (dtype.itemsize, None)]:
        if start > at:
            spans.append((at, start))
        spans += _behind(one, start) if one is not None else ()
        at = max(at, start + (one.itemsize if one is not None else 0))
    return Gaps(dtype.itemsize, tuple(spans))


def _behind(dtype: Any, start: int) -> tuple[tuple[int, int], ...]:
    """The gaps of a number that begins there: x86 has some of 80 bits, in 12 or 16 bytes."""
    if dtype.char not in LONG or sys.modules["numpy"].finfo(dtype).nmant != EXTENDED:
        return ()
    size = dtype.itemsize // (1 + (dtype.kind == "c"))
    low, high = (10, size) if dtype.isnative else (0, size - 10)
    return tuple((at + low, at + high) for at in range(start, start + dtype.itemsize, size))


EXTENDED = 63
"""The bits of the fraction of such a float."""


def filled(memory: Any, gaps: Gaps) -> View:
    """The memory of structures with zeros in the gaps: a copy, of which a big one is made piece by
    piece. It costs a third of a copy without the gaps."""
    memory = memoryview(memory)

    def some(start: int, end: int) -> memoryview:
        first = start - start % gaps.itemsize
        last = end + -end % gaps.itemsize
        return _copy(memory[first:last], gaps)[start - first : end - first]

    return Pieces(memory.nbytes, some)


def without(data: bytes, gaps: Gaps | None) -> bytes:
    """The bytes of one element with zeros in the gaps."""
    found = bytearray(data)
    for start, end in gaps.spans if gaps is not None else ():
        found[start:end] = bytes(end - start)
    return bytes(found)


def _copy(memory: memoryview, gaps: Gaps) -> memoryview:
    numpy = sys.modules["numpy"]
    found = numpy.frombuffer(memory, "u1").copy()
    mask = numpy.full(gaps.itemsize, 0xFF, "u1")
    for start, end in gaps.spans:
        mask[start:end] = 0
    word = "u1" if gaps.itemsize % 8 else "u8"
    words, mask = found.view(word).reshape(found.size // gaps.itemsize, -1), mask.view(word)
    for at in numpy.flatnonzero(mask != ~mask.dtype.type(0)):
        words[:, at] &= mask[at]
    return memoryview(found)
