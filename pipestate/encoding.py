"""Frozen data as JSON of a fixed shape, and back; reading it can never run code.

A noun is an object with its fields in the order of the class, defaults left out: they are most of a
record. Its type hints say what each field is, and whatever does not fit them is a FormatError, and
nothing else. A class that is no noun says itself, by `to_plain` and `from_plain`, what JSON it is.
msgspec does all of it but texts that are no Unicode (a file name may be any bytes): these go the
longer way over the standard library, to the same JSON.
"""

from __future__ import annotations

import json
from typing import Any, Final, Self, TypeVar

import msgspec

from .errors import FormatError

T = TypeVar("T")


class Noun(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Frozen data of named fields, equal where these are.

    A tenth of what a dataclass costs to make, to read and to write; the garbage collector passes
    over it, for it holds nothing that could lead back to it.
    """

    def replace(self, **changes: Any) -> Self:
        """A copy of it with other values in some fields."""
        return msgspec.structs.replace(self, **changes)

    def to_bytes(self) -> bytes:
        """The bytes that `from_bytes` reads."""
        return to_bytes(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What had these bytes; raises FormatError for anything else."""
        return from_bytes(cls, data)


def to_bytes(data: object) -> bytes:
    """The bytes of a noun, or of plain data, from which `from_bytes` makes an equal one."""
    try:
        return _ENCODER.encode(data)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(data, enc_hook=_to_plain)
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "surrogatepass")


def from_bytes(cls: type[T], data: bytes) -> T:
    """What `to_bytes` made `data` of, of a kind that was prepared; raises FormatError for anything
    else."""
    try:
        try:
            found: T = _DECODERS[cls].decode(data)
            return found
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError):
            plain = json.loads(data.decode("utf-8", "surrogatepass"))
            return msgspec.convert(plain, cls, dec_hook=_from_plain)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        said = "".join(c if c.isprintable() else "?" for c in str(error)[:200])
        raise FormatError(
            f"not a {cls.__name__.lower()} that this pipestate can read ({said})",
            "`%pipe verify` finds what is damaged; a newer pipestate may have written it",
        ) from error


def prepare(*kinds: Any) -> None:
    """Make ready to read data of these kinds; for modules, while they are imported.

    Where a thread, or a signal's handler, asks msgspec about a type while it looks at that type for
    the first time, the process crashes.
    """
    for kind in kinds:
        _DECODERS[kind] = msgspec.json.Decoder(kind, dec_hook=_from_plain)


_DECODERS: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}


def _to_plain(data: Any) -> Any:
    for kind, plain in _KINDS.items():
        if isinstance(data, kind):
            return plain(data)
    return data.to_plain()


_KINDS: Final[dict[type, Any]] = {str: str.__str__, float: float.__float__, int: int.__int__}
"""Subclasses of these are written as these: numpy has some, and names may be of any."""


def _from_plain(cls: Any, plain: Any) -> Any:
    return cls.from_plain(plain)


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_to_plain)
