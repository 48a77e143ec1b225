"""How values of the scientific libraries are taken apart: one table, asked by digest and pack.

`reduce(obj)` answers as `__reduce_ex__` does, or None where the type's own pickling is right. The
answer is a function of the content alone: equal values give equal tokens before and after a round
trip, in any process. What a value shares with others, and how its memory lies, is the packer's
business; here an array is its elements in C order, a frame its columns.

Libraries are recognised by the names of their types and looked up among what is imported already:
nobody has a value of a library that is not. Plugins of the group `pipestate.codecs` come first.
"""

from __future__ import annotations

# ruff: noqa: SLF001 - how memory lies in a library's value is rarely to be had in public
import array as arrays
import builtins
import copyreg
import dataclasses
import functools
import gc
import sys
import types
import weakref
from collections.abc import Callable, Mapping, MutableMapping
from pickle import PickleBuffer
from typing import Any, Final

from .. import plugins
from . import foreign, functions, gaps, instances, rebuild

Reduction = tuple[Any, ...]
Reducer = Callable[[Any], Reduction | None]


def reduce(obj: object) -> Reduction | None:
    """The reduce tuple of `obj`, or None: use the default. A dict lookup for types not handled."""
    cls = type(obj)
    try:
        reducer = _known[cls]
    except KeyError:
        reducer = reducer_of(cls)
    return reducer(obj) if reducer is not None else None


def reducer_of(cls: type) -> Reducer | None:
    """The function that reduces values of exactly this type, or None."""
    known: MutableMapping[type, Reducer | None] = _known
    if cls.__module__ == "__main__":
        known = _passing
    try:
        return known[cls]
    except KeyError:
        found = known[cls] = _find(cls)
        return found


def _find(cls: type) -> Reducer | None:
    names = [type_name(base) for base in cls.__mro__[:-1]]
    package = cls.__module__.partition(".")[0]
    if package != "__main__" and package not in sys.stdlib_module_names:
        plugin = plugins.load(plugins.CODECS, names[0])
        if callable(plugin):
            return plugin
    exact = _EXACT.get(names[0])
    found = exact or next((_FAMILY[name] for name in names if name in _FAMILY), None)
    if found is None and package == "__main__" and instances.answers_all(cls):
        return instances.answering
    return found


def type_name(cls: type) -> str:
    """`package.module.Type`, as tables and plugins name a type."""
    return f"{cls.__module__}.{cls.__qualname__}"


# --- the standard library ------------------------------------------------------------------------


def _typed_array(obj: arrays.array[Any]) -> Reduction:
    return rebuild.typed_array, (obj.typecode, PickleBuffer(obj))


def _memory_view(obj: memoryview) -> Reduction:
    owner = obj.obj
    is_known = type(owner) in (bytes, bytearray, arrays.array) and obj.c_contiguous
    if not is_known or memoryview(owner).nbytes != obj.nbytes:
        raise TypeError("where a part of memory begins cannot be had from Python")
    return rebuild.memory_view, (owner, obj.format, obj.shape, obj.readonly)


def _dict_view(method: str) -> Reducer:
    """A view stays a view of its own dict (`.mapping` is another object: a proxy)."""

    def reduce_view(obj: Any) -> Reduction | None:
        owners = gc.get_referents(obj)
        return (getattr(type(owners[0]), method), (owners[0],)) if len(owners) == 1 else None

    return reduce_view


def _proxy(obj: Any) -> Reduction | None:
    owners = gc.get_referents(obj)
    if len(owners) != 1 or type(owners[0]) is not dict:
        return None
    return types.MappingProxyType, (owners[0],)


def _cached_function(obj: Any) -> Reduction | None:
    if functions.is_importable(obj):
        return None
    options = obj.cache_parameters()
    return rebuild.cached_function, (obj.__wrapped__, options["maxsize"], options["typed"])


def _cached_property(obj: Any) -> Reduction:
    # Before Python 3.12 it holds a lock.
    return rebuild.cached_property, (obj.func, obj.attrname)


def _sentinel(name: str) -> Reducer:
    """Told by identity, and so kept as the name of the one that there is."""
    return lambda _: (getattr, (dataclasses, name))


# --- numpy ---------------------------------------------------------------------------------------


def is_raw(dtype: Any) -> bool:
    """Whether elements of this dtype are plain bytes, so that memory can be kept as it is."""
    return not dtype.hasobject and dtype.kind != "T" and dtype.itemsize > 0


def dtype_token(dtype: Any) -> Any:
    """A dtype as a string where that says all, else the dtype itself."""
    # Two structures may be equal, and one of them aligned.
    says_more = (dtype.metadata, dtype.names, dtype.subdtype) != (None, None, None)
    return dtype if says_more else _dtype_token(dtype)


@functools.lru_cache(maxsize=256)
def _dtype_token(dtype: Any) -> Any:
    return dtype.str if sys.modules["numpy"].dtype(dtype.str) == dtype else dtype


