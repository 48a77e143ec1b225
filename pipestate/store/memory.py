"""Memory that several arrays of one pack see: found in a first pass, kept as one in a second.

An array knows the array that it is a view of, but neither knows who else looks at it. So a pack is
tried once with every array on its own, while a `Census` notes what was met. Where two met the same
memory, the pack is made again with that memory as one `Region` and the arrays as windows on it, at
the offsets and strides that they have. Nearly every pack needs one pass only.

Two pandas objects that share memory lazily are no reason: either copies before it writes. Where a
plain array looks at the memory of pandas objects, these become windows too. An index or extension
array does so only if it is the one pandas object there: what is written elsewhere must not show.

Tensors are told by the memory that they see, as arrays are, so a tensor and an array over the same
memory come back over the same memory.
"""

from __future__ import annotations

import array as arrays
import bisect
import mmap
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

from msgspec import Struct, field

Holder = Literal["plain", "lazy", "inner"]
"""Who looks at memory: an array or tensor, a block of a series or frame, another pandas object."""


class Sight(NamedTuple):
    """One array or tensor that a pack met, and who held it."""

    array: Any
    holder: Holder
    owner: object
    """What keeps the memory: views of one owner share it even where they do not overlap."""


class Region(Struct, eq=False):
    """Memory from `low` to `high` that several arrays see; `owner` is what they all look through.

    `owner` is a flat array of bytes over the memory itself, a flat array of the objects in it, or
    the user's own bytearray where the pack holds that too. `tensor` is `owner` for torch.
    """

    low: int
    high: int
    owner: Any
    holders: frozenset[Holder]
    tensor: Any = None


class Census(Struct):
    """What a pass met."""

    sights: list[Sight] = field(default_factory=list)

    def note_array(self, array: Any, holder: Holder) -> None:
        """An array was met. One without elements sees no memory."""
        if array.nbytes:
            owner = array if array.base is None else owner_of(array)
            self.sights.append(Sight(array, holder, owner))

    def note_tensor(self, tensor: Any) -> None:
        """A tensor in main memory was met."""
        if tensor.numel():
            self.sights.append(Sight(tensor, "plain", tensor.untyped_storage()))


def owner_of(array: Any) -> object:
    """What an array's memory belongs to: the outermost array, or what that one looks through."""
    ndarray = sys.modules["numpy"].ndarray
    while isinstance(array.base, ndarray):
        array = array.base
    base = array.base
    if isinstance(base, memoryview):
        base = base.obj
    # Other owners may have several pieces of memory: their arrays share only where they overlap.
    return base if isinstance(base, (bytearray, arrays.array, mmap.mmap)) else array


def address(array: Any) -> int:
    """Where the first element of an array or tensor lies."""
    if hasattr(array, "data_ptr"):
        return int(array.data_ptr())
    return int(array.__array_interface__["data"][0])


def extent(array: Any) -> tuple[int, int]:
    """The first address that an array or tensor sees, and the one after the last."""
    if hasattr(array, "data_ptr"):
        low, size = array.data_ptr(), array.element_size()
        steps = zip(array.shape, array.stride(), strict=True)
        return low, low + size * (1 + sum((n - 1) * step for n, step in steps))
    low = high = address(array)
    for n, step in zip(array.shape, array.strides, strict=True):
        if step < 0:
            low += (n - 1) * step
        else:
            high += (n - 1) * step
    return low, high + array.itemsize


def window_on(array: Any, low: int, high: int) -> Any:
    """The memory from `low` to `high`, which `array` keeps alive, as a flat array of bytes."""
    writable = hasattr(array, "data_ptr") or array.flags.writeable
    return sys.modules["numpy"].asarray(_Memory(low, high - low, writable, array))


class _Memory:
    """Memory as numpy takes it from other libraries."""

    def __init__(self, address: int, nbytes: int, writable: bool, keep: object) -> None:
        self.__array_interface__ = {
            "data": (address, not writable),
            "shape": (nbytes,),
            "typestr": "|u1",
            "version": 3,
        }
        self.keep = keep


