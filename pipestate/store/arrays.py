"""Arrays in a walk: their content in C order, and the memory that they see.

Arrays over the same memory are one mutable object, however many views there are, and its key is
the address where the memory of the outermost one begins. The second view of some memory is told by
where it lies relative to the first, so that `[a, a[:2]]` and `[a, a[2:]]` differ. A lone view does
not tell what it is a view of: it comes back from a pack as an array of its own.

What pandas holds is told by content only: two frames that share memory lazily do not share it, as
either copies before it writes. Their memory is noted, because a plain array over it does share it.
"""

from __future__ import annotations

import sys
from typing import Any

from .walk import ROOT, Token, Walk, text


def memory(array: Any) -> int:
    """The key of an array's memory: where it begins, or the id of the object that owns it."""
    numpy = sys.modules["numpy"]
    while isinstance(array.base, numpy.ndarray):
        array = array.base
    owner = array.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(owner, torch.Tensor):
        return int(owner.untyped_storage().data_ptr())
    if owner is None or isinstance(owner, bytes) or not array.nbytes:
        return address(array) if array.nbytes else id(array)
    return id(owner)


def address(array: Any) -> int:
    """Where the first element of an array lies."""
    return int(array.__array_interface__["data"][0])


def walk_array(walk: Walk, obj: object) -> None:
    """An exact numpy array."""
    array: Any = obj
    if walk.holder != ROOT:
        walk_content(walk, array)
        note_lazy(walk, array)
        return
    if not walk_memory(walk, array, "A" if array.flags.writeable else "a"):
        return
    walk_content(walk, array, parent=walk.numbering.numbers[memory(array)])


def walk_memory(walk: Walk, array: Any, tag: str) -> bool:
    """Write out which memory an array sees; whether its content is still to be told."""
    key, start = memory(array), address(array)
    layout = (array.strides, array.shape, array.dtype.str)
    layouts = walk.numbering.layouts
    walk.findings.alive.append(array)
    walk.emit(tag.encode())
    if key in walk.numbering.lazy:
        walk.emit(b"%%%d:" % walk.numbering.lazy[key])
    number = walk.number(key)
    if number is not None:
        layouts[number] = (start, layout)
        return True
    known = walk.numbering.numbers.get(key, ROOT)
    if known not in layouts:  # a bytearray that was met as such
        layouts[known] = (start, layout)
        return True
    first, first_layout = layouts[known]
    walk.emit(text(repr((start - first, first_layout, layout))))
    return (start, layout) != (first, first_layout)


def note_lazy(walk: Walk, array: Any) -> None:
    """Note memory that pandas holds; say so if a plain array holds it as well."""
    key = memory(array)
    if key in walk.numbering.numbers:
        walk.emit(b"%%@%d;" % walk.numbering.numbers[key])
    elif array.nbytes:
        walk.findings.alive.append(array)
        walk.numbering.lazy.setdefault(key, walk.holder)


def walk_content(walk: Walk, array: Any, *, parent: int | None = None) -> None:
    """Elements in C order. Objects are walked one by one; fields of a structure too."""
    numpy = sys.modules["numpy"]
    dtype = array.dtype
    walk.emit(text(repr((dtype_text(dtype), array.shape))))
    if dtype.names is not None:
        # Between the fields of an aligned structure lies whatever was there.
        fields = [numpy.ascontiguousarray(array[name]) for name in dtype.names]
        walk.push([_Field(field) for field in fields], parent=parent)
    elif dtype.hasobject or dtype.kind == "T":
        items = array.reshape(-1).tolist() if dtype.hasobject else array.reshape(-1).astype(object)
        walk.push([Token(b"O"), *items], parent=parent, holder=ROOT)
    elif dtype.itemsize and array.size:
        flat = numpy.ascontiguousarray(array).reshape(-1).view("u1")
        walk.emit(walk.content(memoryview(flat)))


class _Field:
    """One field of a structured array, as content without memory of its own."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array


def walk_field(walk: Walk, obj: object) -> None:
    """A field that `walk_content` left on the stack."""
    assert isinstance(obj, _Field)
    walk_content(walk, obj.array)


FIELD = _Field


def dtype_text(dtype: Any) -> str:
    """A text for a dtype that differs wherever the meaning or the layout of the bytes does."""
    if dtype.names is None:
        return str(dtype.str) if dtype.subdtype is None else repr(dtype)
    fields = [(name, dtype_text(dtype[name]), dtype.fields[name][1]) for name in dtype.names]
    return repr((fields, dtype.itemsize, dtype.isalignedstruct))


def walk_subclass(walk: Walk, obj: object, reduced: Any) -> None:
    """An array of a subclass: an object, made of what it is reduced to, over memory."""
    number = walk.number(id(obj))
    if number is not None:
        walk.push(reduced, parent=number)


def walk_tensor(walk: Walk, obj: object, reduced: Any) -> None:
    """A torch tensor: an object, over a storage that other tensors may see."""
    tensor: Any = obj
    number = walk.number(id(obj))
    if number is None:
        return
    key = int(tensor.untyped_storage().data_ptr())
    walk.findings.alive.append(tensor)
    if key:
        start, layout = int(tensor.data_ptr()), (tensor.stride(), tuple(tensor.shape))
        storage = walk.number(key)
        if storage is not None:
            walk.numbering.layouts[storage] = (start, layout)
        else:
            known = walk.numbering.numbers.get(key, ROOT)
            first, first_layout = walk.numbering.layouts.get(known, (start, ()))
            walk.emit(text(repr((start - first, first_layout, layout))))
    walk.push(reduced, parent=number)
