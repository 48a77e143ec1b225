"""What a journal's file is made of: its beginning, and the frames that follow, as bytes.

A frame is a head, a check sum of it, a proof, and what waits: a noun and the bytes of its blobs.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from ..record import Digest, Waiting
from .trust import PROOF

BEGIN: Final = struct.Struct("<8sQ")
"""The first bytes of the file: what tells it from others, drawn by lot, and the number of the first
frame that follows."""

HEAD: Final = struct.Struct("<II8sQ")
"""How many bytes come after the proof, how many of them are the noun, the file, and the number."""

SUM: Final = struct.Struct("<I")
"""The check sum of a head: what has none was cut off, or altered, and which of both tells what
comes after it."""

START: Final = HEAD.size + SUM.size + PROOF


class Frame(NamedTuple):
    """What was written in one go: where it stands, the value that waits, and the bytes of its
    blobs."""

    at: Standing
    waiting: Waiting
    blobs: Mapping[Digest, bytes]


class Standing(NamedTuple):
    """How far a journal is: which file, and the number of a frame."""

    file: bytes = b""
    number: int = -1

    def is_past(self, other: Standing) -> bool:
        """Whether it is further in the same file, or in another one."""
        return self.file != other.file or self.number > other.number

    def to_bytes(self) -> bytes:
        """The bytes that `from_bytes` reads."""
        return BEGIN.pack(*self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Standing:
        """What `to_bytes` gave; the beginning for anything else."""
        return cls(*BEGIN.unpack(data)) if len(data) == BEGIN.size else cls()


Span = tuple[int, bytes, int]
"""Where a frame begins, its head, and where it ends."""


def spans_of(data: bytes) -> Iterator[Span]:
    """Where each frame begins, its head, and where it ends: beyond the end of all where it is cut
    off, and where it begins where its head is not as it was written; that one is the last."""
    at = BEGIN.size
    while at < len(data):
        head = data[at : at + HEAD.size]
        after = at + HEAD.size + SUM.size
        if after > len(data):
            yield at, head, len(data) + 1
            return
        is_sound = data[at + HEAD.size : after] == SUM.pack(zlib.crc32(head))
        end = at + START + HEAD.unpack(head)[0] if is_sound else at
        yield at, head, end
        if end == at:
            return
        at = end


def end_of(data: bytes, spans: Iterable[Span]) -> Standing:
    """What the next frame is to be called: as the file says, or one more than the last."""
    begin = Standing.from_bytes(data[: BEGIN.size])
    numbers = [HEAD.unpack(head)[3] for at, head, end in spans if at < end <= len(data)]
    return begin._replace(number=max([begin.number, *(number + 1 for number in numbers)]))


def is_whole(data: bytes) -> bool:
    """Whether the last frame ends where the data does."""
    ends = [BEGIN.size, *(end for _, _, end in spans_of(data))]
    return len(data) >= BEGIN.size and ends[-1] == len(data)


def told_of(lot: bytes, stands: tuple[int, int]) -> bytes:
    """What says of something drawn for which file it was, by its device and inode."""
    return blake3(lot + b"%d:%d" % stands).digest(length=4)


def frame_of(at: Standing, waiting: Waiting, blobs: Sequence[bytes]) -> Frame:
    """The frame of what waits, with the bytes of its blobs in order."""
    names = [blob.digest for blob in waiting.version.blobs]
    return Frame(at, waiting, dict(zip(names, blobs, strict=True)))
