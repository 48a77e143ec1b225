"""Is a record still true? The judgement, and its reasons as data.

`judge` compares a record with what stands at its step's place now. It loads nothing: every input
is a digest, and where the digest of a part cannot be told without the value, the lookup says None
and the whole decides. Reasons are made at the branch that decides (as ninja's `-d explain` does);
`str(reason)` is the sentence that people see.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from ..record import ABSENT, SET, VALUE, AccessPath, Digest, Input, Pipe, Record
from . import graph
from .graph import Held, Standing
from .settings import in_words

State = Literal["fresh", "stale", "failed", "new"]


class Reason(Struct, frozen=True):
    """Why a step is not fresh: a kind from the table below and the words of its sentence."""

    kind: str
    subject: str = ""
    maker: str = ""
    detail: str = ""
    source: str = ""

    def __str__(self) -> str:
        return _SENTENCES[self.kind].format(
            subject=self.subject, maker=self.maker, detail=self.detail
        )


_SENTENCES: Mapping[str, str] = {
    "new": "it has never run",
    "source": "its source changed{detail}",
    "input": "`{subject}`{maker} changed{detail}",
    "value": "the value of {subject} changed",
    "vanished": "`{subject}`{maker} is not there any more",
    "appeared": "`{subject}`{maker} was not there before",
    "shared": "`{subject}` share objects otherwise than before",
    "waits": "waits for {subject}, which is stale",
    "unfinished": "waits for {subject}, which is not done: `{detail}` is not true yet",
    "package": "{subject} is now version {detail}",
    "module": "the source of `{subject}` changed",
    "file": "file `{subject}` changed",
    "file gone": "file `{subject}` is not there any more",
    "file new": "file `{subject}` was not there before",
    "written": "file `{subject}`, which it wrote, changed",
    "written gone": "file `{subject}`, which it wrote, is not there any more",
    "overwritten": "{detail} reads file `{subject}`, which is not as it left it any more",
    "ambient": "{subject}{maker} changed{detail}",
    "ambient new": "{subject}{maker} was not set before",
    "ambient gone": "{subject} is set before it no more",
    "forced": "--force was asked for",
    "always": "it runs always (--always)",
    "setup": "it runs once in every kernel (--setup)",
    "done": "`{subject}` is not true yet (--done {subject})",
    "dynamic": "it may read any name ({subject}), so it runs every time",
    "under": "`{subject}` is what was displayed before it, which nobody can tell ahead, so it runs "
    "every time; `< STEP` binds `_` to the value of a step",
    "failed": "its last run failed ({detail})",
    "lost": "`{subject}` could not be kept: {detail}",
    "damaged": "what it kept is damaged: {detail}",
    "unusable": "what it kept cannot be used: {detail}",
    "plain": "`{subject}` was made by a plain cell from an earlier `{detail}`: run that cell again",
    "below": "`{subject}` was made by a plain cell from the `{detail}` of a step below it: "
    "run the cells above that cell, and then it, again",
    "replaced": "`{subject}` is not what the plain cell above made of it: run that cell again",
    "set": "its value was set from outside",
}


_VERBS: Mapping[str, str] = {
    **dict.fromkeys(("input", "vanished", "appeared"), "made"),
    **dict.fromkeys(("ambient", "ambient new"), "set"),
}

STEP_VALUE = "< "
"""Before a step's name, it makes a name of the step's value: one that no identifier can be."""


def because(kind: str, subject: object = "", *, maker: str = "", detail: str = "") -> Reason:
    """A reason whose maker and detail are put into words here, so that all doors say the same."""
    if kind not in _SENTENCES:
        raise KeyError(kind)
    if str(subject).startswith(STEP_VALUE):
        step = str(subject).removeprefix(STEP_VALUE)
        return Reason("value", step, source=step)
    maker = "" if maker == str(subject) else maker
    verb = _VERBS.get(kind)
    made = f", {verb} by {maker}," if maker and verb else ""
    return Reason(kind, str(subject), made, detail, maker)


class Found(NamedTuple):
    """What stands at a path now: its digest (None: not told without the value) and around it."""

    digest: Digest | None
    whole: Digest
    maker: str = ""


Lookup = Callable[[AccessPath], Found]


class World(NamedTuple):
    """All that a record is judged against, beside the inputs: what is asked for when, by key.

    `set_by` is the step that set a key of `ambient`. One is made for each step of a job, and a
    tuple is made in a third of the time that a frozen dataclass takes.
    """

    normal: Digest
    lookup: Lookup
    joint: Callable[[Iterable[str]], Mapping[str, Digest]]
    mates: Callable[[str], str]
    packages: Callable[[Iterable[str]], Mapping[str, str]]
    files: Callable[[Record], Reason | None]
    ambient: Mapping[str, Digest]
    plain: Callable[[Record], Reason | None] = lambda record: None
    set_by: Callable[[str], str] = lambda key: ""


_OTHER_SOURCE: Final = because("source")
"""Made once: most of the records that a step has are of earlier sources."""


def judge(record: Record, world: World) -> Reason | None:
    """Why `record` is not what a run would leave now, or None where it is."""
    reason = _judge_alone(record, world.normal) or world.plain(record)
    if reason is not None:
        return reason
    for one in record.inputs:
        reason = judge_input(one, world.lookup(one.path))
        if reason is not None:
            return reason
    if len(record.inputs) > 1 or record.joint or record.held:  # most have nothing to share
        reason = _judge_sharing(record, world)
    return reason or _judge_world(record, world)


def _judge_alone(record: Record, normal: Digest) -> Reason | None:
    if record.flaw:
        return because("unusable", detail=record.flaw)
    if record.options == SET:
        return because("set")
    if record.normal != normal:
        return _OTHER_SOURCE
    if record.is_volatile:
        return because("dynamic", "eval, exec, globals() or the like")
    if record.under:
        return because("under", record.under)
    if not record.is_done:
        return because("done", _done_key(record))
    return None


def _judge_sharing(record: Record, world: World) -> Reason | None:
    joint = world.joint(whole_names(record.inputs)) if len(record.inputs) > 1 else {}
    if joint or record.joint:
        for names in sorted(joint.keys() | record.joint.keys()):
            if joint.get(names) != record.joint.get(names):
                return because("shared", names.replace(",", ", "))
    for name, mates in record.held.items():
        if world.mates(name) != mates:
            return because("shared", (mates or name).replace(",", ", "))
    return None


def whole_names(inputs: Iterable[Input]) -> tuple[str, ...]:
    """The names that a step read as a whole: those whose sharing is part of what it read."""
    return tuple(sorted({one.path.name for one in inputs if not one.path.parts}))


def judge_input(one: Input, found: Found) -> Reason | None:
    """Why an input is not what it was; equal wholes need no look at the path."""
    if found.whole == one.whole or found.digest == one.digest:
        return None
    if found.whole == ABSENT:
        return because("vanished", one.path, maker=one.maker)
    if one.whole == ABSENT:
        return because("appeared", one.path, maker=found.maker)
    return because("input", one.path, maker=found.maker)


def _judge_world(record: Record, world: World) -> Reason | None:
    if record.packages:
        now = world.packages(record.packages)
        for name, version in record.packages.items():
            if now.get(name) != version:
                kind = "module" if version.startswith("source:") else "package"
                return because(kind, name, detail=now.get(name, "not installed"))
    reason = _judge_settings(record, world) if record.moved or world.ambient else None
    return reason or world.files(record)


def _judge_settings(record: Record, world: World) -> Reason | None:
    for key, digest in record.moved.items():
        now = world.ambient.get(key, ABSENT)
        if now != digest:
            kind = "ambient gone" if now == ABSENT else "ambient"
            is_new = digest == ABSENT
            return because(
                "ambient new" if is_new else kind, in_words(key), maker=world.set_by(key)
            )
    for key in sorted(world.ambient.keys() - record.moved.keys()):
        if not key.startswith("random:"):
            return because("ambient new", in_words(key), maker=world.set_by(key))
    return None


def _done_key(record: Record) -> str:
    words = record.options.split()
    return words[words.index("--done") + 1] if "--done" in words else "?"


def value_found(step: str, record: Record | None) -> Found:
    """What stands for a step's value: what it displayed last, else all the names it bound."""
    if record is None:
        return Found(ABSENT, ABSENT)
    shown = record.version_of(VALUE)
    if shown is not None:
        digest = shown.names[VALUE]
    else:
        bound = {name: v.names[name] for v in record.outputs for name in v.names}
        digest = " ".join(f"{name}={bound[name]}" for name in sorted(bound))
    return Found(digest, digest, step)


