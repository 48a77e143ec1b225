"""The other half of `reductions`: functions that a pack names, called when it is loaded.

Their names are part of the format of a pack: one may gain an argument with a default, and is never
renamed or taken away. A library is imported here only when a pack asks for a value of it; the
module itself imports none.
"""

from __future__ import annotations

import array as arrays
import functools
import importlib
import io
import pickle
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..errors import DamageError, FormatError
from . import content, trees


def typed_array(typecode: str, memory: Any) -> arrays.array[Any]:
    """An `array.array` of the bytes in `memory`."""
    made = arrays.array(typecode)
    made.frombytes(memory)
    return made


def memory_view(owner: Any, code: str, shape: tuple[int, ...], readonly: bool) -> memoryview:
    """A memoryview of all of `owner`."""
    view = memoryview(owner)
    if view.format != code or view.shape != shape:
        view = view.cast("B").cast(code, shape)  # type: ignore[call-overload]
    return view.toreadonly() if readonly and not view.readonly else view


def cached_function(
    function: Callable[..., Any], maxsize: int | None, typed: bool
) -> Callable[..., Any]:
    """`function` under an `lru_cache` that is empty: what it held can be had again."""
    return functools.lru_cache(maxsize=maxsize, typed=typed)(function)


def cached_property(function: Callable[[Any], Any], name: str | None) -> Any:
    """A `cached_property` of a class, which has told it its name already."""
    made = functools.cached_property(function)
    if name is not None:
        made.__set_name__(object, name)
    return made


def tree(parts: Sequence[tuple[str, bytes | memoryview]]) -> Any:
    """A tree of plain builtin values from its pieces, each with its digest.

    marshal trusts what it reads, so a piece is hashed in the very copy that is read: a mapped file
    could change meanwhile. Raises DamageError.
    """
    return trees.joined(_checked(digest, bytes(part)) for digest, part in parts)


def _checked(digest: str, piece: bytes) -> bytes:
    if content.digest(piece) != digest:
        raise DamageError(f"blob {digest[:12]} does not hold the bytes that were put there")
    return piece


# --- functions and names -------------------------------------------------------------------------


class Namespace:
    """Stands in a pack for the namespace that it is loaded into: `unpack` puts that there."""

    def __reduce__(self) -> str:
        return "NAMESPACE"


NAMESPACE: Final = Namespace()


def definition(name: str) -> Any:
    """Stands in a pack for a definition of the notebook; `unpack` puts its own in its place."""
    raise LookupError(f"{name} is a definition of the notebook: load this with `loading.unpack`")


class ModuleGlobals:
    """Stands in a pack for the globals of an importable module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return module_globals, (self.name,)


def module_globals(name: str) -> dict[str, Any]:
    """The live globals of a module."""
    return vars(importlib.import_module(name))


def code(tag: str | None, *parts: Any) -> types.CodeType:
    """The code of a function, as this Python has it. That of another one would be nonsense to it,
    and may end the process."""
    own = sys.implementation.cache_tag
    if tag != own:
        raise FormatError(f"its code is that of {tag}, and this is {own}", "run the step again")
    return types.CodeType(*parts)


def function(
    code: types.CodeType, namespace: dict[str, Any], name: str, closure: Any
) -> types.FunctionType:
    """A function over these live globals."""
    return types.FunctionType(code, namespace, name, None, closure)


def set_function(made: types.FunctionType, state: tuple[dict[str, Any], Any]) -> None:
    """What a function has besides its code."""
    known, attributes = state
    for name in ("__module__", "__doc__"):
        setattr(made, name, known.pop(name, None))
    for name, value in known.items():
        if name != "__type_params__" or hasattr(made, name):
            setattr(made, name, value)
    if attributes:
        made.__dict__.update(attributes)


def cell() -> types.CellType:
    """A variable of a closure, not bound yet."""
    return types.CellType()


def set_cell(made: types.CellType, content: tuple[Any]) -> None:
    """Bind the variable."""
    made.cell_contents = content[0]


def set_attributes(made: object, state: Any) -> None:
    """The attributes of an instance, as pickle sets them, without asking it for `__setstate__`."""
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    if attributes:
        object.__getattribute__(made, "__dict__").update(attributes)
    for name, value in (slots or {}).items():
        object.__setattr__(made, name, value)


def set_exception(made: BaseException, state: tuple[Any, Any, Any, bool]) -> None:
    """Attributes of an exception, and what it came from."""
    attributes, cause, context, suppressed = state
    if attributes:
        made.__setstate__(attributes)
    made.__cause__, made.__context__ = cause, context
    made.__suppress_context__ = suppressed


# --- numpy ---------------------------------------------------------------------------------------


def array_subclass(array: Any, kind: type) -> Any:
    """`array` as one of numpy's own subclasses (matrix, recarray, memmap)."""
    return array.view(kind)


