"""Arrays in a walk: their content in C order, and the memory that they see.

The memory under arrays is one mutable object, however many views there are, and its key is the
address where the memory of the outermost one begins; each array is another one. The second view of
some memory is told by where it lies relative to the first, so that `[a, a[:2]]` and `[a, a[2:]]`
differ. A lone view does not tell what it is a view of: it comes back from a pack as an array of its
own.

What pandas holds is told by content only: two frames that share memory lazily do not share it, as
either copies before it writes. Their memory is noted, because a plain array over it does share it.
"""

from __future__ import annotations

import array as buffers
import ctypes
import functools
import mmap
import sys
from collections.abc import Sequence
from typing import Any

from . import trees
from .content import PIECE, Pieces, View
from .gaps import LONG, filled, gaps_of, may_have
from .reductions import flat_bytes
from .tokens import Token, text
from .walk import INNER, ROOT, SMALL, Original, Place, Sink, Walk

PLAIN = frozenset("biufcmMSU")
"""The kinds of types of which the bytes of an element are all there is."""
ROW = 1 << 8


def memory(array: Any) -> int:
    """The key of an array's memory: where the outermost array or the buffer under it begins.

    Only owners that are nothing but a buffer count as such: others, such as trees of scikit-learn,
    may have several pieces of memory.
    """
    numpy = sys.modules["numpy"]
    if not array.nbytes:
        return id(array)
    owner = array.base
    while owner is not None:
        if isinstance(owner, memoryview):
            owner = owner.obj
        elif isinstance(owner, numpy.ndarray) or type(owner).__name__ == "DummyArray":
            array = owner if isinstance(owner, numpy.ndarray) else array
            owner = owner.base  # the latter is what `as_strided` puts between
        else:
            break
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(owner, torch.Tensor):
        return int(owner.untyped_storage().data_ptr())
    if isinstance(owner, (bytearray, buffers.array, mmap.mmap)):
        array = numpy.frombuffer(owner, "u1")
    return address(array)


def walk_buffer(walk: Walk, obj: object) -> None:
    """A bytearray or an `array.array`, which arrays may look at: its memory is its identity."""
    assert isinstance(obj, (bytearray, buffers.array))
    key = ctypes.addressof(ctypes.c_char.from_buffer(obj)) if len(obj) else id(obj)
    place: Place = (key, (len(obj), getattr(obj, "typecode", "")))
    number = walk.number(obj, key)
    if number is not None:
        walk.numbering.places[number] = place
    elif (first := _first(walk, key)) is not None:
        walk.emit(_relation(first, place))
    walk.emit(b"a" + text(getattr(obj, "typecode", "")))
    # A pickle has the bytes of a bytearray in itself.
    walk.content(memoryview(obj).cast("B"), is_passing=isinstance(obj, bytearray))


def address(array: Any) -> int:
    """Where the first element of an array lies."""
    if array.dtype.names is not None:  # the interface would describe each of its fields
        return int(array.ctypes.data)
    return int(array.__array_interface__["data"][0])


def walk_array(walk: Walk, obj: object) -> None:
    """An exact numpy array."""
    array: Any = obj
    if walk.holder != ROOT:
        walk_content(walk, array)
        if walk.holder != INNER and array.nbytes:
            _note_lazy(walk, array)
    elif _walk_memory(walk, array, key := memory(array)):
        # `ravel(order="K")` and much of C code go by it, and it comes back from a pack.
        walk.emit(b"f" if array.flags.fnc else b"")
        walk_content(walk, array, parent=walk.numbering.numbers[key])


def _walk_memory(walk: Walk, array: Any, key: int) -> bool:
    """Write out which memory an array sees; whether its content is still to be told."""
    numbering = walk.numbering
    if key != id(array) and walk.number(array) is None:
        return False  # this very array, whose shape and type can be set too
    place = _place(array)
    walk.emit(b"A" if array.flags.writeable else b"a")
    if key in numbering.lazy:
        holder, held = numbering.lazy[key]
        walk.emit(b"%%%d:" % holder + _relation(held, place))
    number = walk.number(array, key)
    if number is not None:
        numbering.places[number] = place
        return True
    first = _first(walk, key)
    if first is None:
        return True
    walk.emit(_relation(first, place))
    return place != first


