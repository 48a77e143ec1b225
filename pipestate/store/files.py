"""The files of a store: made under a temporary name, and then named, so that a name never stands
for half of what it should.

A file `a/bcdef…` has mode 0444 and never changes. Nothing here knows what is in a file, or who
wants it. POSIX only.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import mmap
import os
import resource
import stat
import struct
import time
import weakref
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from ..errors import DamageError
from ..record import Digest
from . import folders

FAN: Final = 1
"""So many letters of a name are its folder's. With two, 200 new files took ext4 three times as
long, which spreads folders over the disk and looks for room in each."""

STALE_SECONDS: Final = 3600.0
"""A temporary file that nobody has written to for so long belongs to a process that is gone."""

_NO_FILE = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO, errno.ENOTDIR}
"""What opening says where the trouble is what stands in the place of the file."""

_NO_PLACE = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}
"""What renaming says where the folder is not there, or something else stands in the way."""

_STAMP = struct.Struct("<qqqQ")
STAMP: Final = _STAMP.size
"""How many bytes `stamp` gives."""

_live_maps: set[weakref.ref[mmap.mmap]] = set()


class Missing(DamageError):  # noqa: N818 (an answer to look elsewhere by)
    """There is no file of that name."""


class Files(Struct, frozen=True):
    """The files in the folder `path`, which is made with the first of them.

    temporary -> name
    open -> mapped
    """

    path: Path
    durable: bool = False

    def temporary(self) -> tuple[str, io.FileIO]:
        """A new file, open to be written and read, under a name that nobody looks for."""
        file = f"{self.path}/tmp/{os.getpid()}-{os.urandom(8).hex()}"
        try:
            # No bare descriptor: an interrupt on its way out of `os.open` would leave it open.
            try:
                made = io.FileIO(file, "x+")
            except FileNotFoundError:
                folders.make(f"{self.path}/tmp", durable=self.durable)
                made = io.FileIO(file, "x+")
            os.fchmod(made.fileno(), 0o444)
        except BaseException:
            unlink(file)
            raise
        return file, made

    def name(self, temporary: str, name: Digest) -> None:
        """Give a finished file its name. Renaming over equal bytes is harmless, also if mapped."""
        file = self._file(name)
        try:
            os.replace(temporary, file)
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise
            self._make_way(file)
            folders.make(os.path.dirname(file), durable=self.durable)
            os.replace(temporary, file)
        if self.durable:
            folders.sync(os.path.dirname(file))

    def open(self, name: Digest) -> tuple[int, os.stat_result]:
        """A file, open to be read, and its state. Raises Missing, or another DamageError where
        what stands there is none that can be read."""
        try:
            # A pipe in the place of the file would be waited for, for ever.
            fd = os.open(self._file(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise Missing(f"blob {name[:12]} is missing from the store") from error
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            raise DamageError(f"blob {name[:12]} cannot be read ({error.strerror})") from error
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise DamageError(f"blob {name[:12]} is no file")
        return fd, found

    def size(self, name: Digest) -> int:
        """How many bytes the file of that name has; -1 where there is none."""
        try:
            return os.stat(self._file(name)).st_size
        except OSError:
            return -1

    def sync(self, name: Digest) -> None:
        """Have a file, and its name, on the disk itself."""
        file = self._file(name)
        folders.sync(file)
        folders.sync(os.path.dirname(file))

    def sweep(self, keep: Container[Digest], *, dry_run: bool = False) -> list[tuple[str, int]]:
        """Remove the files that `keep` does not name, and old leftovers: their names, and bytes.

        Whoever has one mapped goes on with it: its bytes go when the last of them lets go.
        """
        remove = _nbytes if dry_run else unlink
        found = [(name, remove(file)) for name, file in self._named() if name not in keep]
        return found + [("", remove(file)) for file in self._leftovers()]

    def _named(self) -> Iterator[tuple[Digest, str]]:
        for folder in _entries(self.path):
            if len(folder.name) == FAN and folder.is_dir(follow_symlinks=False):
                for file in _entries(folder.path):
                    if not file.is_dir(follow_symlinks=False):  # it is nobody's of ours
                        yield folder.name + file.name, file.path

    def _leftovers(self) -> Iterator[str]:
        now = time.time()
        for file in _entries(self.path / "tmp"):
            try:
                # One from the future is as old: the clock was set back since.
                is_old = abs(now - file.stat(follow_symlinks=False).st_mtime) > STALE_SECONDS
                if is_old and not file.is_dir(follow_symlinks=False):
                    yield file.path
            except FileNotFoundError:
                continue  # its writer has just renamed it

    def _file(self, name: Digest) -> str:
        # A name comes from a record, and a record may come from anywhere: no path gets through.
        if len(name) != 40 or not name.isalnum():
            raise DamageError(f"{name[:60]!r} names no blob")
        return f"{self.path}/{name[:FAN]}/{name[FAN:]}"

    def _make_way(self, file: str) -> None:
        """Put aside what somebody has put in the place of a file or its folder. It may be of worth
        to them, so no sweep takes a folder away."""
        for path, is_file in ((os.path.dirname(file), False), (file, True)):
            if os.path.lexists(path) and os.path.isdir(path) == is_file:
                os.rename(path, f"{self.path}/tmp/{os.path.basename(path)}-{os.urandom(8).hex()}")


def stamp(found: os.stat_result) -> bytes:
    """What differs once a file has been written to, copied, or replaced."""
    return _STAMP.pack(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def mapped(fd: int, nbytes: int, at: int = 0) -> memoryview:
    """Bytes of a file as writable memory; writing to it never reaches the file. `at` is a multiple
    of the machine's page."""
    memory = mmap.mmap(fd, nbytes, access=mmap.ACCESS_COPY, offset=at)
    _live_maps.add(weakref.ref(memory, _live_maps.discard))
    return memoryview(memory)


def room_for_maps() -> float:
    """How many more files may be mapped. CPython's mmap keeps a descriptor while it lives; half of
    them are left to the user's files."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit // 2 - len(_live_maps)


def unlink(file: str) -> int:
    """Remove a file, if it is there: how many bytes it had."""
    nbytes = _nbytes(file)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)
    return nbytes


def _nbytes(file: str) -> int:
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return 0


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return []
