"""Values of libraries whose own pickling says too much: what is taken out of it, and why.

Arrow pickles the buffers behind a slice, matplotlib the ids of objects and counters that pickling
itself moves, a tree of scikit-learn arrays that share nothing but an owner. Each function here
answers as `reductions.reduce` does, which has them in its table.
"""

# ruff: noqa: SLF001 - what a library's pickling says too much of is not to be had in public

from __future__ import annotations

import functools
import importlib.util
import re
import sys
from pickle import PickleBuffer
from typing import Any, Final

from . import rebuild


def arrow_array(obj: Any) -> tuple[Any, ...]:
    """An Arrow array as its buffers; one that sees a small part of them gets its own first."""
    nbytes = obj.nbytes
    if obj.get_total_buffer_size() - nbytes > 256 + nbytes // 8:
        obj = _compact(obj)
    return rebuild.arrow_array, (_without_counts(obj.__reduce__()[1][0]),)


def _compact(array: Any) -> Any:
    """A slice keeps all of its parent's buffers; written and read again it has its own."""
    pyarrow = sys.modules["pyarrow"]
    batch = pyarrow.RecordBatch.from_arrays([array], names=["x"])
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pyarrow.ipc.open_stream(sink.getvalue()) as reader:
        return reader.read_next_batch().column(0)


def _without_counts(data: Any) -> Any:
    """The count of nulls only tells that somebody asked for it: the bitmap holds the truth."""
    kind, length, nulls, offset, buffers, children, dictionary = data
    if buffers and buffers[0] is not None and kind.num_buffers > 1:
        nulls = -1
    inner = [_without_counts(child) for child in children]
    trimmed = _trimmed(kind, offset + length, buffers)
    return kind, length, nulls, offset, trimmed, inner, dictionary


def _trimmed(kind: Any, length: int, buffers: list[Any]) -> list[Any]:
    """Buffers without the bytes that some makers append to fill up a line of the cache."""
    sizes: list[int | None] = [(length + 7) // 8]
    width = _OFFSETS.get(re.split(r"[<\[]", str(kind))[0])
    if width is not None and len(buffers) > 1 and buffers[1] is not None and length:
        sizes.append((length + 1) * width)
        if buffers[-1] is not buffers[1] and buffers[-1] is not None:
            last = memoryview(buffers[1])[length * width : (length + 1) * width]
            sizes.append(int.from_bytes(last, sys.byteorder))
    elif len(buffers) == 2 and kind.num_buffers == 2 and width is None:
        sizes.append(_fixed_size(kind, length))
    return [
        buffer if buffer is None or size is None or buffer.size <= size else buffer.slice(0, size)
        for buffer, size in zip(buffers, [*sizes, *[None] * len(buffers)], strict=False)
    ]


def _fixed_size(kind: Any, length: int) -> int | None:
    try:
        return (int(kind.bit_width) * length + 7) // 8
    except ValueError:  # elements of no fixed width
        return None


_OFFSETS: Final = {
    **dict.fromkeys(("string", "binary", "list", "map"), 4),
    **dict.fromkeys(("large_string", "large_binary", "large_list"), 8),
}
"""Types of varying length: the bytes of each offset into what comes next."""


_POLARS_BY_ARROW: Final = re.compile(
    "U?Int(8|16|32|64)|Float(32|64)|Boolean|String|Binary|Date|Time|Datetime.*|Duration.*"
)
"""The dtypes that Arrow gives back as they were; the others go polars' own way, in one piece."""


def polars_series(obj: Any) -> tuple[Any, ...] | None:
    """A polars Series through Arrow, which polars reads without a copy."""
    if not _POLARS_BY_ARROW.fullmatch(str(obj.dtype)) or not _is_installed("pyarrow"):
        return None
    values = obj.rechunk().to_arrow()
    return rebuild.polars_series, (obj.name, _compact(values) if values.offset else values)


@functools.cache
def _is_installed(name: str) -> bool:
    # Whether it is imported yet must not matter: tokens are the same in every process.
    return importlib.util.find_spec(name) is not None


def polars_frame(obj: Any) -> tuple[Any, ...]:
    """A polars DataFrame, column by column."""
    return rebuild.polars_frame, (tuple(obj.get_columns()),)


def image(obj: Any) -> tuple[Any, ...]:
    """A PIL image as its pixels, palette and notes."""
    pixels = obj.tobytes()
    palette = obj.palette and (obj.palette.mode, bytes(obj.palette.palette))
    return rebuild.image, (obj.mode, obj.size, PickleBuffer(pixels), palette, obj.info)


def figure(obj: Any) -> tuple[Any, ...]:
    """Without the note that it was pyplot's: loading a value must not open a window."""
    made = obj.__reduce_ex__(5)
    state = {key: value for key, value in made[2].items() if key != "_restore_to_pylab"}
    return (*made[:2], state, *made[3:])


def callbacks(obj: Any) -> tuple[Any, ...]:
    """Asking for the state takes a number from a counter: begin after those that are in use."""
    made = obj.__reduce_ex__(5)
    state = dict(made[2])
    state["_cid_gen"] = max(state["_pickled_cids"], default=-1) + 1
    return (*made[:2], dict(sorted(state.items())))


def transform(obj: Any) -> tuple[Any, ...]:
    """A node knows its parents by id and weakly; they make themselves known again instead."""
    made = obj.__reduce_ex__(5)
    state = {name: value for name, value in made[2].items() if name != "_parents"}
    node = sys.modules["matplotlib.transforms"].TransformNode
    children = tuple(
        name
        for name, value in state.items()
        if isinstance(value, node) and id(obj) in value._parents
    )
    return (*made[:2], (state, children), None, None, rebuild.set_transform)
