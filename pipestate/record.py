"""The nouns: what a run left and what a job is made of, as frozen data, and their bytes.

Nothing here touches a disk, a kernel or a user's object. The bytes are JSON of a fixed shape
(`encoding`), so that reading a record can never run code; `from_bytes` raises `FormatError`, and
nothing else, for bytes that are not such a shape. Values themselves live in blobs, which a record
only names.
"""

from __future__ import annotations

import functools
import json
import math
import unicodedata
from typing import Any, Final, Literal, final

from msgspec import field

from .encoding import Noun, prepare

ABSENT: Final = "absent"
"""The digest of a name that is not bound: an input like any other."""

VALUE: Final = "="
"""The root under which a component holds what a step displayed last; no identifier, so no clash."""

IMPORTED: Final = "import "
"""Before a module's name, it makes a name for what code imports when it runs; no identifier."""

SEEDING: Final = "seed()"
"""Stands among the names that code reads for that it may seed a random generator."""

SET: Final = "set"
"""The options of a record that no cell made."""

Digest = str
"""40 hexadecimal digits of BLAKE3 (160 bits), or `ABSENT`."""

Key = str | int | bool | float | bytes | None
"""A constant that an access path may subscript with."""

NO_RECORD: Final = "!"
"""Begins what stands in the place of a record's digest where the record is not to be had."""


def no_record(step: str, reason: str) -> Digest:
    """What stands in the place of the digest of a step's record that is not to be had."""
    return f"{NO_RECORD}{step}: {reason}"


def is_step_name(name: str) -> bool:
    """Letters of any alphabet, digits, `_`, `-`, `.`; no leading `-`, which is an option's."""
    return (
        bool(name)
        and name[0] != "-"
        and all(
            char.isalnum() or char in "_-." or unicodedata.category(char)[0] == "M" for char in name
        )
    )


@final
class AccessPath:
    """A name and the constant subscripts and attributes read from it: `df["price"]`, `cfg.lr`.

    `name` is an identifier of the notebook, or `module.name` for a global of one of the project's
    own modules. Each part is `("item", key)` or `("attr", name)`. Never changed. (No `Noun`, for
    its JSON is not that of its fields.)
    """

    __slots__ = ("name", "parts")

    def __init__(self, name: str, parts: tuple[tuple[str, Key], ...] = ()) -> None:
        self.name, self.parts = name, parts

    def __eq__(self, other: object) -> bool:
        if type(other) is not AccessPath:
            return NotImplemented
        return self.name == other.name and self.parts == other.parts

    def __hash__(self) -> int:
        return hash((self.name, self.parts))

    def __repr__(self) -> str:
        return f"AccessPath({self.name!r}, {self.parts!r})"

    def __str__(self) -> str:
        if not self.parts:  # most are whole names, and there are many
            return self.name
        return self.name + "".join([part_text(kind, key) for kind, key in self.parts])

    @property
    def is_whole(self) -> bool:
        """Whether it stands for all of the name's value."""
        return not self.parts

    def to_plain(self) -> list[Any]:
        """It as JSON: the name, then `".attr"`, or `[key]`, for each part."""
        return [self.name, *(_plain_part(kind, key) for kind, key in self.parts)]

    @classmethod
    def from_plain(cls, plain: Any) -> AccessPath:
        """What `to_plain` gave; raises ValueError for anything else."""
        if not isinstance(plain, list) or not plain or not isinstance(plain[0], str):
            raise ValueError("no access path")
        return cls(plain[0], tuple(_part(part) for part in plain[1:]))


def part_text(kind: str, key: Key) -> str:
    """One part of a path as it is written down: `.attr` or `[key]`."""
    if kind == "attr":
        return f".{key!s}"
    if not isinstance(key, str):
        return f"[{key!r}]"
    return f"[{_known(key) if len(key) < 50 else _quoted(key)}]"


def _quoted(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)


_known: Final = functools.lru_cache(maxsize=1024)(_quoted)
"""Records have the same few keys over and over."""


def _plain_part(kind: str, key: Key) -> Any:
    if kind == "attr":
        return f".{key!s}"
    if isinstance(key, float) and not math.isfinite(key):  # no number of JSON
        return {"float": repr(key)}
    return {"bytes": key.hex()} if isinstance(key, bytes) else [key]


