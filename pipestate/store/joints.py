"""How names hang together: components, and one digest over several names.

Two names are joined where they reach the same mutable object. Below such an object both see the
same, so only its *entry points* are told: pairs of numbers, one from each name's own walk, that
stand for one object. They are chosen for each two names by themselves, so that the joint digest of
any subset of names can be had from what was noted for all of them.

A link is an entry point of two names: both list `(their number, link)`. Where the object is array
memory both also list `(-1 - link, layout)`: where in the memory their first view begins, counted
from the lower of both and shifted by 64 bits, and the digest of its shape and strides below that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, compress, product

from blake3 import blake3

from .streams import Stream, numbers_of
from .walk import ROOT, Place

MAX_PAIRS = 1000
MANY = 1000
"""Of names that reach more objects than this, each two are compared."""
Shares = dict[str, tuple[tuple[int, int], ...]]
Link = tuple[int, int, int, int]
"""Numbers of one object in the walks of two names, and its layouts in them (0: no memory)."""


def components(streams: Mapping[str, Stream]) -> list[frozenset[str]]:
    """The names, grouped by the mutable objects that they share, in the order of the mapping.

    Memory that pandas holds under copy-on-write joins a frame with a plain array over it, but not
    a frame with another frame.
    """
    if len(streams) == 1:
        return [frozenset(streams)]  # a million objects need not be numbered to share with none
    leader = {name: name for name in streams}
    firm = _join_small(leader, streams)
    big = [name for name, one in streams.items() if len(one.mutables) > MANY]
    _join_big(leader, streams, big, firm)
    for name, one in streams.items():
        for key in one.lazy:
            holders = [other for other in big if key in streams[other].mutables]
            for other in [*holders, *([firm[key]] if key in firm else [])]:
                _join(leader, other, name)
    groups: dict[str, set[str]] = {}
    for name in streams:
        groups.setdefault(_find(leader, name), set()).add(name)
    return [frozenset(group) for group in groups.values()]


def _join_small(leader: dict[str, str], streams: Mapping[str, Stream]) -> dict[int, str]:
    """Join the names that do not reach many objects; who holds each of these objects."""
    firm: dict[int, str] = {}
    for name, one in streams.items():
        for key in one.mutables if len(one.mutables) <= MANY else ():
            other = firm.setdefault(key, name)
            if other is not name:
                _join(leader, other, name)
    return firm


def _join_big(
    leader: dict[str, str], streams: Mapping[str, Stream], big: list[str], firm: dict[int, str]
) -> None:
    """Join the names that reach many objects; what two have in common is asked in C."""
    for at, name in enumerate(big):
        for other in big[:at]:
            if _meet(streams[name], streams[other]):
                _join(leader, other, name)
        for key in firm.keys() & numbers_of(streams[name].mutables).keys() if firm else ():
            _join(leader, firm[key], name)


def _meet(one: Stream, other: Stream) -> bool:
    """Whether they reach the same mutable object; both reach some."""
    if one.root is other.root:
        return True
    return not numbers_of(one.mutables).keys().isdisjoint(numbers_of(other.mutables))


def _find(leader: dict[str, str], name: str) -> str:
    while leader[name] != name:
        leader[name] = leader[leader[name]]
        name = leader[name]
    return name


def _join(leader: dict[str, str], one: str, other: str) -> None:
    leader[_find(leader, other)] = _find(leader, one)


def joint(streams: Mapping[str, Stream], names: Iterable[str]) -> str:
    """One digest over these names: of their contents, and of what they share."""
    return together(streams, names)[0]


def shares(streams: Mapping[str, Stream], names: Iterable[str]) -> Shares | None:
    """What `joint_of` needs to know about these names; None if it would be too long."""
    return together(streams, names)[1]


def together(streams: Mapping[str, Stream], names: Iterable[str]) -> tuple[str, Shares | None]:
    """What `joint` and `shares` give, from one look at what each two of the names share."""
    ordered = sorted(names)
    links = {
        (one, other): _links(streams[one], streams[other])
        for one, other in combinations(_sharing(streams, ordered), 2)
    }
    digest = _digest({name: streams[name].digest for name in ordered}, links)
    if 2 * sum(map(len, links.values())) > MAX_PAIRS:
        return digest, None
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in ordered}
    number = 0
    for (one, other), pairs in links.items():
        for mine, theirs, layout, their_layout in pairs:
            found[one].append((mine, number))
            found[other].append((theirs, number))
            if layout or their_layout:
                found[one].append((-1 - number, layout))
                found[other].append((-1 - number, their_layout))
            number += 1
    return digest, {name: tuple(pairs) for name, pairs in found.items()}


def of_one(names: Mapping[str, str], outer: Sequence[int]) -> tuple[str, Shares | None]:
    """What `joint` and `shares` give for names, in order, that all mean one object without array
    memory, from its digest by each; None for one name. `outer` are the numbers of what is mutable
    in it and lies in nothing that is."""
    pairs = list(combinations(names, 2))
    if not pairs:
        return next(iter(names.values())), None
    links = [(number, number, 0, 0) for number in outer]
    digest = _told(list(names.items()), [(pair, links) for pair in pairs] if links else [])
    if not links:
        return digest, dict.fromkeys(names, ())
    if 2 * len(pairs) * len(outer) > MAX_PAIRS:
        return digest, None
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
    for link, (pair, number) in enumerate(product(pairs, outer)):
        for name in pair:
            found[name].append((number, link))
    return digest, {name: tuple(links) for name, links in found.items()}


def _sharing(streams: Mapping[str, Stream], names: Sequence[str]) -> list[str]:
    """Those of the names that may share anything: most hold nothing that changes."""
    return [name for name in names if streams[name].mutables or streams[name].lazy]


def joint_of(
    names: Mapping[str, str],
    shares: Mapping[str, tuple[tuple[int, int], ...]] | None,
    subset: Iterable[str],
) -> str | None:
    """What `joint` gave for `subset`, from the digests and shares of a version; None if unknown."""
    ordered = sorted(subset)
    if any(name not in names for name in ordered):
        return None
    if len(ordered) == 1:
        return names[ordered[0]]
    if shares is None:
        return None
    ends: dict[int, list[tuple[str, int]]] = {}
    layouts: dict[tuple[str, int], int] = {}
    for name in ordered:
        for number, link in shares.get(name, ()):
            if number < 0:
                layouts[name, -1 - number] = link
            else:
                ends.setdefault(link, []).append((name, number))
    links: dict[tuple[str, str], list[Link]] = {pair: [] for pair in combinations(ordered, 2)}
    for link, (first, *rest) in ends.items():
        for second in rest:
            a, b = first[0], second[0]
            layout = (layouts.get((a, link), 0), layouts.get((b, link), 0))
            links[a, b].append((first[1], second[1], *layout))
    return _digest({name: names[name] for name in ordered}, links)


def joined(
    shares: Mapping[str, tuple[tuple[int, int], ...]] | None, groups: Iterable[Iterable[str]]
) -> bool:
    """Whether any two of these groups of a version's names share an object, as far as is known."""
    found = [set(group) for group in groups]
    if shares is None:
        return len(found) > 1
    held: set[int] = set()
    for group in found:
        links = {link for name in group for number, link in shares.get(name, ()) if number >= 0}
        if not links.isdisjoint(held):
            return True
        held |= links
    return False


