"""Every verb once: its name, its words, what it does. `%pipe` and the shell both read this table.

A command takes a desk (the job, and the kernel where there is one) and the words after its name,
and gives a `View`: text, and HTML where there is more to see. It prints nothing itself.
"""

from __future__ import annotations

import difflib
import html
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from . import job as jobs
from . import space, values, view
from .errors import TrustError, UsageError, in_short
from .ledger import Ledger
from .pipe import slices
from .pipe.status import StepStatus
from .store import upkeep
from .store.folder import Store
from .store.trust import Keys, keys_folder


class View(Struct, frozen=True):
    """What a command shows."""

    text: str = ""
    html: str = ""


class Desk(Protocol):
    """What a command works on."""

    @property
    def ledger(self) -> Ledger: ...

    def use(self, job: str) -> None: ...

    def statuses(self) -> list[StepStatus]: ...
    def status_of(self, step: str) -> StepStatus | None: ...

    def load(self, names: Sequence[str]) -> Sequence[str]: ...

    def unload(self, names: Sequence[str]) -> Sequence[str]: ...

    def drop(self, steps: Sequence[str]) -> None: ...

    def names(self) -> Iterable[str]: ...

    def imports(self) -> dict[str, str]: ...

    def plan(self, steps: Sequence[str]) -> Sequence[view.PlanRow]: ...

    def run(self, steps: Sequence[str]) -> Sequence[str]: ...

    def code(self, name: str) -> str: ...

    def configure(self, trait: str, value: str) -> None: ...

    def setting(self, trait: str) -> Any: ...

    def verify(self) -> Sequence[str]: ...

    def reopen(self) -> None: ...


class Command(Struct, frozen=True):
    """One verb. `words` describes its arguments; `offers` are the words that may follow it."""

    name: str
    words: str
    summary: str
    run: Callable[[Desk, list[str]], View]
    offers: Callable[[Desk], Iterable[str]] = lambda desk: ()


def call(desk: Desk, line: str) -> View:
    """Do what a line says. Raises UsageError, and changes nothing, for a line that is wrong."""
    words = split(line)
    name, rest = (words[0], words[1:]) if words else ("status", [])
    command = COMMANDS.get(name)
    if command is None:
        close = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean `%pipe {close[0]}`?" if close else f"known: {', '.join(COMMANDS)}"
        raise UsageError(f"`%pipe {name}` is not a command", hint)
    return command.run(desk, rest)