def _part(plain: Any) -> tuple[str, Key]:
    if isinstance(plain, str) and plain[:1] == ".":
        return ("attr", plain[1:])
    if isinstance(plain, dict) and list(plain) == ["bytes"]:
        return ("item", bytes.fromhex(plain["bytes"]))
    if isinstance(plain, dict) and list(plain) == ["float"]:
        return ("item", float(plain["float"]))
    if isinstance(plain, list) and len(plain) == 1 and not isinstance(plain[0], (list, dict)):
        return ("item", plain[0])
    raise ValueError("no part of an access path")


class Blob(Noun, frozen=True):
    """Bytes in the store: their digest and how many there are."""

    digest: Digest
    nbytes: int


class Version(Noun, frozen=True):
    """What one run left of one component: the names that share mutable objects, kept as one.

    `digest` covers content and sharing over all `names`; `names` gives each name's digest alone.
    `shares` lists, for each name, which of its mutable objects (numbered as its own digest numbers
    them) are which objects of the component, so that the joint digest of some of the names can be
    had without the values; None where that would be too long. `parts` are the digests of the parts
    that a cell could read by path, keyed by `str(path)`; a bounded number of them.

    A `value` has a pickle stream and its out-of-band buffers. A `definition` or an `import` is kept
    as `source`. A `lost` one could not be kept: `flaw` says why, and its maker has to run again.
    One that `settles` comes back without what it only remembered (caches), so its digest moves
    once. `needs` are the notebook's definitions that loading it asks for, as they were; `reads` and
    `writes` are the globals that the code in it reads and assigns.
    """

    kind: Literal["value", "definition", "import", "lost"]
    digest: Digest
    names: dict[str, Digest]
    types: dict[str, str] = field(default_factory=dict)
    shares: dict[str, tuple[tuple[int, int], ...]] | None = None
    parts: dict[str, Digest] = field(default_factory=dict)
    stream: Blob | None = None
    buffers: tuple[Blob, ...] = ()
    source: str = ""
    needs: dict[str, Digest] = field(default_factory=dict)
    reads: tuple[AccessPath, ...] = ()
    writes: tuple[str, ...] = ()
    flaw: str = ""
    mutable: bool = True
    settles: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes in the store, buffers that other versions hold too included."""
        stream = self.stream.nbytes if self.stream else 0
        return stream + sum(b.nbytes for b in self.buffers) if self.buffers else stream

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Every blob that it needs to be loaded."""
        return ((self.stream,) if self.stream else ()) + self.buffers


class Input(Noun, frozen=True):
    """A path that a step read, its digest then, and the digest of the whole object around it.

    Equal wholes need no look at the path. `maker` is the step whose version it was, or "" for what
    no step made.
    """

    path: AccessPath
    digest: Digest
    whole: Digest
    maker: str = ""


class Text(Noun, frozen=True):
    """What a plain cell said, and when it ran."""

    at: float
    text: str


class Given(Noun, frozen=True):
    """Where a given comes from: the plain cell that made it, and what that cell had read.

    `cell` is the cell's id, "" where the front end tells none; `stood` the digests of the steps'
    versions that it read, by name; `texts` those of the cells that made it what it is.
    """

    cell: str = ""
    stood: dict[str, Digest] = field(default_factory=dict)
    texts: tuple[Text, ...] = ()


class FileState(Noun, frozen=True):
    """A file as a step met it. `digest` is `ABSENT` for one that was not there."""

    path: str
    digest: Digest
    nbytes: int = 0
    mtime_ns: int = 0
    inode: int = 0