def judge_stood(
    record: Record,
    stood: Callable[[str], Mapping[str, Digest]],
    flaw: Callable[[str, str, Digest], str],
) -> Reason | None:
    """Whether a plain cell made what the step was given from what does not stand above that cell.

    `stood` gives the versions that a name was made from, `flaw` the kind of reason, or "", for a
    given that was made from this version of another name.
    """
    for one in record.inputs:
        # What a plain cell changed in place still comes from its step.
        if one.whole != ABSENT and (not one.maker or one.path.name in record.given_by):
            for name, digest in stood(one.path.name).items():
                if kind := flaw(one.path.name, name, digest):
                    return because(kind, one.path.name, detail=name)
    return None


def find(held: Standing, path: AccessPath, head: Callable[[str], Record | None]) -> Found:
    """What stands at a path by the records alone."""
    if path.name.startswith(STEP_VALUE):
        step = path.name.removeprefix(STEP_VALUE)
        return value_found(step, head(step))
    known = held.get(path.name)
    if known is None:
        return Found(ABSENT, ABSENT)
    whole = known.version.names[path.name]
    if path.is_whole or known.version.kind != "value":
        return Found(whole, whole, known.maker)
    return Found(known.version.parts.get(str(path)), whole, known.maker)


class StepStatus(NamedTuple):
    """A step as people see it. `nbytes` is what its record holds, `seconds` its last run."""

    name: str
    state: State
    reason: str = ""
    seconds: float = 0.0
    nbytes: int = 0
    runs: int = 0
    reads: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    started: float = 0.0
    cause: Reason | None = None


