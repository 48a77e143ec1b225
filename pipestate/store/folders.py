"""Folders: where they are, and that they are there after a power cut, for a folder's own name is in
the folder above it."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path

from ..errors import StoreError


def absolute(path: str | Path, here: str | Path | None = None) -> Path:
    """A path as the user gave it, seen from `here` (the working directory).

    The same few are asked for at every call of a server, and making a path takes longer than most
    of what is done with it.
    """
    text = os.fspath(path)
    if text.startswith("~"):
        text, said = os.path.expanduser(text), text
        if text == said:
            raise StoreError(f"nobody knows whose home is meant by {said!r}", "write it in full")
    return _joined("" if os.path.isabs(text) else os.path.abspath(here or os.getcwd()), text)


@functools.lru_cache(maxsize=256)
def _joined(here: str, text: str) -> Path:
    return Path(here, text)


def make(folder: str, *, durable: bool) -> None:
    """Make a folder and those above it; with `durable` each name is on the disk itself."""
    made = []
    above = folder
    while not os.path.isdir(above):
        made.append(above)
        above = os.path.dirname(above)
    os.makedirs(folder, exist_ok=True)
    if durable:
        for one in made:
            sync(os.path.dirname(one))


def sync(path: str) -> None:
    """Have the names in a folder, or the bytes of a file, on the disk itself."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def reserve(fd: int, at: int, nbytes: int) -> None:
    """Tell the disk how much is going to be written into a file, from byte `at` on: it then finds
    the room at once, and ext4 takes up to a third less time. Where it cannot, the writing says so.

    Not `os.posix_fallocate`: where a file system knows no such thing, that writes to each block.
    """
    _fallocate()(fd, 0, at, nbytes)


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], object]:
    found = getattr(ctypes.CDLL(None), "fallocate", None)
    if found is None:  # Linux only
        return lambda *_: None
    found.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    return found  # type: ignore[no-any-return]