def _digest(names: Mapping[str, str], links: Mapping[tuple[str, str], Sequence[Link]]) -> str:
    if len(names) == 1:
        return next(iter(names.values()))
    told = [(pair, sorted(found)) for pair, found in sorted(links.items()) if found]
    return _told(sorted(names.items()), told)


def _told(names: list[tuple[str, str]], links: list[tuple[tuple[str, str], list[Link]]]) -> str:
    text = repr((names, links))
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest(length=20)


def _links(one: Stream, other: Stream) -> list[Link]:
    """The entry points of two names."""
    if one.root is other.root and one.digest == other.digest:
        # Below one object there may be millions.
        outer = outermost(one.parents)
        links = [(n, n, *_layouts(one.places.get(n), one.places.get(n))) for n in outer]
    else:
        links = _met(one, other)
    # A plain array over a frame's memory: tied to the frame as it holds that memory.
    for key in other.lazy.keys() & one.mutables.keys() if other.lazy else ():
        holder, place = other.lazy[key]
        number = one.mutables[key]
        links.append((number, holder, *_layouts(one.places.get(number), place)))
    for key in one.lazy.keys() & other.mutables.keys() if one.lazy else ():
        holder, place = one.lazy[key]
        number = other.mutables[key]
        links.append((holder, number, *_layouts(place, other.places.get(number))))
    return sorted(links)


def _met(one: Stream, other: Stream) -> list[Link]:
    """The objects that both reach, as the side sees them from which there are fewer."""
    if not (one.mutables and other.mutables):
        return []
    ours, yours = numbers_of(one.mutables), numbers_of(other.mutables)
    small, large = sorted((ours, yours), key=len)
    shared = [key for key in small if key in large]
    mine = {ours[key]: key for key in shared}
    theirs = {yours[key]: key for key in shared}
    entries, others = _entries(mine, one.parents), _entries(theirs, other.parents)
    chosen = entries if len(entries) <= len(others) else others
    return [_link(one, other, key) for key in chosen]


def _entries(shared: Mapping[int, int], parents: Sequence[int]) -> list[int]:
    """The keys of the shared objects that lie in no other one, by number. What an object is taken
    apart into lies between, made anew by each look and shared with none."""
    below, beside, found = set(shared), {ROOT}, []
    for number in [number for number in shared if parents[number] not in shared]:
        path, at = [], max(ROOT, parents[number])
        while at not in below and at not in beside:
            path.append(at)
            at = max(ROOT, parents[at])
        if at in below:
            below.update(path)
        else:
            beside.update(path)
            found.append(shared[number])
    return found


def outermost(parents: Sequence[int]) -> list[int]:
    """The numbers of the mutable objects that lie in no other one, from those they lie in."""
    return list(compress(range(len(parents)), map((0).__gt__, parents)))


def _link(one: Stream, other: Stream, key: int) -> Link:
    mine, theirs = one.mutables[key], other.mutables[key]
    return (mine, theirs, *_layouts(one.places.get(mine), other.places.get(theirs)))


def _layouts(one: Place | None, other: Place | None) -> tuple[int, int]:
    if one is None or other is None:
        return (0, 0)
    lowest = min(one[0], other[0])
    return (_layout(one, lowest), _layout(other, lowest))


def _layout(place: Place, lowest: int) -> int:
    told = blake3(repr(place[1]).encode()).digest(length=8)
    return (place[0] - lowest) << 64 | int.from_bytes(told, "big")