class Record(Noun, frozen=True):
    """What one run of a step left. Immutable.

    `normal` is the digest of the source with comments, formatting and docstrings taken out.
    `joint` maps a comma-joined group of input names that shared objects to their joint digest;
    `held` maps each input that the outputs changed or hold to all the names that shared with it.
    `outputs` are the versions it left; `made` the names it gave a meaning (`bound` those of
    them that it bound, the others were changed in place), `gone` those it took away; `givens` the
    versions of inputs that no step made, `given_by` who made them, by name. `displays` is a blob of
    Jupyter messages. `files_before` holds what files were that it changed in place (None: not
    there), so that they can be put back before it runs again. `under` is the name by which it read
    what had been displayed before it, which nobody can tell ahead. `session` are line magics that
    are run again on restore. `moved` holds the digests of the ambient keys that were inputs. Times
    are in seconds, `started` since the epoch. `flaw` is no part of what is kept: it says of a
    record that was read why nothing of it may be loaded, and is "" otherwise.
    """

    step: str
    source: str
    normal: Digest
    options: str = ""
    inputs: tuple[Input, ...] = ()
    joint: dict[str, Digest] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    outputs: tuple[Version, ...] = ()
    givens: tuple[Version, ...] = ()
    given_by: dict[str, Given] = field(default_factory=dict)
    made: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    displays: Blob | None = None
    ambient: Version | None = None
    moved: dict[str, Digest] = field(default_factory=dict)
    files_read: tuple[FileState, ...] = ()
    files_written: tuple[FileState, ...] = ()
    files_before: dict[str, Blob | None] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    session: tuple[str, ...] = ()
    python: str = ""
    started: float = 0.0
    seconds: float = 0.0
    is_done: bool = True
    is_volatile: bool = False
    under: str = ""
    cell_id: str = ""
    flaw: str = ""

    @property
    def is_set(self) -> bool:
        """Whether no cell made it: a script or a server set the step's value."""
        return self.options == SET

    @property
    def nbytes(self) -> int:
        """Bytes of its blobs, each counted once."""
        if not (self.givens or self.ambient or self.displays or self.files_before):
            if not self.outputs:
                return 0
            if len(self.outputs) == 1 and not self.outputs[0].buffers:  # as most are
                return self.outputs[0].nbytes
        return sum({b.digest: b.nbytes for b in self.blobs}.values())

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Every blob that it names."""
        found: list[Blob] = []
        for version in (*self.outputs, *self.givens, *((self.ambient,) if self.ambient else ())):
            found += version.blobs
        found += [blob for blob in self.files_before.values() if blob is not None]
        return (*found, self.displays) if self.displays else tuple(found)

    def version_of(self, name: str) -> Version | None:
        """The version that it left of `name`, or None."""
        return next((v for v in self.outputs if name in v.names), None)


class Meaning(Noun, frozen=True):
    """What a name means in a job: the version with this digest that this step's record holds.

    `record` is the record that holds the version, among its outputs or its givens. `maker` is the
    step it comes from: equal versions of two steps fall back differently. `is_outgrown` says that a
    plain cell has given the name another value since, or worked on it, which nothing keeps.
    """

    maker: str
    record: Digest
    digest: Digest
    is_outgrown: bool = False


class Waiting(Noun, frozen=True):
    """A value that a script has set, and when, in seconds since the epoch, before a run says so."""

    job: str
    step: str
    started: float
    version: Version


class Seen(Noun, frozen=True):
    """A step's cell as it was last attempted, whether that run succeeded or not.

    `normal` is the digest of its source as `Record.normal` is of the record's.
    """

    source: str
    options: str = ""
    cell_id: str = ""
    normal: Digest = ""


Event = Literal["ran", "restored", "failed", "set", "dropped", "renamed", "noted", "damaged"]
"""What a line of history tells; `noted` is one that no step stands behind (imports, places). A
`damaged` one is never kept: it stands for a run that cannot be read, and `reason` says why."""


class Run(Noun, frozen=True):
    """One line of a job's history, and everything that it changed in the job.

    A job is the fold of its runs: `heads` are the records now in force (None: none any more),
    `meanings` what names mean now (None: nothing), `seen` the step's cell as last attempted,
    `imports` the import statements by the name that each binds, `order` the steps in their places
    where that changed. After a run `is_forced`, earlier records are not restored by themselves.
    """

    number: int
    job: str
    step: str
    event: Event
    reason: str = ""
    started: float = 0.0
    seconds: float = 0.0
    record: Digest | None = None
    heads: dict[str, Digest | None] = field(default_factory=dict)
    meanings: dict[str, Meaning | None] = field(default_factory=dict)
    seen: Seen | None = None
    imports: dict[str, str] = field(default_factory=dict)
    order: tuple[str, ...] | None = None
    is_forced: bool = False


class Pipe(Noun, frozen=True):
    """A job at one moment: its runs up to `number`, folded. Never changed; a run gives the next.

    `heads` are the records in force by step, `order` the steps in their places, `seen` their cells
    as last attempted, `failed` the error of each step whose last run raised, `runs` how often each
    has run, `kept` the records that may be restored for it, newest first, `imports` the remembered
    import statements by the name that each binds.
    """

    job: str
    number: int = 0
    heads: dict[str, Digest] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    seen: dict[str, Seen] = field(default_factory=dict)
    meanings: dict[str, Meaning] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    kept: dict[str, tuple[Digest, ...]] = field(default_factory=dict)


prepare(Blob, Version, Input, Text, Given, FileState, Record, Meaning, Waiting, Seen, Run, Pipe)