def masked(data: Any, mask: Any, fill_value: Any, is_hard: bool) -> Any:
    """A masked array over `data`; `mask` is None where nothing is masked."""
    ma = importlib.import_module("numpy.ma")
    made = ma.MaskedArray(
        data, mask=ma.nomask if mask is None else mask, copy=False, hard_mask=is_hard
    )
    if fill_value is not None:
        made.fill_value = fill_value
    return made


def window(owner: Any, offset: int, shape: Any, strides: Any, dtype: Any, writable: bool) -> Any:
    """The view of the array `owner` that begins `offset` bytes into it: views stay views."""
    numpy = importlib.import_module("numpy")
    if numpy.dtype(dtype).hasobject:
        step = owner.dtype.itemsize
        flat = owner.reshape(-1, order="A")
        view = numpy.lib.stride_tricks.as_strided(flat[offset // step :], shape, strides)
    else:
        view = numpy.ndarray(shape, dtype, owner, offset, strides)
    if not writable and view.flags.writeable:
        view.flags.writeable = False
    return view


def atoms(memory: Any, shape: Any) -> Any:
    """An array of objects that are all numbers, texts or None, pickled on their own."""
    numpy = importlib.import_module("numpy")
    items = _Atoms(io.BytesIO(memory)).load()
    made = numpy.empty(len(items), object)
    made[:] = items
    return made.reshape(shape)


class _Atoms(pickle.Unpickler):
    """Reads what needs no code to be loaded."""

    def find_class(self, module: str, name: str, /) -> Any:
        raise DamageError(f"an array of plain objects holds a {module}.{name}")


# --- pandas --------------------------------------------------------------------------------------


def frame(index: Any, columns: Any, blocks: Sequence[Any], attrs: Any, unique: bool) -> Any:
    """A DataFrame over `blocks`, each `(values, positions of its columns)`, without a copy."""
    numpy = importlib.import_module("numpy")
    internals = importlib.import_module("pandas.api.internals")
    placed = [
        (
            values.reshape(len(where), -1)
            if type(values) is numpy.ndarray and values.ndim == 1
            else values,
            numpy.array(where, dtype=numpy.intp),
        )
        for values, where in blocks
    ]
    made = internals.create_dataframe_from_blocks(placed, index=index, columns=columns)
    return _described(made, attrs, unique)


def series(values: Any, index: Any, name: Any, attrs: Any, unique: bool) -> Any:
    """A Series over `values`, without a copy."""
    pandas = importlib.import_module("pandas")
    made = pandas.Series(values, index=index, dtype=values.dtype, copy=False)
    made.name = name
    return _described(made, attrs, unique)


def link(made: Any, notes: Sequence[Any]) -> None:
    """Tell pandas which blocks share memory: a list stands for a block's note on who shares it."""
    for block, note in zip(made._mgr.blocks, notes, strict=True):  # noqa: SLF001 - no public way
        if note is None:
            continue
        if note:
            block.refs = note[0]
            block.refs.add_reference(block)
        else:
            note.append(block.refs)


def _described(made: Any, attrs: Any, unique: bool) -> Any:
    if attrs:
        made.attrs = attrs
    if unique:
        made.flags.allows_duplicate_labels = False
    return made


# --- torch ---------------------------------------------------------------------------------------


def flat_tensor(memory: Any) -> Any:
    """The bytes of `memory` as a tensor over them: the storage of those that share it."""
    return _flat_tensor(memory, "uint8")


def _flat_tensor(memory: Any, dtype: str) -> Any:
    torch = sys.modules.get("torch") or importlib.import_module("torch")
    kind = getattr(torch, dtype)
    return torch.frombuffer(memory, dtype=kind) if len(memory) else torch.empty(0, dtype=kind)


def tensor(
    memory: Any, dtype: str, shape: Any, strides: Any, offset: int, device: str, kind: str
) -> Any:
    """A tensor over `memory`, bytes or a flat tensor; `offset` and `strides` count elements."""
    if hasattr(memory, "untyped_storage"):
        made = _flat_tensor(b"", dtype).set_(memory.untyped_storage(), offset, shape, strides)
    else:
        made = _flat_tensor(memory, dtype).as_strided_(shape, strides, offset)
    if device != "cpu":
        made = made.to(device)
    if kind == "Parameter":
        made = importlib.import_module("torch").nn.Parameter(made, requires_grad=False)
    return made


def set_tensor(made: Any, state: tuple[bool, Any, Any]) -> None:
    """What a tensor has besides its memory: gradient, whether it asks for one, attributes."""
    requires_grad, grad, attributes = state
    made.requires_grad_(requires_grad)
    if grad is not None:
        made.grad = grad
    if attributes:
        made.__dict__.update(attributes)


def graph_tensor(leaf: Any) -> Any:
    """A tensor that was computed from others. Asking it for gradients raises, never deceives."""
    return _cut().apply(leaf.requires_grad_(True))


@functools.cache
def _cut() -> Any:
    torch = importlib.import_module("torch")

    class KeptWithoutGraph(torch.autograd.Function):  # type: ignore[misc, name-defined]
        """The graph behind a tensor is not kept; its value is."""

        @staticmethod
        def forward(ctx: Any, leaf: Any) -> Any:
            return leaf.detach()

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            raise RuntimeError(
                "this tensor was restored, and the graph that computed it was not kept: "
                "run the step that makes it again (%%step NAME --force)"
            )

    return KeptWithoutGraph


# --- others --------------------------------------------------------------------------------------


def polars_series(name: str, values: Any) -> Any:
    """A polars Series over an Arrow array."""
    polars = importlib.import_module("polars")
    return polars.Series(name, values)


def polars_frame(columns: Sequence[Any]) -> Any:
    """A polars DataFrame of these Series."""
    return importlib.import_module("polars").DataFrame(list(columns))


def arrow_array(data: Any) -> Any:
    """A pyarrow array over the buffers in `data`, as pyarrow's own reduction gives them."""
    # pyarrow has no public function that takes the children and the dictionary as well.
    return importlib.import_module("pyarrow.lib")._restore_array(data)  # noqa: SLF001


def image(mode: str, size: Any, memory: Any, palette: Any, info: Any) -> Any:
    """A PIL image of these pixels."""
    made = importlib.import_module("PIL.Image").frombytes(mode, size, bytes(memory))
    if palette is not None:
        made.putpalette(palette[1], palette[0])
    made.info = info
    return made


def set_transform(made: Any, parts: tuple[dict[str, Any], tuple[str, ...]]) -> None:
    """The state of a node of matplotlib's transforms, and which of it has the node as a parent."""
    state, children = parts
    made.__setstate__({**state, "_parents": {}})
    made.set_children(*(state[name] for name in children))


def module(name: str) -> Any:
    """An installed module, by name."""
    return importlib.import_module(name)