def flat_bytes(array: Any) -> Any:
    """The memory of a C-contiguous array of raw elements as a flat uint8 array, not copied."""
    return array.reshape(-1).view("u1")


def _array(obj: Any) -> Reduction | None:
    if not is_raw(obj.dtype):
        return None
    numpy = sys.modules["numpy"]
    token = dtype_token(obj.dtype)
    flags = obj.flags
    if flags.c_contiguous and obj.dtype.kind in "biufc" and token is not obj.dtype:
        return numpy.ndarray, (obj.shape, token, PickleBuffer(obj))
    flat = flat_bytes(numpy.ascontiguousarray(obj))
    if not flags.writeable and flat.flags.writeable:
        flat.flags.writeable = False
    return numpy.ndarray, (obj.shape, token, PickleBuffer(flat))


def _with_gaps(obj: Any) -> Reduction | None:
    its = gaps.gaps_of(obj.dtype) if gaps.may_have(obj.dtype) else None
    if its is None:
        return None
    made, (dtype, data) = obj.__reduce__()
    return made, (dtype, gaps.without(data, its))


def _array_subclass(obj: Any) -> Reduction:
    return rebuild.array_subclass, (obj.view(sys.modules["numpy"].ndarray), type(obj))


def _masked(obj: Any) -> Reduction | None:
    ma = sys.modules["numpy.ma"]
    if obj._baseclass is not sys.modules["numpy"].ndarray:
        return None
    mask = None if obj._mask is ma.nomask else obj._mask
    return rebuild.masked, (obj.data, mask, obj._fill_value, obj.hardmask)


# --- pandas --------------------------------------------------------------------------------------


def _frame(obj: Any) -> Reduction | None:
    return frame_reduction(obj, [((i,), obj._mgr.iget_values(i)) for i in range(obj.shape[1])])


def frame_reduction(obj: Any, blocks: list[tuple[tuple[int, ...], Any]]) -> Reduction | None:
    """A DataFrame as `blocks`: positions of columns and their values. None before pandas 3."""
    if not hasattr(sys.modules.get("pandas.api.internals"), "create_dataframe_from_blocks"):
        return None
    placed = tuple((values, where) for where, values in blocks)
    is_unique = not obj.flags.allows_duplicate_labels
    return rebuild.frame, (obj.index, obj.columns, placed, obj.attrs or None, is_unique)


def own_view(values: Any) -> Any:
    """The values of a block as an object that is nobody else's: the very array may be held plainly
    too, as a grouper does, and a pack takes each object for what holds it first."""
    return values.view() if type(values) is sys.modules["numpy"].ndarray else values


def _series(obj: Any) -> Reduction | None:
    values = own_view(obj._mgr.blocks[0].values)
    is_unique = not obj.flags.allows_duplicate_labels
    return rebuild.series, (values, obj.index, obj.name, obj.attrs or None, is_unique)


def _without_caches(obj: Any) -> Reduction:
    """As the type itself does, without what it only remembers from being looked at."""
    if type(obj).__getstate__.__qualname__ == "ArrowExtensionArray.__getstate__":
        return _arrow_backed(obj)
    made = obj.__reduce_ex__(5)
    if isinstance(made, str):
        return made  # type: ignore[return-value]  # a name: no state to clean
    return tuple(_without_memories(part) for part in made)


def _arrow_backed(obj: Any) -> Reduction:
    """As pandas does, but one chunk goes as it is: combining copies it, even where it is alone."""
    chunks = obj._pa_array
    is_whole = chunks.num_chunks == 1 and chunks.chunk(0).offset == 0
    array = chunks.chunk(0) if is_whole else chunks.combine_chunks()
    state = {**vars(obj), "_pa_array": array}
    state.pop("_cache", None)
    return copyreg.__newobj__, (type(obj),), state  # type: ignore[attr-defined]


def _without_memories(part: Any) -> Any:
    if type(part) is dict:
        return {key: value for key, value in part.items() if key != "_cache"}
    if type(part) is tuple:
        # An array that was looked at has a dict for its memories, one that was not has none.
        kept = (item for item in part if not (type(item) is dict and set(item) == {"_cache"}))
        return tuple(_without_memories(item) for item in kept)
    return part


# --- torch ---------------------------------------------------------------------------------------


def is_plain_tensor(obj: Any) -> bool:
    """Whether a tensor is memory with strides, and nothing else."""
    torch = sys.modules["torch"]
    return (
        obj.layout is torch.strided
        and obj.device.type != "meta"
        and not (obj.is_quantized or obj.is_nested)
    )


def leaf_memory(obj: Any) -> tuple[memoryview, tuple[int, ...]] | None:
    """The bytes of a leaf tensor in C order, and how its elements then lie; None for any other, and
    for those that somebody else takes apart."""
    if not _is_leaf(obj):
        return None
    is_ready = obj.device.type == "cpu" and obj.is_contiguous() and not obj.requires_grad
    if not is_ready or obj.is_conj() or obj.is_neg():  # most are, and each call counts
        obj = obj.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return memoryview(obj.view(-1).view(sys.modules["torch"].uint8).numpy()), obj.stride()