def split(line: str) -> list[str]:
    """The words of a line, quotes as in a shell."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"`{line.strip()}` cannot be read ({error})", "close the quote") from None


def complete(desk: Desk, line: str) -> list[str]:
    """The words that may come next on a `%pipe` line that ends where the cursor is."""
    words = line.split()[1:]
    if line.endswith((" ", "\t")) or not words:
        words.append("")
    if len(words) == 1:
        return list(COMMANDS)
    command = COMMANDS.get(words[0])
    return list(command.offers(desk)) if command else []


def help_text() -> str:
    """What `%pipe?` says."""
    width = max(len(f"{c.name} {c.words}") for c in COMMANDS.values())
    lines = [f"  %pipe {f'{c.name} {c.words}':<{width}}  {c.summary}" for c in COMMANDS.values()]
    return "\n".join(["The pipe of this notebook: its steps and what they keep.", "", *lines])


# --- the verbs -----------------------------------------------------------------------------------


def _job(desk: Desk, words: list[str]) -> View:
    if not words:
        return View(f"job {desk.ledger.job} in {desk.ledger.store.path}")
    name = _one(words, "job NAME")
    values.check_job(name)
    desk.use(name)
    pipe = desk.ledger.pipe
    count = len(pipe.heads)
    steps = f"{count} step{'s' * (count != 1)}" if count else "new"
    return View(f"job {name}: {steps}")


def _jobs(desk: Desk, words: list[str]) -> View:
    _none(words, "jobs")
    names = desk.ledger.store.index.jobs()
    if not names:
        return View(f"no jobs in {desk.ledger.store.path}")
    return View("\n".join(f"{'*' if name == desk.ledger.job else ' '} {name}" for name in names))


def _status(desk: Desk, words: list[str]) -> View:
    _none(words, "status")
    rows = desk.statuses()
    if not rows:
        text = (
            f"job {desk.ledger.job} has no steps yet; "
            "`%%step NAME` on a cell's first line makes one"
        )
        return View(text, f"<p>{html.escape(text)}</p>")
    return View(view.status_text(rows), view.status_html(rows))


def _why(desk: Desk, words: list[str]) -> View:
    step = _one(words, "why STEP")
    row = desk.status_of(step)
    if row is None:
        raise _no_step(desk, step)
    return View(jobs.explain(desk.ledger, row))


def _run(desk: Desk, words: list[str]) -> View:
    options = [word for word in words if word.startswith("--")]
    steps = [word for word in words if not word.startswith("--")]
    for option in options:
        if option not in ("--all", "--dry-run"):
            raise UsageError(f"`%pipe run` has no option {option}", "--all or --dry-run")
    order = desk.ledger.pipe.order
    for step in steps:
        if step not in order:
            raise _no_step(desk, step)
    if steps and "--all" in options:
        raise UsageError(
            "`%pipe run --all` takes no steps", "%pipe run STEP ... or %pipe run --all"
        )
    steps = steps or list(order)
    if "--dry-run" in options:
        return View(view.plan_text(desk.plan(steps)))
    ran = desk.run(steps)
    if not ran:
        return View("everything is up to date; nothing ran")
    # Each has told of itself, where badges are on.
    return View("" if desk.setting("badge") else f"ran {', '.join(ran)}")


def _code(desk: Desk, words: list[str]) -> View:
    name = _one(words, "code NAME")
    _known_names(desk, [name])
    return View(desk.code(name).rstrip() or f"no step makes `{name}`")


def _links(deep_word: str, find: Callable[..., list[slices.Link]]) -> Callable[..., View]:
    def run(desk: Desk, words: list[str]) -> View:
        deep = "--all" in words
        name = _one([word for word in words if word != "--all"], f"{deep_word} NAME [--all]")
        _known_names(desk, [name])
        ledger = desk.ledger
        found = find(ledger.pipe.order, ledger.head, name, deep=deep)
        lines = [f"{link.step}: {', '.join(link.names)}" for link in found]
        return View("\n".join(lines) if lines else f"no step has to do with `{name}`")

    return run


def _load(desk: Desk, words: list[str]) -> View:
    _known_names(desk, words)
    loaded = desk.load(words)
    return View(f"loaded {', '.join(loaded)}" if loaded else "nothing to load")


def _unload(desk: Desk, words: list[str]) -> View:
    if not words:
        raise UsageError("`%pipe unload` needs a name", "%pipe unload NAME ...")
    _known_names(desk, words)
    gone = desk.unload(words)
    return View(f"unloaded {', '.join(gone)}; kept in the store" if gone else "nothing to unload")


def _drop(desk: Desk, words: list[str]) -> View:
    if not words:
        raise UsageError("`%pipe drop` needs a step", "%pipe drop STEP ...")
    for step in words:
        if step not in desk.ledger.pipe.order:
            raise _no_step(desk, step)
    desk.drop(words)
    return View(f"dropped {', '.join(words)}")


def _gc(desk: Desk, words: list[str]) -> View:
    dry_run = words == ["--dry-run"]
    if not dry_run:
        _none(words, "gc [--dry-run]")
    ledger = desk.ledger
    done = space.reclaim(ledger.store, keep_runs=desk.setting("keep_runs"), dry_run=dry_run)
    if not dry_run:
        ledger.reread()
    return View(reclaimed(done, dry_run=dry_run))


def reclaimed(done: space.Reclaimed, *, dry_run: bool) -> str:
    """What was reclaimed, or would be, in a line."""
    swept = done.swept
    if not (done.runs or swept.records or swept.blobs):
        return "nothing to reclaim"
    return (
        f"{'would remove' if dry_run else 'removed'} {view.size(swept.nbytes)}: "
        f"{_many(swept.records, 'record')}, {_many(swept.blobs, 'blob')}, "
        f"{_many(done.runs, 'run')} of the history"
    )


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _imports(desk: Desk, words: list[str]) -> View:
    _none(words, "imports")
    lines = dict.fromkeys(desk.imports().values())
    return View("\n".join(lines) if lines else "no imports remembered yet")


def _verify(desk: Desk, words: list[str]) -> View:
    _none(words, "verify")
    lines = desk.verify()
    return View("\n".join(lines) or "every row and every byte is as it was put there")


def _trust(desk: Desk, words: list[str]) -> View:
    try:
        store = desk.ledger.store
    except TrustError:  # `strict`: to trust a key may be what helps
        store = None
    text = trust(Keys(keys_folder()), words, store)
    if words[:1] in (["add"], ["remove"]):
        desk.reopen()
    return View(text)


def trust(keys: Keys, words: Sequence[str], store: Store | None = None) -> str:
    """What `trust` with these words does with a user's keys, and the text to show."""
    match list(words):
        case [] | ["list"]:
            return "\n".join(_keys(keys, store))
        case ["add", key, *name]:
            keys.add(key, " ".join(name))
            return f"what is signed with {key.lower()} is trusted now"
        case ["remove", key]:
            return f"what is signed with {keys.remove(key)} is not trusted any more"
    raise UsageError(
        f"`trust {' '.join(words)}` cannot be read", "trust, trust add KEY [NAME], trust remove KEY"
    )


