"""Which files a step read and wrote, seen where Python opens them, and what a file was like.

An audit hook hears of each `open` before it happens, before a truncation too, so a file that is
about to be appended to or updated can be copied first, and put back before the step runs again. The
hook is put in at the first `Watch.start` (Python has no way to take one out) and does nothing while
no watch is on. (tup watches what a build's commands open in the same way, from outside.)

A path is kept relative to the base folder where it lies below it, else absolute. Left out are files
of libraries and of the system, caches, fonts, what the import machinery opens and what an installed
module opens while it is imported, and files made and removed in between.

This room does not know who wrote a file before, nor whether a change makes a step stale.

Known weakness: files that C or C++ code opens by itself (pyarrow and polars given a path, HDF5,
`torch.save`), and those of child processes, are not heard of: `--reads` names them.
While the hook is in, `id()` costs 0.15 us instead of 0.03 us, for it is an audit event too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat as stats
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from blake3 import blake3
from msgspec import Struct, field

from ..record import ABSENT, FileState
from . import uncounted

COPY_BOUND: Final = 50 * 2**20
"""Bytes up to which a file is copied before it is changed in place."""

_TICK: Final = 20_000_000
"""Nanoseconds within which two writes may get the same time from a file system."""

_CHUNK: Final = 2**22
_MIB: Final = 2**20

_Stat = tuple[int, int, int, int]
"""What tells one state of a file from another: size, mtime, ctime, inode."""


class Touched(Struct, frozen=True):
    """What was done to files between `Watch.start` and `Watch.stop`; paths as `FileState` has them.

    `read` are files whose earlier content the step saw, those that it appended to or updated
    included, and those that it looked for in vain. `written` are there now and were made or
    changed; `removed` were there before. `before` is the state in which the step met those of
    `read` that are no longer so. `copies` maps each file that was read and then changed, changed in
    place, or removed to a copy of what it was, or to None if it was not there; `uncopied` are those
    over the bound or not to be read. `flaw` says why this may not be all.
    """

    read: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    before: Mapping[str, FileState] = field(default_factory=dict)
    copies: Mapping[str, str | None] = field(default_factory=dict)
    uncopied: tuple[str, ...] = ()
    flaw: str = ""

    def states_read(self, base: str | None = None) -> tuple[FileState, ...]:
        """The state in which the step met each file it read."""
        return tuple(self.before.get(path) or state(path, base=base) for path in self.read)

    def states_written(self, base: str | None = None) -> tuple[FileState, ...]:
        """The state in which the step left each file it wrote, those removed as absent."""
        left = tuple(state(path, base=base) for path in self.written)
        return left + tuple(FileState(path, ABSENT) for path in self.removed)


# --- the state of a file -------------------------------------------------------------------------


def state(path: str | os.PathLike[str], *, base: str | None = None) -> FileState:
    """A file's state now: its content's digest, size, mtime and inode; `ABSENT` where none is.

    A folder's digest is that of the names and contents below it. A file written within the last
    tick of the file system's clock could change again without showing it: a small one then gets no
    mtime, so that `is_same` always reads it, and for a big one the tick is waited out.
    """
    base = base or os.getcwd()
    full = os.path.join(base, os.fspath(path))
    name = _name(full, base)
    with _unheard():
        for _ in range(3):
            met = _stat(full)
            if met is None:
                return _folder_state(full, name) if os.path.isdir(full) else FileState(name, ABSENT)
            try:
                digest = _digest(full, met)
            except OSError:
                return FileState(name, ABSENT)  # not to be read is not there, for who reads
            is_fresh, is_small = time.time_ns() - met[1] < _TICK, met[0] < _MIB
            if is_fresh and not is_small:
                time.sleep(_TICK / 1e9)
            found = FileState(name, digest, met[0], 0 if is_fresh and is_small else met[1], met[3])
            if _stat(full) == met:
                break  # else somebody writes to it just now: once more
    return found


def is_same(known: FileState, *, base: str | None = None) -> bool:
    """Whether the file is as it was: size, mtime and inode tell, and in doubt the content."""
    full = os.path.join(base or os.getcwd(), known.path)
    met = _stat(full)
    if met is None:
        return state(known.path, base=base).digest == known.digest
    if known.digest == ABSENT or (known.inode and known.nbytes != met[0]):
        return False
    if known.mtime_ns and (known.nbytes, known.mtime_ns, known.inode) == (met[0], met[1], met[3]):
        return True
    return state(known.path, base=base).digest == known.digest


def put_back(path: str, copy: str | None, *, base: str | None = None) -> None:
    """Make a file again what its copy holds, at once or not at all; None takes it away.

    May raise OSError, and then nothing was changed.
    """
    full = os.path.join(base or os.getcwd(), path)
    with _unheard():
        if copy is None:
            with contextlib.suppress(FileNotFoundError):
                os.remove(full)
            return
        os.makedirs(os.path.dirname(full), exist_ok=True)
        beside = f"{full}.{os.getpid()}.pipestate"
        try:
            shutil.copy2(copy, beside)
            os.replace(beside, full)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.remove(beside)
            raise


def _name(full: str, base: str) -> str:
    full, below = os.path.abspath(full), os.path.join(os.path.abspath(base), "")
    return full[len(below) :] if full.startswith(below) and full != below else full


def _stat(full: str) -> _Stat | None:
    """None for what is not there or no plain file."""
    try:
        found = os.stat(full)
    except (OSError, ValueError):
        return None
    if not stats.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


_digests: dict[tuple[str, _Stat], str] = {}
"""Digests of files that have not changed since, in this process; a bounded number of them."""


def _digest(full: str, met: _Stat) -> str:
    known = _digests.get((full, met))
    if known is not None:
        return known
    # Read rather than mapped: a mapped file that somebody truncates meanwhile kills the process.
    hasher = blake3(max_threads=blake3.AUTO if met[0] > _MIB else 1)
    buffer = bytearray(min(met[0], _CHUNK) or 1)
    with open(full, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(memoryview(buffer)[:count])
    digest: str = hasher.hexdigest(length=20)
    if time.time_ns() - max(met[1], met[2]) > _TICK:
        while len(_digests) >= 4096:
            del _digests[next(iter(_digests))]
        _digests[full, met] = digest
    return digest


def _folder_state(full: str, name: str) -> FileState:
    hasher, nbytes = blake3(), 0
    for folder, below, files in os.walk(full):
        below.sort()
        for file in sorted(files):
            path = os.path.join(folder, file)
            met = _stat(path)
            if met is not None:
                inside = os.path.relpath(path, full)
                hasher.update(
                    f"{inside}\0{_digest(path, met)}\0".encode("utf-8", "surrogateescape")
                )
                nbytes += met[0]
    return FileState(name, hasher.hexdigest(length=20), nbytes)


# --- watching ------------------------------------------------------------------------------------


class _Trace(Struct):
    """One path since the watch met it: `met` is how it was then, None where it was not there."""

    met: _Stat | None
    is_racy: bool
    is_read: bool = False
    is_written: bool = False
    is_updated: bool = False
    before: FileState | None = None
    copy: str | None = None
    is_uncopied: bool = False


class Watch:
    """Hears which files are opened, from any thread, between `start` and `stop`.

    start ── hook ── _see ── _open ──┬── _meet      how the file was
                          ├─ _rename ├── _keep      a copy before it is changed
                          └─ _remove ┘
    stop ─── Touched
    """

    def __init__(
        self,
        *left_out: str | os.PathLike[str],
        copies: str | os.PathLike[str] | None = None,
        bound: int = COPY_BOUND,
        base: str | None = None,
    ) -> None:
        """`left_out` are folders that do not count, the store's own above all.

        Copies of files up to `bound` bytes go into the folder `copies`, made at the first copy; if
        none is given, into a temporary one, which is the caller's to remove. Paths are relative to
        `base`, the working directory at `start` if it is not given.
        """
        own = (*left_out, copies) if copies else left_out
        self._given = [os.path.abspath(os.fspath(folder)) for folder in own]
        self._copies = os.path.abspath(copies) if copies else ""
        self._bound, self._base_given = bound, base
        self._lock = threading.RLock()

    def _forget(self) -> None:
        self._traces: dict[str, _Trace] = {}
        self._flaw = ""
        self._base = os.path.abspath(self._base_given or os.getcwd())
        self._left_out = uncounted.folders(self._base, (*self._given,))

    def start(self) -> None:
        """Begin to hear, from nothing."""
        self._forget()
        _install_hook()
        _watches.append(self)

    def stop(self) -> Touched:
        """End it, and tell what was touched."""
        if self in _watches:
            _watches.remove(self)
        with self._lock, _unheard():
            return self._touched()

    def see(self, event: str, args: tuple[Any, ...]) -> None:
        """Take note of an audit event. For the hook; never raises."""
        try:
            with self._lock:
                _SEEN[event](self, *args)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            # an odd kind of path, a folder that went away: the user's own call says what is wrong
            self._flaw = f"a file was not seen ({type(error).__name__}: {error})"

    def _touched(self) -> Touched:
        read, written, removed, uncopied = [], [], [], []
        before: dict[str, FileState] = {}
        copies: dict[str, str | None] = {}
        for full, trace in self._traces.items():
            name, now = _name(full, self._base), _stat(full)
            if now is None and trace.met is None and trace.is_written:
                continue  # made and removed in between
            is_changed = _is_changed(full, trace, now)
            if trace.is_read:
                read.append(name)
            if not is_changed:
                self._drop(trace)
                continue
            if trace.is_read:
                before[name] = self._state_before(trace, name)
            if now is None:
                removed.append(name)
            elif trace.is_written:
                written.append(name)
            if trace.copy or (trace.is_updated and trace.met is None):
                copies[name] = trace.copy
            if trace.is_uncopied:
                uncopied.append(name)
        found = (tuple(read), tuple(written), tuple(removed))
        return Touched(*found, before, copies, tuple(uncopied), self._flaw)

    def _state_before(self, trace: _Trace, name: str) -> FileState:
        if trace.met is None:
            return FileState(name, ABSENT)
        if trace.before is not None:
            return trace.before
        if trace.copy:
            digest = state(trace.copy).digest
            return FileState(name, digest, trace.met[0], trace.met[1], trace.met[3])
        self._flaw = f"{name} was changed while the step ran, by something that was not seen"
        return FileState(name, "", trace.met[0], trace.met[1], trace.met[3])

    def _drop(self, trace: _Trace) -> None:
        """A file opened for change and not changed needs no copy."""
        if trace.copy:
            with contextlib.suppress(OSError):
                os.remove(trace.copy)

    # Events, each with the arguments that the audit event has.

    def _open(self, path: Any, mode: str | None, flags: int) -> None:
        full = self._full(path)
        if full is None or uncounted.is_opened_by_import(sys._getframe(1), __file__):
            return
        trace = self._meet(full)
        if trace is None:
            return
        if flags & (os.O_WRONLY | os.O_RDWR) == 0:
            # os.open may be given a folder's descriptor, which the event does not tell
            if trace.met is not None or mode is not None:
                trace.is_read = trace.is_read or not trace.is_written
            elif not trace.is_read and not trace.is_written:
                del self._traces[full]
            return
        self._change(full, trace, is_update=not flags & (os.O_TRUNC | os.O_EXCL))

    def _touch(self, path: Any, descriptor: int = -1, *, is_update: bool) -> None:
        """A file is made, or changed in place, by another call than `open`."""
        full = self._full(path, descriptor)
        trace = self._meet(full) if full is not None else None
        if full is not None and trace is not None:
            self._change(full, trace, is_update=is_update)

    def _change(self, full: str, trace: _Trace, *, is_update: bool) -> None:
        if not trace.is_written and (is_update or trace.is_read):
            trace.is_updated = trace.is_read = True
            self._keep(full, trace)
        trace.is_written = True

    def _remove(self, path: Any, descriptor: int = -1) -> None:
        full = self._full(path, descriptor)
        trace = self._meet(full) if full is not None else None
        if full is not None and trace is not None and not trace.is_written:
            self._keep(full, trace, is_going=True)
            trace.is_written = True

    def _rename(self, old: Any, new: Any, old_at: int = -1, new_at: int = -1) -> None:
        source, target = self._full(old, old_at), self._full(new, new_at)
        if source is not None:
            self._move_below(source, target)
        moved = self._meet(source) if source is not None else None
        self._touch(new, new_at, is_update=False)
        if source is not None and moved is not None:
            if moved.met is None:
                self._traces.pop(source, None)
            elif not moved.is_written:
                moved.is_read = True
                self._keep(source, moved)  # no link: it lives on, and may be changed, elsewhere
                moved.is_written = True

    def _move_below(self, source: str, target: str | None) -> None:
        """A folder was renamed: the files in it that the step made have other names now."""
        below = os.path.join(source, "")
        for full in [full for full in self._traces if full.startswith(below)]:
            trace = self._traces[full]
            if trace.met is None:
                del self._traces[full]
                if target is not None:
                    self._traces[os.path.join(target, full[len(below) :])] = trace

    # What they share.

    def _full(self, path: Any, descriptor: int = -1) -> str | None:
        """The absolute path; None for what does not count."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return None  # a descriptor: whoever opened it was heard
        text = os.fsdecode(path)
        if descriptor >= 0 and not os.path.isabs(text):
            text = os.path.join(os.readlink(f"/proc/self/fd/{descriptor}"), text)
        full = os.path.abspath(text)
        return None if uncounted.is_left_out(full, self._left_out) else full

    def _meet(self, full: str) -> _Trace | None:
        """The trace of a path; None for a folder, a pipe, a device."""
        trace = self._traces.get(full)
        if trace is None:
            met = _stat(full)
            if met is None and os.path.exists(full):
                return None
            is_racy = met is not None and time.time_ns() - max(met[1], met[2]) < _TICK
            trace = self._traces[full] = _Trace(met, is_racy)
        return trace

    def _keep(self, full: str, trace: _Trace, *, is_going: bool = False) -> None:
        """Keep what a file is before it is changed or removed: linked if it goes, else copied."""
        if trace.met is None or trace.copy:
            return
        copy = ""
        try:
            copy = self._new_copy(full)
            if is_going and os.stat(full).st_nlink == 1 and _is_linked(full, copy):
                trace.copy = copy
            elif trace.met[0] <= self._bound:
                shutil.copy2(full, copy)
                trace.copy = copy
        except OSError:
            with contextlib.suppress(OSError):
                os.remove(copy)
        if not trace.copy:
            trace.is_uncopied = True
            trace.before = state(full, base=self._base)

    def _new_copy(self, full: str) -> str:
        if not self._copies:
            self._copies = tempfile.mkdtemp(prefix="pipestate-")
            self._left_out += (os.path.join(self._copies, ""),)
        os.makedirs(self._copies, exist_ok=True)
        number = len(os.listdir(self._copies))
        return os.path.join(self._copies, f"{number}-{os.getpid()}-{os.path.basename(full)[-80:]}")


