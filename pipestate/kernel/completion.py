"""Offer what only pipestate knows when Tab is pressed: dormant names, steps, options.

One matcher in IPython's completer serves the kernel and the terminal alike. It knows no job: it
asks the two functions that it is given, at each Tab.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

_OURS: Final = re.compile(r"\s*(?:%%step|%pipe)\s")
_FRAGMENT: Final = re.compile(r"[^\s<]*\Z")


def install(
    shell: Any,
    names: Callable[[], Iterable[str]],
    words: Callable[[str], Iterable[str]] | None = None,
) -> Callable[[], None]:
    """Complete dormant `names`, and by `words` what may follow on a `%pipe` or `%%step` line.

    `words` gets the line up to the cursor and gives whole words; those that begin with what is
    typed of the last one are offered. Gives what takes the matcher out again.
    """

    def pipestate(context: Any) -> dict[str, Any]:
        line = context.text_until_cursor
        try:
            if _OURS.match(line):
                return _offer_words(line, words(line) if words else ())
            return _offer_names(context.token, names())
        except Exception:  # noqa: BLE001 - an unreadable store: Tab is no place to complain
            return {"completions": [], "suppress": False}

    matcher: Any = pipestate
    matcher.matcher_api_version = 2
    matcher.matcher_identifier = "pipestate"
    matcher.matcher_priority = 10
    matchers = shell.Completer.custom_matchers
    matchers.append(matcher)

    def undo() -> None:
        if matcher in matchers:
            matchers.remove(matcher)

    return undo


def _offer_words(line: str, words: Iterable[str]) -> dict[str, Any]:
    found = _FRAGMENT.search(line)
    fragment = found[0] if found else ""
    offered = [_completion(word, "keyword") for word in words if word.startswith(fragment)]
    return {
        "completions": offered,
        "matched_fragment": fragment,
        "ordered": True,
        "suppress": bool(offered),
    }


def _offer_names(token: str, names: Iterable[str]) -> dict[str, Any]:
    is_name = not token or token.isidentifier()
    offered = [_completion(name, "instance") for name in names if name.startswith(token)]
    return {"completions": offered if is_name else [], "suppress": False}


def _completion(text: str, kind: str) -> Any:
    from IPython.core.completer import SimpleCompletion

    return SimpleCompletion(text=text, type=kind)