def statuses(
    pipe: Pipe,
    record: Callable[[Digest], Record],
    world: Callable[[str, Record, Standing], World],
    *,
    only: Container[str] | None = None,
) -> list[StepStatus]:
    """Every step of a job in its place, with its state and why; one pass from the top.

    `world` says what a step's record is judged against, given that and what stands before it. What
    lies below a stale step is stale as well, and says that it only waits for that one. With `only`,
    just those steps are told of; they have to be all that each other's inputs come from.
    """
    held: dict[str, Held] = {}
    stale: set[str] = set()
    found = []
    for step in pipe.order:
        digest = pipe.heads.get(step)
        head = record(digest) if digest is not None else None
        if only is not None and step not in only:
            if digest is not None and head is not None:
                graph.leave(held, step, digest, head)
            continue
        state, reason = _state(pipe, step, head, world, held)
        if head is not None and state == "fresh" and stale and not head.is_set:
            waiting = (one for one in head.inputs if one.maker in stale)
            waits = next((i.maker for i in waiting if not _is_imported(held, i, record)), None)
            if waits is not None:
                state, reason = "stale", because("waits", waits)
        if state != "fresh":
            stale.add(step)
        if digest is not None and head is not None:
            graph.leave(held, step, digest, head)
        found.append(_status(pipe, step, head, state, reason))
    return found


def sources(pipe: Pipe, record: Callable[[Digest], Record], step: str) -> frozenset[str]:
    """A step and all the steps that its inputs came from, theirs included."""
    found: set[str] = set()
    waiting = [step]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            inputs = record(pipe.heads[one]).inputs if one in pipe.heads else ()
            waiting += [each.maker for each in inputs if each.maker]
    return frozenset(found)


def _state(
    pipe: Pipe,
    step: str,
    head: Record | None,
    world: Callable[[str, Record, Standing], World],
    held: Standing,
) -> tuple[State, Reason | None]:
    if step in pipe.failed:
        return "failed", because("failed", step, detail=pipe.failed[step])
    if head is None:
        return "new", because("new")
    if head.options == SET and not head.flaw:
        return "fresh", None
    reason = judge(head, world(step, head, held))
    return ("stale", reason) if reason else ("fresh", None)


def _is_imported(held: Standing, one: Input, record: Callable[[Digest], Record]) -> bool:
    """Whether a step imports a name whatever else it does: not in a branch."""
    known = held.get(one.path.name)
    if known is None or known.version.kind != "import":
        return False
    line = rf"^(import|from)\s.*\b{re.escape(one.path.name)}\b"
    return re.search(line, record(known.record).source, re.MULTILINE) is not None


def _status(
    pipe: Pipe, step: str, head: Record | None, state: State, cause: Reason | None
) -> StepStatus:
    reason = "" if cause is None else str(cause)
    if head is None:
        return StepStatus(step, state, reason, runs=pipe.runs.get(step, 0), cause=cause)
    return StepStatus(
        step,
        state,
        reason,
        head.seconds,
        head.nbytes,
        pipe.runs.get(step, 0),
        _read_by(head.inputs),
        head.made,
        head.started,
        cause,
    )


def _read_by(inputs: Sequence[Input]) -> tuple[str, ...]:
    if len(inputs) < 2:  # most, and there are many
        return tuple([str(one.path) for one in inputs if one.whole != ABSENT])
    return tuple(sorted({str(one.path) for one in inputs if one.whole != ABSENT}))
