"""What scripts and servers read of a job: its steps' values, as the notebook left them.

Functions and classes of the notebook are run from their source, into a module of the job. Nothing
is needed here of what takes values apart, or tells why: who only reads does not wait for that.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from .errors import DamageError, PackError, StoreError, TrustError, UsageError
from .ledger import Ledger
from .pace import Pace
from .record import VALUE, Digest, Meaning, Record, Version, is_step_name
from .store import blobs, loading
from .store.folder import locate, open_store
from .store.trust import is_distrust

Listener = Callable[[Ledger, str], None]
_listeners: list[Listener] = []


@contextlib.contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Tell a listener of each step whose value is asked for: it is an input of what runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Values(Mapping[str, Any]):
    """The values of a job's steps: `values["step_01"]`.

        values[step] ──── head ──── its version of the value ──── loading.load
        values.names ──── meanings ──── loading.load

    `store` is the store's folder; by default `$PIPESTATE_STORE`, else the nearest `.pipestate/`.
    Every look sees what other processes have committed by then. `verification` says what is
    believed, as the setting of that name does.
    """

    def __init__(
        self,
        name: str,
        store: str | Path | None = None,
        *,
        verification: blobs.Verification = "on",
    ) -> None:
        check_job(name)
        if verification not in get_args(blobs.Verification):
            kinds = ", ".join(get_args(blobs.Verification))
            raise UsageError(f"{verification!r} is no verification", f"one of {kinds} is")
        self.name = name
        self._options: dict[str, Any] = {"verification": verification}
        self._ledger = Ledger.open(open_store(locate(store), verification=verification), name)
        self._module = types.ModuleType(f"pipestate job {name}")
        self._held: dict[str, Digest] = {}
        self._turns: dict[int, tuple[threading.RLock, set[str]]] = {}
        self._pace = Pace()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, store={str(self._ledger.store.path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """The same job of the same store, opened anew: another process may be handed it."""
        path = str(self._ledger.store.path)
        return functools.partial(type(self), self.name, path, **self._options), ()

    def __getitem__(self, step: str) -> Any:
        while True:
            self._refresh()
            head = self._ledger.head_of(step)
            try:
                record = self._ledger.head(step)
                self._heard(step)
                if record is None:
                    raise KeyError(step)
                return self._value_of(step, record)
            except DamageError:
                # Where there is another one since, somebody has reclaimed the room of this one.
                self._refresh()
                if self._ledger.head_of(step) == head:
                    raise

    def together(self) -> dict[str, Any]:
        """The values of all steps, in their places, as they stood at one moment."""
        while True:
            self._refresh()
            pipe = self._ledger.pipe
            heads = {step: pipe.heads[step] for step in pipe.order if step in pipe.heads}
            for step in heads:
                self._heard(step)
            self._ledger.read(heads)
            record = self._ledger.record
            try:
                return {step: self._value_of(step, record(head)) for step, head in heads.items()}
            except DamageError:
                self._refresh()
                if self._ledger.pipe is pipe:
                    raise

    def _heard(self, step: str) -> None:
        for listener in _listeners:
            listener(self._ledger, step)

    def _value_of(self, step: str, record: Record) -> Any:
        what = f"the value of {step}"
        if record.flaw:
            raise _unusable(what, record.flaw)
        version = record.version_of(VALUE)
        if version is not None:
            return self._load(version, what)[VALUE]
        found: dict[str, Any] = {}
        for version in record.outputs:  # one for all that shares objects
            if version.kind != "import":
                found |= self._load(version, what)
        return {name: found[name] for name in record.made if name in found}

    def __iter__(self) -> Iterator[str]:
        self._refresh()
        pipe = self._ledger.pipe
        return iter([step for step in pipe.order if step in pipe.heads])

    def __len__(self) -> int:
        self._refresh()
        return self._ledger.steps

    def __contains__(self, step: object) -> bool:
        self._refresh()
        return self._ledger.head_of(step) is not None  # type: ignore[arg-type]

    @property
    def names(self) -> Mapping[str, Any]:
        """What each name of the notebook means now, loaded when asked for."""
        self._refresh()
        return _Names(self, tuple(self._ledger.pipe.meanings))

    def load_name(self, name: str) -> Any:
        """What a name of the notebook means now. Raises KeyError where it means nothing."""
        known = self._ledger.pipe.meanings.get(name)
        try:
            return self._value_of_name(name)
        except DamageError:
            # As for a step: its room may have been reclaimed, or its store be gone.
            self._refresh()
            if self._ledger.pipe.meanings.get(name) == known:
                raise
            return self._value_of_name(name)

    def _value_of_name(self, name: str) -> Any:
        version = self._meant(name)
        if version is None:
            raise KeyError(name)
        if version.kind in ("definition", "import"):
            return self._need(name)
        return self._load_meant(name, version)

    # --- inside --------------------------------------------------------------------------------

    def _refresh(self) -> None:
        self._pace.stop()
        self._take_up()

    def _take_up(self) -> None:
        self._ledger.refresh()
        self._ledger.take_news()  # who looks anew each time has no use for it
        self._ledger.is_anew = False

    def _load(self, version: Version, what: str) -> dict[str, Any]:
        if version.kind == "lost":
            raise PackError(
                f"{what} could not be kept: {version.flaw.replace(f' at {VALUE}', ' at it')}",
                "let its step leave what can be",
                kind=", ".join(version.types.values()),
            )
        try:
            values = loading.load(
                version,
                fetch=self._ledger.fetch,
                resolve=lambda name: self._needed(name, version.needs.get(name, "")),
                namespace=vars(self._module),
            )
        except (ImportError, AttributeError) as error:  # a library is gone, or is another one
            raise StoreError(
                f"{what} does not load here: {error}", "install what it needs"
            ) from error
        if version.reads:
            with self._turn()[0]:
                self._bring_read(version, set())
        return values

    def _load_meant(self, name: str, version: Version) -> Any:
        """The value of the version that a name means. What was never kept is a PackError, whichever
        way it is asked for; what cannot be read or trusted any more is not."""
        if version.kind == "lost":
            flaw = self._ledger.record(self._ledger.pipe.meanings[name].record).flaw
            if flaw:
                raise _unusable(f"`{name}`", flaw)
        return self._load(version, f"`{name}`")[name]

    def _needed(self, name: str, digest: Digest) -> Any:
        """A definition that a value needs, as it was when the value was kept."""
        with self._turn()[0]:
            known = self._meant(name)
            if digest and (known is None or known.names[name] != digest):
                earlier = self._ledger.definition(name, digest)
                if earlier is not None:
                    return self._load(earlier, f"`{name}`")[name]
            return self._need(name)

    def _turn(self) -> tuple[threading.RLock, set[str]]:
        """What to hold while a definition is run, for there is one object of a version; and the
        names that are under way. A forked child has its own: who held it is not there."""
        return self._turns.setdefault(os.getpid(), (threading.RLock(), set()))

    def _need(self, name: str) -> Any:
        """What a name means, one object for one version: other values refer to it by its name."""
        with self._turn()[0]:
            self._bring(name, set())
            return vars(self._module)[name]

    def _bring(self, name: str, seen: set[str]) -> None:
        """Have what a name means now in the module, and all that its code reads."""
        space, under_way = vars(self._module), self._turn()[1]
        version = self._meant(name)
        if version is None:
            raise StoreError(f"`{name}`, which a kept value needs, is not in the store")
        seen.add(name)
        if name in under_way:
            return
        under_way.add(name)
        try:
            if self._held.get(name) != version.digest or name not in space:
                space[name] = self._load_meant(name, version)
                self._held[name] = version.digest
            else:
                self._bring_read(version, seen)
        finally:
            under_way.discard(name)

    def _bring_read(self, version: Version, seen: set[str]) -> None:
        for path in version.reads:
            if path.name not in seen and self._meant(path.name) is not None:
                self._bring(path.name, seen)

    def _meant(self, name: str) -> Version | None:
        meaning = self._ledger.pipe.meanings.get(name)
        if meaning is None:
            statement = self._ledger.pipe.imports.get(name)
            return Version("import", "", {name: ""}, source=statement) if statement else None
        return self._held_by(name, meaning)

    def _held_by(self, name: str, meaning: Meaning) -> Version | None:
        record = self._ledger.record(meaning.record)
        return next(
            (
                version
                for version in (*record.outputs, *record.givens)
                if name in version.names and version.digest == meaning.digest
            ),
            None,
        )


class _Names(Mapping[str, Any]):
    """The names of a job, each loaded when it is asked for."""

    def __init__(self, values: Values, names: tuple[str, ...]) -> None:
        self._values = values
        self._names = names

    def __repr__(self) -> str:
        return f"<names of {self._values!r}: {', '.join(self._names)}>"

    def __getitem__(self, name: str) -> Any:
        return self._values.load_name(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _unusable(what: str, flaw: str) -> StoreError:
    if is_distrust(flaw):
        return TrustError(
            f"{what} is not to be had: {flaw}",
            "run the cell that makes it, or see `%pipe trust`",
        )
    return DamageError(f"{what} is not to be had: {flaw}", "run the cell that makes it")


def check_job(name: object) -> None:
    """Raise UsageError for what cannot be the name of a job.

    Any text can that is seen as it is, and that no shell takes for an option.
    """
    is_text = isinstance(name, str) and name != "" and name.isprintable()
    if not is_text or str(name).strip() != name or str(name).startswith("-"):
        raise UsageError(
            f"{name!r} is no name for a job",
            "printable text that begins with no - and neither begins nor ends with a blank is one",
        )


def check_name(step: object) -> None:
    """Raise UsageError for what cannot be the name of a step."""
    if not isinstance(step, str) or not is_step_name(step):
        raise UsageError(
            f"{step!r} is no name for a step", "letters, digits, `_`, `-` and `.` make one"
        )
