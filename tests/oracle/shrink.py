"""A session that differs, made as small as it can be while it differs in the same way."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .kernel import Action, Difference, Kernel
from .play import Play


def shrink(
    actions: list[Action], fails: Callable[[list[Action]], bool], *, tries: int = 600
) -> list[Action]:
    """The smallest session that `fails` still takes, by leaving out actions, then statements."""
    left = [tries]

    def is_kept(some: list[Action]) -> bool:
        left[0] -= 1
        return left[0] >= 0 and fails(some)

    while left[0] > 0:
        before = actions
        for smaller in (_fewer_actions, _fewer_statements, _simpler_text):
            actions = smaller(actions, is_kept)
        if actions == before:
            break
    return actions


def _fewer_actions(actions: list[Action], is_kept: Callable[[list[Action]], bool]) -> list[Action]:
    size = max(1, len(actions) // 2)
    while size:
        at = 0
        while at < len(actions):
            some = actions[:at] + actions[at + size :]
            if some and is_kept(some):
                actions = some
            else:
                at += size
        size //= 2
    return actions


def _fewer_statements(
    actions: list[Action], is_kept: Callable[[list[Action]], bool]
) -> list[Action]:
    """Leave a statement out of all variants of its cell, else out of one of them."""
    for step in dict.fromkeys(a[1] for a in actions if a[0] == "run"):
        for statement in dict.fromkeys(s for a in actions if a[:2] == ("run", step) for s in a[2]):
            some = [
                (a[0], a[1], tuple(s for s in a[2] if s != statement))
                if a[:2] == ("run", step)
                else a
                for a in actions
            ]
            if all(a[0] != "run" or a[2] for a in some) and is_kept(some):
                actions = some
    for at, action in enumerate(actions):
        for number in reversed(range(len(action[2]) if action[0] == "run" else 0)):
            rest = actions[at][2][:number] + actions[at][2][number + 1 :]
            some = [*actions[:at], ("run", action[1], rest), *actions[at + 1 :]]
            if rest and is_kept(some):
                actions = some
    return actions


_SIMPLER = (
    (r"^if [^\n]*:\n    (.*)$", r"\1"), (r"\[\d, \d\]", "[0]"), (r"= \w+ [+*] \w+$", "= 0"),
    (r"= \d$", "= 0"), (r"\(\d\)", "(0)"), (r"= \w+\(.*\)$", "= 0"),
    (r"\[x \+ \w+ for x in (\w+)\]", "[0]"),
)  # fmt: skip


def _simpler_text(actions: list[Action], is_kept: Callable[[list[Action]], bool]) -> list[Action]:
    statements = dict.fromkeys(s for a in actions if a[0] == "run" for s in a[2])
    for statement in statements:
        for pattern, simple in _SIMPLER:
            text = re.sub(pattern, simple, statement)
            if text == statement:
                continue
            some = [
                (a[0], a[1], tuple(text if s == statement else s for s in a[2]))
                if a[0] == "run"
                else a
                for a in actions
            ]
            if is_kept(some):
                actions, statement = some, text
    return actions


def fails_like(kernel: Kernel, found: Difference, salt: int) -> Callable[[list[Action]], bool]:
    """Whether a session differs in the same way as `found` did."""

    def fails(actions: list[Action]) -> bool:
        try:
            other = Play(kernel).play(actions, salt)
        except SyntaxError:
            return False
        return other is not None and _signature(other) == _signature(found)

    return fails


def _signature(found: Difference) -> tuple[str, str]:
    inside = re.search(r"\((\w+(Error|Warning))", found.text) if found.kind == "inside" else None
    return (found.kind, inside.group(1) if inside else "")


def as_program(actions: Sequence[Action]) -> str:
    """A session as code that plays it by hand."""
    lines = ['start = ("%load_ext pipestate", "%pipe job oracle")', "sh = fresh(); run(sh, *start)"]
    order: list[str] = []
    now: dict[str, str] = {}
    for action in actions:
        if action[0] == "run":
            _, step, statements = action
            order += [step] if step not in order else []
            now[step] = "%%step " + step + "\n" + "\n".join(statements)
            lines.append(f"run(sh, {now[step]!r})")
        elif action[0] == "restart":
            lines.append("sh = fresh(); run(sh, *start)")
        elif action[0] == "all":
            lines += [f"run(sh, {now[step]!r})" for step in order] + ['run(sh, "%pipe load")']
        elif action[0] == "probe":
            lines.append(f"# look at what it made ({action[1]})")
    return "\n".join(lines)
