"""The pickler: what a pack does differently from pickle, type by type.

`reductions` says how a value is taken apart by its content. Here is what depends on the pack: which
memory is seen twice, which definitions are referred to by name, which globals a function is bound
to. The C pickler calls `reducer_override` for every object that is not exactly of a builtin type,
so the first thing there is a dict lookup.
"""

# ruff: noqa: SLF001 - how memory lies in a library's value is rarely to be had in public

from __future__ import annotations

import copyreg
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from pickle import PickleBuffer
from typing import Any, Final

import cloudpickle

from . import functions, memory, origins, rebuild, reductions
from .gaps import Gaps, gaps_of, may_have
from .memory import Census, Holder, Region

ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Types of which pickle alone says all."""

SMALL: Final = 4096
"""Buffers below this many bytes stay in the stream: a blob of their own would cost more."""

MANY: Final = 1000
"""An array of so many objects, all of them atoms, is a buffer of its own: of a frame that gains a
column beside one of texts, only the new one is kept."""

WIDE: Final = 64
"""Frames with more columns keep their blocks: pandas is slow, and says so, with many small ones."""

Handler = Callable[[Any], Any]


def _refuse(obj: Any) -> Any:
    raise TypeError(f"cannot pickle {type(obj).__name__!r} object")


def _iterator(obj: Any) -> Any:
    # One that has ended comes back as one over an empty list: not what it was.
    if len(obj.__reduce__()) < 3:
        raise TypeError(f"cannot pickle {type(obj).__name__!r} object that has ended")
    return NotImplemented


def _iterators(*iterables: Iterable[Any]) -> frozenset[type]:
    return frozenset(type(iter(iterable)) for iterable in iterables)


_ITERATORS: Final = _iterators([], (), "", b"", bytearray())
"""Iterators that remember what they go over, and how far they have come."""

_ONE_WAY: Final = _iterators({}, {}.values(), {}.items(), set())
"""Iterators that pickle would make into one over a list of what is left."""


_TABLE: Final[Mapping[type, Handler]] = {
    **cloudpickle.Pickler.dispatch_table,
    **dict.fromkeys((io.TextIOWrapper, *_ONE_WAY), _refuse),
}


class Packer(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no type hints
    """Pickles one pack. `regions` is the memory that a first pass found to be seen twice.

    `on_gaps` is told of each buffer with gaps, before `on_buffer` is.
    """

    def __init__(
        self,
        file: Any,
        *,
        on_buffer: Callable[[PickleBuffer], object],
        on_gaps: Callable[[PickleBuffer, Gaps], object],
        definitions: Mapping[int, str],
        namespace: dict[str, Any] | None,
        regions: list[Region],
    ) -> None:
        # Pickle asks it for every object: a plain dict is six times as fast as cloudpickle's chain.
        self.dispatch_table = {**copyreg.dispatch_table, **_TABLE}
        super().__init__(file, protocol=5, buffer_callback=on_buffer)
        self.census = Census()
        self.needs: dict[str, None] = {}
        self._on_gaps = on_gaps
        self.regions = regions
        self._definitions = definitions
        self._namespace = namespace
        self._handlers: dict[type, Handler | None] = {}
        self._lazy: dict[int, tuple[object, Holder]] = {}
        self._notes: dict[int, list[object]] = {}

    def dump(self, obj: Any) -> None:
        """Pickle `obj`. cloudpickle's own hides that recursion went too deep."""
        pickle.Pickler.dump(self, obj)

    def let_go(self) -> None:
        """Hold nothing of what was pickled: a `bytearray` that is looked at cannot grow, and the
        collector must not find a packer: CPython 3.11 crashes where it takes apart the memory of
        torch's tensors in the packer's memo."""
        self.clear_memo()
        self._handlers.clear()  # they hold the packer, which would wait for a collection

    def reducer_override(self, obj: Any) -> Any:
        """As pickle asks: a reduce tuple, or NotImplemented for the default."""
        name = self._definitions.get(id(obj))
        if name is not None:
            self.needs[name] = None
            return rebuild.definition, (name,)
        cls = type(obj)
        try:
            handler = self._handlers[cls]
        except KeyError:
            handler = self._handlers[cls] = self._handler(cls)
        return NotImplemented if handler is None else handler(obj)

    def _handler(self, cls: type) -> Handler | None:
        if issubclass(cls, type):
            return self._class
        own = _OWN.get(cls)
        if own is not None:
            return types.MethodType(own, self)
        for base in cls.__mro__[:-1]:
            method = _BY_NAME.get(reductions.type_name(base))
            if method is not None and (base is cls or base.__name__ not in _EXACT):
                return types.MethodType(method, self)
        if cls in _ITERATORS:
            return _iterator
        reducer = reductions.reducer_of(cls)
        return None if reducer is None else _or_default(reducer)

    # --- code ---

    def _class(self, cls: type) -> Any:
        origins.module_named(cls.__module__)  # cloudpickle copies a class whose module is not there
        made = super().reducer_override(cls)
        if made is NotImplemented or len(made) < 6:
            return made
        # cloudpickle marks a class so that loading it twice gives the class that is there, and
        # sets that one's attributes anew. Here each version is an object of its own.
        at = {"_make_skeleton_class": 4, "_make_skeleton_enum": 5}[made[0].__name__]
        args = (*made[1][:at], None, *made[1][at + 1 :])
        return (made[0], args, *made[2:])

    def _function(self, obj: types.FunctionType) -> Any:
        if functions.is_importable(obj):
            return NotImplemented
        token = functions.globals_token(obj, self._namespace)
        if token is None:
            return super().reducer_override(obj)
        return functions.function_reduction(obj, token)

    def _code(self, obj: types.CodeType) -> Any:
        _, parts = self.dispatch_table[types.CodeType](obj)
        return rebuild.code, (sys.implementation.cache_tag, *parts)

    def _cell(self, obj: types.CellType) -> Any:
        return functions.cell_reduction(obj)

    def _module(self, obj: types.ModuleType) -> Any:
        if sys.modules.get(obj.__name__) is obj:
            return rebuild.module, (obj.__name__,)
        return NotImplemented

    # --- memory ---

    def _array(self, obj: Any) -> Any:
        _, holder = self._lazy.get(id(obj), (None, "plain"))
        self.census.note_array(obj, holder)
        region = self._region(obj, holder)
        if region is not None:
            start = memory.address(obj) - region.low
            token = reductions.dtype_token(obj.dtype)
            made = (region.owner, start, obj.shape, obj.strides, token, obj.flags.writeable)
            return rebuild.window, made
        return self._lone_array(obj)

    def _lone_array(self, obj: Any) -> Any:
        if obj.dtype.hasobject and obj.size >= MANY and obj.flags.c_contiguous:
            return _atoms(obj) or _by_content(obj)
        gaps = gaps_of(obj.dtype) if may_have(obj.dtype) else None
        if gaps is not None and gaps.spans and obj.flags.c_contiguous:
            made = reductions.reduce(obj)
            if made is not None:
                self._on_gaps(made[1][2], gaps)
                return made
        if obj.flags.c_contiguous or not reductions.is_raw(obj.dtype) or not obj.nbytes:
            return _by_content(obj)
        low, high = memory.extent(obj)
        if high - low > obj.nbytes:
            return _by_content(obj)
        flat = memory.window_on(obj, low, high)  # as it lies: Fortran order, reversed, broadcast
        start = memory.address(obj) - low
        token = reductions.dtype_token(obj.dtype)
        made = (obj.shape, token, PickleBuffer(flat), start, obj.strides)
        return type(obj), made

    def _region(self, obj: Any, holder: Holder) -> Region | None:
        if not self.regions or any(obj is region.owner for region in self.regions):
            return None
        nbytes = obj.numel() if hasattr(obj, "data_ptr") else obj.nbytes
        found = memory.region_at(self.regions, memory.address(obj)) if nbytes else None
        return found if found is not None and holder in found.holders else None

    def _tensor(self, obj: Any) -> Any:
        if obj.device.type != "cpu" or not reductions.is_plain_tensor(obj):
            return _by_content(obj)
        if obj.grad_fn is not None or obj.is_conj() or obj.is_neg():
            return _by_content(obj)
        for region in self.regions:
            if region.tensor is obj:
                return rebuild.flat_tensor, (region.owner,)
        self.census.note_tensor(obj)
        shared = self._region(obj, "plain")
        if shared is not None:
            if shared.tensor is None:
                shared.tensor = rebuild.flat_tensor(shared.owner)
            start = (obj.data_ptr() - shared.low) // obj.element_size()
            return reductions.tensor_reduction(obj, shared.tensor, obj.stride(), start)
        low, high = memory.extent(obj) if obj.numel() else (0, 0)
        if obj.is_contiguous() or not 0 < high - low <= obj.numel() * obj.element_size():
            return _by_content(obj)
        flat = PickleBuffer(memory.window_on(obj, low, high))
        return reductions.tensor_reduction(obj, flat, obj.stride(), 0)

    # --- pandas ---

    def _frame(self, obj: Any) -> Any:
        is_wide = obj.shape[1] > WIDE
        blocks: list[tuple[tuple[int, ...], Any]] = []
        notes: list[list[object] | None] = []
        for block in obj._mgr.blocks:
            where = tuple(block.mgr_locs.as_array.tolist())
            if self._is_kept_whole(block.values, len(where), is_wide):
                blocks.append((where, reductions.own_view(block.values)))
                notes.append(self._note(block))
            else:
                blocks.extend(((i,), obj._mgr.iget_values(i)) for i in where)
                notes.extend([None] * len(where))
        self._hold((values for _, values in blocks), "lazy")
        return self._linked(reductions.frame_reduction(obj, blocks), notes)

    def _is_kept_whole(self, values: Any, columns: int, is_wide: bool) -> bool:
        if not isinstance(values, sys.modules["numpy"].ndarray):
            return bool(values.ndim == 1)
        if is_wide or values.nbytes < SMALL * columns:
            return True
        return self._region(values, "lazy") is not None

    def _series(self, obj: Any) -> Any:
        made = reductions.reduce(obj)
        self._hold(made[1][:1] if made is not None else (), "lazy")
        return self._linked(made, [self._note(obj._mgr.blocks[0])])

    def _note(self, block: Any) -> list[object] | None:
        """One list for all blocks that pandas knows to share memory, where it is kept as one."""
        is_array = isinstance(block.values, sys.modules["numpy"].ndarray)
        if not is_array or self._region(block.values, "lazy") is None:
            return None
        return self._notes.setdefault(id(block.refs), [])

    def _linked(self, made: Any, notes: list[list[object] | None]) -> Any:
        if made is None:
            return NotImplemented
        if not any(note is not None for note in notes):
            return made
        return (*made, notes, None, None, rebuild.link)

    def _index(self, obj: Any) -> Any:
        made = obj.__reduce_ex__(5)
        self._hold(made, "inner")
        return made

    def _part(self, obj: Any) -> Any:
        """A block or an extension array: what it is made of is pandas' own."""
        made = reductions.reduce(obj) or obj.__reduce_ex__(5)
        self._hold(made, "inner")
        return made

    def _hold(self, parts: Iterable[Any], holder: Holder) -> None:
        for part in parts:
            if isinstance(part, sys.modules["numpy"].ndarray):
                self._lazy[id(part)] = (part, holder)
            elif type(part) is dict:
                self._hold(part.values(), holder)
            elif type(part) in (tuple, list):
                self._hold(part, holder)


