"""Folders that are there after a power cut: a folder's own name is in the folder above it."""

from __future__ import annotations

import os


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