def _first(walk: Walk, key: int) -> Place | None:
    """How the first view of some memory lies, if it is of this walk."""
    return walk.numbering.places.get(walk.numbering.numbers.get(key, ROOT))


def _place(array: Any) -> Place:
    steps = _steps(array.shape, array.strides)
    return address(array), (steps, array.shape, dtype_text(array.dtype))


def _steps(shape: Any, strides: Any) -> tuple[int, ...]:
    """Strides, where there is a step to take: the others may be anything."""
    if 0 in shape:
        return ()
    return tuple(step if n > 1 else 0 for n, step in zip(shape, strides, strict=True))


def _relation(first: Place, second: Place) -> bytes:
    """How one view lies to another of the same memory."""
    return text(repr((second[0] - first[0], first[1], second[1])))


def _note_lazy(walk: Walk, array: Any) -> None:
    """Note memory that a frame holds; say so if a plain array holds it as well."""
    key, numbering = memory(array), walk.numbering
    number = numbering.numbers.get(key)
    if number is not None:
        walk.emit(b"%%@%d;" % number + _relation(numbering.places[number], _place(array)))
    walk.findings.alive.append(array)
    # The columns of a block, of which there may be thousands, share it.
    if key not in numbering.lazy:
        numbering.lazy[key] = walk.holder, _place(array)


def walk_many(walk: Walk, arrays: list[Any], parents: Sequence[int]) -> bool:
    """Many arrays side by side: which types and shapes there are, which array has which, and then
    all their elements. Does nothing, and says so, where not all are small ones of plain numbers,
    each with memory that was not met before."""
    if walk.holder != ROOT or not all(map(_is_small, arrays)):
        return False
    starts = list(map(address, arrays))
    pairs = zip(arrays, starts, strict=True)
    keys = [memory(one) if one.base is not None else start for one, start in pairs]
    numbering = walk.numbering
    known = (numbering.numbers.keys(), numbering.lazy.keys())
    distinct = set(map(id, arrays)).union(keys)
    if len(distinct) < 2 * len(arrays) or not all(one.isdisjoint(distinct) for one in known):
        return False
    walk.number_all(arrays, parents)
    numbers = range(len(numbering.parents), len(numbering.parents) + len(arrays))
    numbering.numbers.update(zip(keys, numbers, strict=True))
    numbering.parents.extend(parents)
    lies: dict[Any, tuple[int, Any]] = {}
    told: dict[Any, int] = {}
    row = []
    for one, start, number in zip(arrays, starts, numbers, strict=True):
        shape = (one.shape, one.strides, one.dtype, one.flags.writeable)
        if shape not in lies:
            what = (dtype_text(one.dtype), one.shape, shape[-1], one.flags.fnc)
            lies[shape] = told.setdefault(what, len(told)), _place(one)[1]
        place, lie = lies[shape]
        row.append(place)
        numbering.places[number] = start, lie
    trees.dump([list(told), row], Sink(walk))
    for at in range(0, len(arrays), ROW):
        walk.emit(b"".join(one.tobytes() for one in arrays[at : at + ROW]))
        walk.flush()
    return True


def _is_small(array: Any) -> bool:
    dtype = array.dtype
    return dtype.kind in PLAIN and dtype.char not in LONG and 0 < array.nbytes <= SMALL