def regions(census: Census, packed: Callable[[], Iterable[object]]) -> list[Region]:
    """The memory that has to be kept as one, by address. `packed` gives all that the pack holds."""
    clusters = list(_clusters(census.sights))
    found = [region for cluster in clusters if (region := _region(cluster)) is not None]
    buffers = {
        id(sight.owner): sight.owner
        for sight in census.sights
        if isinstance(sight.owner, (bytearray, arrays.array))
    }
    if buffers:
        held = {id(obj) for obj in packed()}
        for owner in (owner for key, owner in buffers.items() if key in held):
            low, high = extent(sys.modules["numpy"].frombuffer(owner, "u1"))
            found = [region for region in found if not low <= region.low < high]
            found.append(Region(low, high, owner, frozenset(("plain", "lazy"))))
    return sorted(found, key=lambda region: region.low)


def _clusters(sights: list[Sight]) -> Iterator[list[Sight]]:
    """Sights of one owner, or of memory that overlaps, in groups of more than one."""
    owners: dict[int, list[Sight]] = {}
    for sight in sights:
        owners.setdefault(id(sight.owner), []).append(sight)
    if all(_owns(sight.owner) for group in owners.values() for sight in group[:1]):
        yield from (group for group in owners.values() if len(group) > 1)
        return
    # Memory that came from elsewhere may be another's too: an array of a tensor, a buffer twice.
    placed = sorted(((_bounds(g), g) for g in owners.values()), key=lambda pair: pair[0])
    at, end = 0, 0
    while at < len(placed):
        (_, end), merged = placed[at][0], list(placed[at][1])
        at += 1
        while at < len(placed) and placed[at][0][0] < end:
            end = max(end, placed[at][0][1])
            merged += placed[at][1]
            at += 1
        if len(merged) > 1:
            yield merged


def _owns(owner: Any) -> bool:
    return isinstance(owner, sys.modules["numpy"].ndarray) and owner.base is None


def _bounds(group: list[Sight]) -> tuple[int, int]:
    extents = [extent(sight.array) for sight in group]
    return min(low for low, _ in extents), max(high for _, high in extents)


def _region(cluster: list[Sight]) -> Region | None:
    plain = [sight for sight in cluster if sight.holder == "plain"]
    if not plain or len({id(sight.array) for sight in cluster}) < 2:
        return None
    holders: frozenset[Holder] = frozenset(sight.holder for sight in cluster)
    if "lazy" in holders or len({id(s.array) for s in cluster if s.holder == "inner"}) > 1:
        holders -= {"inner"}
    members = [sight for sight in cluster if sight.holder in holders]
    if len({id(sight.array) for sight in members}) < 2:
        return None
    low, high = _bounds(members)
    keeper = next((s.array for s in members if _is_writable(s.array)), members[0].array)
    if any(not hasattr(s.array, "data_ptr") and s.array.dtype.hasobject for s in members):
        owner = _objects(members, low, high)
        return None if owner is None else Region(low, high, owner, holders)
    low -= _slack(low, members[0].owner)
    return Region(low, high, window_on(keeper, low, high), holders)


def _is_writable(array: Any) -> bool:
    return hasattr(array, "data_ptr") or bool(array.flags.writeable)


def _slack(low: int, owner: Any) -> int:
    """How much earlier to begin, so that elements stay aligned as they are."""
    if hasattr(owner, "data_ptr"):
        return int((low - owner.data_ptr()) % 16)
    if isinstance(owner, sys.modules["numpy"].ndarray):
        return int((low - extent(owner)[0]) % 16)
    return 0


def _objects(members: list[Sight], low: int, high: int) -> Any:
    """The objects from `low` to `high` as a flat view, or None where that cannot be had."""
    owner: Any = members[0].owner
    if not isinstance(owner, sys.modules["numpy"].ndarray):
        return None
    if not owner.flags.forc or any(sight.array.dtype != owner.dtype for sight in members):
        return None
    start, size = extent(owner)[0], owner.itemsize
    return owner.reshape(-1, order="A")[(low - start) // size : (high - start) // size]


def region_at(found: list[Region], address: int) -> Region | None:
    """The region that holds an address, or None. `found` is sorted."""
    at = bisect.bisect_right(found, address, key=lambda region: region.low) - 1
    return found[at] if at >= 0 and address < found[at].high else None
