"""The folder of a store, as far as it says what it is: its format number, and a `.gitignore`."""

from __future__ import annotations

import functools
import os
import stat
from pathlib import Path
from typing import Final

from ..errors import FormatError
from . import folders
from .faults import told

FORMAT: Final = 1


def check(path: Path) -> bool:
    """Whether the folder is a store that this pipestate may use; False where there is none yet.

    Raises FormatError for one of a newer pipestate, or of nobody's.
    """
    with told(path):
        try:
            state = os.stat(f"{path}/format")
            number = _number(path, state.st_ino, state.st_mtime_ns, state.st_size)
        except FileNotFoundError:
            return False
    if number == str(FORMAT):
        return True
    if number.isdecimal() and int(number) > FORMAT:
        raise FormatError(
            f"the store {path} was written by a newer pipestate (format {number})",
            "upgrade pipestate, or set PIPESTATE_STORE to another folder",
        )
    raise FormatError(f"{path}/format is not what pipestate writes", "use another folder")


@functools.lru_cache(maxsize=64)
def _number(path: Path, *_state: int) -> str:
    """What the file `format` says, which is read once in each of its states. It may be anything: a
    pipe would be waited for, and a device may have no end."""
    fd = os.open(path / "format", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        return os.read(fd, 20).decode("ascii", "replace").strip() if is_file else ""
    finally:
        os.close(fd)


def make(path: Path, *, durable: bool) -> None:
    """Make the folder. `format` comes last, so that a folder with one has a `.gitignore`."""
    with told(path):
        if check(path):
            return
        folders.make(str(path), durable=durable)
        for name, text in ((".gitignore", "*\n"), ("format", f"{FORMAT}\n")):
            temporary = path / f".{name}-{os.getpid()}-{os.urandom(4).hex()}"
            with open(temporary, "w", encoding="ascii") as file:
                file.write(text)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path / name)
        if durable:
            folders.sync(str(path))