def leaf_bits(obj: Any) -> tuple[Any, tuple[int, ...]] | None:
    """The elements of a leaf tensor that do not lie in C order, as whole numbers in an array over
    its memory, and how they would lie in that order; None for any other."""
    if not _is_leaf(obj) or obj.is_contiguous() or obj.device.type != "cpu":
        return None
    if obj.is_complex() or obj.is_neg():
        return None
    torch = sys.modules["torch"]
    number = getattr(torch, {1: "uint8"}.get(obj.element_size(), f"int{8 * obj.element_size()}"))
    strides: tuple[int, ...] = torch.empty(obj.shape, device="meta").stride()
    return obj.detach().view(number).numpy(), strides


def _is_leaf(obj: Any) -> bool:
    return reducer_of(type(obj)) is _tensor and is_plain_tensor(obj) and obj.grad_fn is None


def _tensor(obj: Any) -> Reduction | None:
    known = leaf_memory(obj)
    if known is not None:
        return tensor_reduction(obj, PickleBuffer(known[0]), known[1], 0)
    return (rebuild.graph_tensor, (obj.detach(),)) if is_plain_tensor(obj) else None


def tensor_reduction(obj: Any, memory: Any, strides: Any, offset: int) -> Reduction:
    """A leaf tensor over `memory`, with all that it carries besides."""
    dtype, shape, device, kind = tensor_kind(obj)
    made = rebuild.tensor, (memory, dtype, shape, tuple(strides), offset, device, kind)
    state = tensor_state(obj)
    return made if state == (False, None, None) else (*made, state, None, None, rebuild.set_tensor)


def tensor_kind(obj: Any) -> tuple[str, tuple[int, ...], str, str]:
    """Its type of numbers, its shape, its device, and whether it is a parameter."""
    kind = "Parameter" if type(obj).__name__ == "Parameter" else "Tensor"
    return str(obj.dtype).partition(".")[2], tuple(obj.shape), str(obj.device), kind


def tensor_state(obj: Any) -> tuple[bool, Any, Any]:
    """What it has besides its memory: whether it asks for a gradient, its gradient, attributes."""
    return obj.requires_grad, obj.grad, obj.__dict__ or None


# --- the table ------------------------------------------------------------------------------------


_EXACT: Final[Mapping[str, Reducer]] = {
    "array.array": _typed_array,
    "builtins.memoryview": _memory_view,
    "builtins.dict_keys": _dict_view("keys"),
    "builtins.dict_values": _dict_view("values"),
    "builtins.dict_items": _dict_view("items"),
    "builtins.mappingproxy": _proxy,
    "dataclasses._MISSING_TYPE": _sentinel("MISSING"),
    "dataclasses._KW_ONLY_TYPE": _sentinel("KW_ONLY"),
    "functools._lru_cache_wrapper": _cached_function,
    "functools.cached_property": _cached_property,
    "numpy.ndarray": _array,
    "numpy.longdouble": _with_gaps,
    "numpy.clongdouble": _with_gaps,
    "numpy.void": _with_gaps,
    "numpy.record": _with_gaps,
    "numpy.matrix": _array_subclass,
    "numpy.recarray": _array_subclass,
    "numpy.rec.recarray": _array_subclass,
    "numpy.memmap": _array_subclass,
    "numpy.ma.MaskedArray": _masked,
    "numpy.ma.core.MaskedArray": _masked,
    "pandas.DataFrame": _frame,
    "pandas.Series": _series,
    "torch.Tensor": _tensor,
    "torch.nn.parameter.Parameter": _tensor,
    "polars.series.series.Series": foreign.polars_series,
    "polars.dataframe.frame.DataFrame": foreign.polars_frame,
    "PIL.Image.Image": foreign.image,
}
"""By the exact type: a subclass may hold more."""

_FAMILY: Final[Mapping[str, Reducer]] = {
    "builtins.BaseException": instances.exception,
    "pandas.api.extensions.ExtensionArray": _without_caches,
    "pandas.api.extensions.ExtensionDtype": _without_caches,
    "pyarrow.lib.Array": foreign.arrow_array,
    "matplotlib.figure.Figure": foreign.figure,
    "matplotlib.transforms.TransformNode": foreign.transform,
    "matplotlib.cbook.CallbackRegistry": foreign.callbacks,
}
"""By any base."""

_known: Final[dict[type, Reducer | None]] = dict.fromkeys(
    cls
    for cls in vars(builtins).values()
    if isinstance(cls, type) and cls is not memoryview and not issubclass(cls, BaseException)
)
"""Types met so far, the builtin ones from the start."""

_passing: Final[weakref.WeakKeyDictionary[type, Reducer | None]] = weakref.WeakKeyDictionary()
"""Those of a notebook, whose classes come and go: they are not kept alive by being known."""
