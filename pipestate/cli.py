"""The shell's door: `pipestate VERB ...`, the same program as `python -m pipestate`.

    main ── parse ── the verb's function ── text ── print

A verb's function takes what was parsed and gives the text to print. What goes wrong is one line on
stderr: exit code 2 where the words were wrong and nothing was tried, 1 where it was tried and
failed. It never imports IPython, so it answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from . import calls, commands, profiles, space, view
from . import job as jobs
from .errors import DamageError, PipeStateError, UsageError
from .pipe.history import KEPT
from .store import upkeep
from .store.folder import locate, open_store
from .store.trust import Keys, keys_folder


def main(words: Sequence[str] | None = None) -> int:
    """Do what the words say (by default, those of the command line); the exit code."""
    _make_printable()
    try:
        text = _run(sys.argv[1:] if words is None else list(words))
        if text:
            print(text, flush=True)
    except UsageError as error:
        print(f"pipestate: {view.one_line(str(error))}", file=sys.stderr)
        return 2
    except PipeStateError as error:
        print(f"pipestate: {view.one_line(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader left (`pipestate status | head -1`). What Python still flushes at its end
        # must go somewhere, or it complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _make_printable() -> None:
    """Names may be in any alphabet; a terminal that lacks a letter shows a question mark."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _run(words: list[str]) -> str:
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb in PLANNED:
        raise UsageError(f"`pipestate {verb}` is not there yet", f"there are: {', '.join(VERBS)}")
    if verb is not None and verb not in VERBS and words[0] == verb:
        close = difflib.get_close_matches(verb, VERBS, 1)
        hint = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(VERBS)}"
        raise UsageError(f"`pipestate {verb}` is no command", hint)
    asked = _parser().parse_args(words)
    if asked.version:
        # Looked up, not imported: no room imports the package that it is in.
        return f"pipestate {vars(sys.modules['pipestate'])['__version__']}"
    if asked.verb is None:
        return _parser().format_help().rstrip()
    run: Callable[[argparse.Namespace], str] = asked.run
    return run(asked)


# --- the verbs -----------------------------------------------------------------------------------


def _install(asked: argparse.Namespace) -> str:
    return profiles.install(asked.profile)


def _uninstall(asked: argparse.Namespace) -> str:
    return profiles.uninstall(asked.profile)


def _jobs(asked: argparse.Namespace) -> str:
    return view.jobs_text(_known(asked))


def _status(asked: argparse.Namespace) -> str:
    name = _job(asked)
    rows = jobs.Job(name, store=asked.store).status()
    return view.status_text(rows) if rows else f"job {name} has no steps yet"


def _why(asked: argparse.Namespace) -> str:
    return jobs.Job(_job(asked), store=asked.store).why(asked.step)


def _gc(asked: argparse.Namespace) -> str:
    _known(asked)  # or say that there is no such store
    store = open_store(locate(asked.store))
    done = space.reclaim(store, keep_runs=asked.keep_runs, dry_run=asked.dry_run)
    return commands.reclaimed(done, dry_run=asked.dry_run)


def _verify(asked: argparse.Namespace) -> str:
    _known(asked)
    store = open_store(locate(asked.store))
    lines = upkeep.verify(store, _progress)
    _progress("")
    if not lines:
        return "every row and every byte is as it was put there"
    print("\n".join(lines), flush=True)
    raise DamageError(
        f"{len(lines)} thing{'s' * (len(lines) != 1)} wrong in {store.path}",
        "steps that are touched run again when they are asked for",
    )


def _progress(text: str) -> None:
    """A line at a terminal that the next one overwrites."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _trust(asked: argparse.Namespace) -> str:
    path = locate(asked.store)
    store = open_store(path) if path.is_dir() else None
    return commands.trust(Keys(keys_folder()), asked.words, store)


def _known(asked: argparse.Namespace) -> list[str]:
    if asked.store is not None and not os.path.isdir(asked.store):
        raise UsageError(f"there is no store at {asked.store}", "a folder that holds one")
    return calls.jobs(store=asked.store)


def _job(asked: argparse.Namespace) -> str:
    """The job that is meant: the one named, else `$PIPESTATE_JOB`, else the only one there is."""
    known = _known(asked)
    name = asked.job or os.environ.get("PIPESTATE_JOB")
    if not name:
        if len(known) == 1:
            return known[0]
        if not known:
            raise UsageError("there is no job here", "`--store` says where else to look")
        raise UsageError("there are several jobs here", f"say --job, one of: {', '.join(known)}")
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known) or 'none'}"
        raise UsageError(f"there is no job {name!r} here", hint)
    return str(name)


# --- the words -----------------------------------------------------------------------------------

VERBS = ("install", "uninstall", "jobs", "status", "why", "verify", "gc", "trust")
PLANNED = ("run", "show", "history", "push", "pull")


def _count(word: str) -> int:
    if not word.isascii() or not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError("a number from 1 on")
    return int(word)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are our errors: one line, not a page."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"`{self.prog} --help` tells more")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pipestate",
        description="The pipes of this folder: named notebook steps, kept and restored.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="say which version this is")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    for verb, run, about in (
        ("install", _install, "load pipestate in every session of an IPython profile"),
        ("uninstall", _uninstall, "take it out of the profile again"),
    ):
        one = verbs.add_parser(verb, help=about, description=about, allow_abbrev=False)
        one.add_argument("--profile", default="default", help="the profile (default: default)")
        one.set_defaults(run=run)
    for verb, run, about in (
        ("jobs", _jobs, "the jobs of the store"),
        ("status", _status, "the steps of a job: state, time, size, what they read and made"),
        ("why", _why, "why a step is fresh or stale"),
        ("verify", _verify, "check every byte of the store"),
        ("trust", _trust, "your key, and whose records may be loaded beside your own"),
        ("gc", _gc, "remove what is beyond the newest records of each step"),
    ):
        one = verbs.add_parser(verb, help=about, description=about, allow_abbrev=False)
        if verb == "why":
            one.add_argument("step", metavar="STEP", help="the step's name")
        if verb == "gc":
            one.add_argument("--dry-run", action="store_true", help="only say what would go")
            one.add_argument(
                "--keep-runs",
                type=_count,
                default=KEPT,
                metavar="N",
                help=f"how many records of a step to keep (default: {KEPT})",
            )
        if verb == "trust":
            one.add_argument("words", nargs="*", metavar="WORD", help="add KEY [NAME], remove KEY")
        if verb in ("status", "why"):
            one.add_argument("--job", help="the job (default: $PIPESTATE_JOB, or the only one)")
        one.add_argument("--store", help="the store's folder (default: $PIPESTATE_STORE, ...)")
        one.set_defaults(run=run)
    return parser