def _keys(keys: Keys, store: Store | None) -> Iterable[str]:
    mine = keys.make().public.hex()
    trusted = keys.trusted()
    yield f"your key          {mine}"
    for key, name in trusted.items():
        yield f"trusted           {key}  {name}".rstrip()
    for key, count in upkeep.signers(store.index).items() if store is not None else ():
        if key not in (mine, *trusted):
            yield f"{'not trusted' if key else 'not signed':<17} {key}  {count} rows of this store"


def _choice(trait: str, known: tuple[str, ...]) -> Callable[[Desk, list[str]], View]:
    def run(desk: Desk, words: list[str]) -> View:
        if not words:
            return View(f"{trait} {desk.setting(trait)}")
        value = _one(words, f"{trait} [{', '.join(known)}]")
        if value not in known:
            raise UsageError(f"`{value}` is no {trait}", f"one of: {', '.join(known)}")
        desk.configure(trait, value)
        return View(f"{trait} {value}")

    return run


def _one(words: list[str], usage: str) -> str:
    if len(words) != 1:
        raise UsageError(f"`%pipe {usage.split()[0]}` takes one word", f"%pipe {usage}")
    return words[0]


def _none(words: list[str], usage: str) -> None:
    if words:
        raise UsageError(f"`%pipe {usage}` takes no words, got {' '.join(words)}", f"%pipe {usage}")


def _no_step(desk: Desk, step: str) -> UsageError:
    order = desk.ledger.pipe.order
    close = difflib.get_close_matches(step, order, 1)
    hint = (
        f"did you mean {close[0]}?" if close else f"its steps are: {in_short(order) or 'none yet'}"
    )
    return UsageError(f"job {desk.ledger.job} has no step `{step}`", hint)


def _known_names(desk: Desk, words: list[str]) -> None:
    known = list(desk.names())
    for name in words:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else "`%pipe` lists what the steps made"
            raise UsageError(f"the job keeps no `{name}`", hint)


MODES = ("manual", "lazy")
DIRECTIONS = ("in_order", "any_order")


def _steps(desk: Desk) -> Iterable[str]:
    return desk.ledger.pipe.order


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command(
            "status", "", "the steps, their state, time, size, what they read and made", _status
        ),
        Command(
            "job",
            "[NAME]",
            "use a job, made at its first write; alone: which one",
            _job,
            lambda desk: desk.ledger.store.index.jobs(),
        ),
        Command("jobs", "", "the jobs of the store", _jobs),
        Command("why", "STEP", "why a step is fresh or stale", _why, _steps),
        Command(
            "run",
            "[STEP ...] [--all] [--dry-run]",
            "bring steps up to date, with the stale ones they need",
            _run,
            lambda desk: [*desk.ledger.pipe.order, "--all", "--dry-run"],
        ),
        Command(
            "code", "NAME", "the smallest program that makes NAME", _code, lambda desk: desk.names()
        ),
        Command(
            "deps",
            "NAME [--all]",
            "the steps and names that NAME comes from; --all: theirs too",
            _links("deps", slices.makers),
            lambda desk: [*desk.names(), "--all"],
        ),
        Command(
            "users",
            "NAME [--all]",
            "the steps that use NAME; --all: what uses those too",
            _links("users", slices.users),
            lambda desk: [*desk.names(), "--all"],
        ),
        Command("load", "[NAME ...]", "load dormant names now", _load, lambda desk: desk.names()),
        Command(
            "unload",
            "NAME ...",
            "drop names from memory, keep them in the store",
            _unload,
            lambda desk: desk.names(),
        ),
        Command("drop", "STEP ...", "forget steps", _drop, _steps),
        Command(
            "gc",
            "[--dry-run]",
            "remove what is beyond keep_runs and in force nowhere",
            _gc,
            lambda desk: ["--dry-run"],
        ),
        Command("imports", "", "the imports the job remembers", _imports),
        Command("verify", "", "check every byte of the store", _verify),
        Command(
            "trust",
            "[add KEY [NAME], remove KEY]",
            "your key, and whose records may be loaded beside your own",
            _trust,
            lambda desk: ("add", "remove", "list"),
        ),
        Command(
            "mode",
            "[manual, lazy]",
            "whether stale steps run before one that needs them",
            _choice("mode", MODES),
            lambda desk: MODES,
        ),
        Command(
            "direction",
            "[in_order, any_order]",
            "whether a later step may feed an earlier one",
            _choice("direction", DIRECTIONS),
            lambda desk: DIRECTIONS,
        ),
    )
}
