"""Many sessions, one a seed, and what differs in them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from .generate import Draw
from .kernel import Action, Difference, Kernel
from .play import Count, Play
from .shrink import as_program, fails_like, shrink


@dataclass
class Found:
    """One session that differs, as small as it got."""

    seed: int
    actions: list[Action]
    difference: Difference

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.difference}\n{as_program(self.actions)}\n"


def check(
    kernel: Kernel, seed: int, count: Count, *, also: Sequence[str] = (), is_small: bool = True
) -> Found | None:
    """Draw a session, play it, and make it small if it differs."""
    actions = Draw(seed, also).session()
    difference = Play(kernel, count).play(actions, seed)
    if difference is None:
        return None
    if is_small:
        actions = actions[: difference.at + 1]
        actions = shrink(actions, fails_like(kernel, difference, seed))
        difference = Play(kernel).play(actions, seed) or difference
    return Found(seed, actions, difference)


def many(
    seeds: Sequence[int], limit: int = 20, also: Sequence[str] = ()
) -> tuple[Count, list[Found]]:
    """Check one session a seed, up to `limit` differences."""
    kernel, count, found = Kernel(), Count(), []
    for seed in seeds:
        try:
            one = check(kernel, seed, count, also=also)
        except BaseException:
            traceback.print_exc()
            sys.stderr.write(f"seed {seed}\n")
            raise
        if one is not None:
            found.append(one)
            if len(found) >= limit:
                break
    return count, found