def _is_changed(full: str, trace: _Trace, now: _Stat | None) -> bool:
    if now is not None and trace.copy and trace.met is not None and now[0] == trace.met[0]:
        return state(full).digest != state(trace.copy).digest
    return now != trace.met or (trace.is_written and trace.is_racy)


def _is_linked(full: str, copy: str) -> bool:
    try:
        os.link(full, copy, follow_symlinks=True)
    except (OSError, NotImplementedError):
        return False  # another file system, or one without links
    return True


# --- the hook ------------------------------------------------------------------------------------

_watches: list[Watch] = []
_busy: set[int] = set()
_hooks: list[Callable[[str, tuple[Any, ...]], None]] = []

# ruff: noqa: SLF001 - the table belongs to the class above
_SEEN: Final[Mapping[str, Callable[..., None]]] = {
    "open": Watch._open,
    "os.remove": Watch._remove,
    "os.rename": Watch._rename,
    "os.truncate": lambda watch, path, _: watch._touch(path, is_update=True),
    "os.link": lambda watch, _, new, __, at: watch._touch(new, at, is_update=False),
    "os.symlink": lambda watch, _, new, at: watch._touch(new, at, is_update=False),
    "sqlite3.connect": lambda watch, path: watch._touch(path, is_update=True),
}


def _install_hook() -> None:
    """Once a process: an audit hook cannot be taken out. A forked child inherits it."""
    if _hooks:
        return
    watches, seen, busy = _watches, _SEEN, _busy  # looked up faster than the module's

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if watches and event in seen and threading.get_ident() not in busy:
            with _unheard():
                for watch in list(watches):
                    watch.see(event, args)

    sys.addaudithook(hook)
    _hooks.append(hook)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """What this thread opens in here is pipestate's own doing."""
    thread = threading.get_ident()
    was_busy = thread in _busy
    _busy.add(thread)
    try:
        yield
    finally:
        if not was_busy:
            _busy.discard(thread)
