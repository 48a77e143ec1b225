"""The tokens that a walk writes out: bytes that say themselves where they end, and those of leaves.

A leaf is a scalar of a builtin type, by its content alone.
"""

from __future__ import annotations

import struct
from collections.abc import Callable


class Token(bytes):
    """Bytes among the items of a frame that are to be written out as they are."""

    __slots__ = ()


def text(string: str) -> bytes:
    """A token for a string."""
    encoded = string.encode("utf-8", "surrogatepass")
    return b"s%d:" % len(encoded) + encoded


def _complex(value: complex) -> bytes:
    return b"c" + struct.pack("<dd", value.real, value.imag)


_DOUBLE = struct.Struct("<d").pack

LEAVES: dict[type, Callable[..., bytes]] = {
    Token: lambda token: token,
    type(None): lambda _: b"N",
    bool: lambda value: b"+" if value else b"-",
    int: lambda value: b"i%x;" % value,
    float: lambda value: b"f" + _DOUBLE(value),
    complex: _complex,
    str: text,
    bytes: lambda value: b"y%d:" % len(value) + value,
    type(Ellipsis): lambda _: b"E",
    type(NotImplemented): lambda _: b"n",
}


def leaf_pieces(value: object) -> tuple[bytes, ...]:
    """The token of a scalar; that of text or bytes in two pieces, for to join them is a copy."""
    if type(value) is str:
        encoded = value.encode("utf-8", "surrogatepass")
        return b"s%d:" % len(encoded), encoded
    if type(value) is bytes:
        return b"y%d:" % len(value), value
    return (LEAVES[type(value)](value),)