def walk_content(
    walk: Walk, array: Any, *, parent: int | None = None, is_passing: bool = False
) -> None:
    """Elements in C order. Objects are walked one by one, and so are a structure's fields, unless
    they are plain. `is_passing` says of a copy that it was made only for this look."""
    numpy = sys.modules["numpy"]
    dtype = array.dtype
    walk.emit(text(repr((dtype_text(dtype), array.shape))))
    gaps = gaps_of(dtype) if may_have(dtype) else None
    if gaps is not None and gaps.spans and array.size:
        memory = flat_bytes(numpy.ascontiguousarray(array))
        if not is_passing and array.flags.c_contiguous and _is_whole(array):
            of = Original(memoryview(memory), gaps)
        else:
            of = None
        walk.content(filled(memory, gaps), is_passing=of is None, of=of)
    elif dtype.names is not None and gaps is None:
        fields = [numpy.ascontiguousarray(array[name]) for name in dtype.names]
        walk.push([_Field(field) for field in fields], parent=parent)
    elif dtype.hasobject or dtype.kind == "T":
        items = array.reshape(-1).astype(object, copy=False).tolist()
        if set(map(type, items)) <= trees.SCALARS:
            walk.adopt(functools.partial(trees.dump, items), (), is_rooted=False)
        else:
            walk.push(walk.side_by_side([Token(b"O"), *items]), parent=parent, holder=ROOT)
    elif dtype.itemsize and array.size:
        # What is not in C order is kept as it is, or as the copy that a pickle makes of it.
        walk.content(in_c_order(array), is_passing=is_passing or not array.flags.c_contiguous)


def in_c_order(array: Any) -> View:
    """The bytes of an array's elements; in another order than they lie, a big copy is made piece by
    piece."""
    if array.flags.c_contiguous or array.nbytes <= PIECE:
        return memoryview(_some_of(array, 0, array.nbytes))
    return Pieces(array.nbytes, lambda start, end: memoryview(_some_of(array, start, end)))


def _some_of(array: Any, start: int, end: int) -> Any:
    numpy = sys.modules["numpy"]
    if array.flags.c_contiguous:
        return array.reshape(-1).view("u1")[start:end]
    row = array.nbytes // len(array)
    first, last = start // row, -(-end // row)
    if row <= PIECE or array.ndim == 1:
        found = numpy.array(array[first:last], order="C", copy=True).reshape(-1).view("u1")
        return found[start - first * row : end - first * row]
    return numpy.concatenate(
        [
            _some_of(array[at], max(0, start - at * row), min(row, end - at * row))
            for at in range(first, last)
        ]
    )


def _is_whole(array: Any) -> bool:
    """Whether it is not a part of another array, which may be kept as well."""
    base = array.base
    return not isinstance(base, sys.modules["numpy"].ndarray) or base.nbytes == array.nbytes


class _Field:
    """One field of a structured array, as content without memory of its own."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array


def walk_field(walk: Walk, obj: object) -> None:
    """A field that `walk_content` left on the stack."""
    assert isinstance(obj, _Field)
    walk_content(walk, obj.array, is_passing=True)


FIELD = _Field


def dtype_text(dtype: Any) -> str:
    """A text for a dtype that differs wherever the meaning or the layout of the bytes does."""
    if dtype.names is None:
        return str(dtype.str) if dtype.subdtype is None else repr(dtype)
    if gaps_of(dtype) is None:
        return _structure_text(dtype)
    # Its names can be set, and two may be equal of which one is aligned.
    return _flat_text(dtype, dtype.names, dtype.isalignedstruct)


def _structure_text(dtype: Any) -> str:
    fields = [(name, dtype_text(dtype[name]), dtype.fields[name][1]) for name in dtype.names]
    return repr((fields, dtype.itemsize, dtype.isalignedstruct))


@functools.lru_cache(maxsize=64)
def _flat_text(dtype: Any, _names: tuple[str, ...], _is_aligned: bool) -> str:
    return _structure_text(dtype)


def walk_storage(walk: Walk, obj: object) -> int | None:
    """The storage of a torch tensor, which other tensors may see, and how it lies in it. Gives the
    number of the tensor where its content is still to be told."""
    tensor: Any = obj
    number = walk.number(obj)
    if number is None:
        return None
    key = int(tensor.untyped_storage().data_ptr())
    if key:
        shape = tuple(tensor.shape)
        place: Place = (int(tensor.data_ptr()), (_steps(shape, tensor.stride()), shape))
        storage = walk.number(tensor, key)
        if storage is not None:
            walk.numbering.places[storage] = place
        else:
            walk.emit(_relation(_first(walk, key) or place, place))
    return number