def _or_default(reducer: Callable[[Any], Any]) -> Handler:
    def handler(obj: Any) -> Any:
        made = reducer(obj)
        return NotImplemented if made is None else made

    return handler


_by_content: Final = _or_default(reductions.reduce)


_UNCALLED: Final = ATOMS - {complex}
"""Those that are loaded without a call of anything."""


def _atoms(array: Any) -> Any:
    """An array of nothing but atoms, which lead to no other object; None for any other."""
    is_exact = type(array) is sys.modules["numpy"].ndarray
    if not is_exact or array.dtype != object or array.dtype.metadata is not None:
        return None
    items = array.reshape(-1).tolist()
    if not _UNCALLED.issuperset(map(type, items)):
        return None
    return rebuild.atoms, (PickleBuffer(pickle.dumps(items, 5)), array.shape)


_OWN: Final[Mapping[type, Callable[..., Any]]] = {
    types.FunctionType: Packer._function,
    types.CodeType: Packer._code,
    types.CellType: Packer._cell,
    types.ModuleType: Packer._module,
}
_BY_NAME: Final[Mapping[str, Callable[..., Any]]] = {
    "numpy.ndarray": Packer._array,
    "torch.Tensor": Packer._tensor,
    "torch.nn.parameter.Parameter": Packer._tensor,
    "pandas.DataFrame": Packer._frame,
    "pandas.Series": Packer._series,
    "pandas.Index": Packer._index,
    "pandas.core.internals.blocks.Block": Packer._part,
    "pandas.api.extensions.ExtensionArray": Packer._part,
}
_EXACT: Final = frozenset(("ndarray", "Tensor", "Parameter", "DataFrame", "Series"))
