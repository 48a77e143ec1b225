"""Random sessions agree with runs from the top; `tests/oracle/` says how that is judged.

The same few sessions every time; PIPESTATE_ORACLE_PROGRAMS=10000 for a long run, and
PIPESTATE_ORACLE_SEED to begin elsewhere. What differs is shown as the smallest program that does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import pytest
from oracle.canon import canon
from oracle.hunt import check
from oracle.kernel import Difference, Kernel
from oracle.play import Count, Play
from oracle.sheets import Sheet

PROGRAMS = int(os.environ.get("PIPESTATE_ORACLE_PROGRAMS", "0"))
SEED = int(os.environ.get("PIPESTATE_ORACLE_SEED", "0"))
BRIEF = 120
"""Sessions where nobody asked for a number: some seconds."""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """One shell for all sessions of this file."""
    main = sys.modules["__main__"]
    made = Kernel()
    sys.modules["__main__"] = main
    yield made
    sys.modules["__main__"] = main


@pytest.mark.timeout(0 if PROGRAMS else 120)
def test_sessions_bind_and_show_what_a_run_from_the_top_would(kernel: Kernel) -> None:
    """Whatever was run, edited, restarted and run again before: the same as from the top."""
    count, found = Count(), []
    for seed in range(SEED, SEED + (PROGRAMS or BRIEF)):
        one = check(kernel, seed, count, is_small=bool(PROGRAMS))
        if one is not None:
            found.append(one)
            if not PROGRAMS or len(found) == 20:
                break
    assert not found, "\n".join([str(count), *map(str, found)])
    assert count.restored, "nothing was ever restored: the sessions test nothing"
    sys.stdout.write(f"{count}\n")


@pytest.mark.timeout(0 if PROGRAMS else 120)
def test_steps_among_plain_cells_in_places_are_what_a_run_from_the_top_makes(
    kernel: Kernel,
) -> None:
    """Whichever cell ran last: those above a step count, those below it do not."""
    compared = 0
    for seed in range(SEED, SEED + (PROGRAMS or BRIEF)):
        sheet = Sheet(kernel, seed)
        try:
            sheet.play()
        except Difference as difference:
            pytest.fail(f"seed {seed}: {difference}")
        compared += sheet.compared
    assert compared > (PROGRAMS or BRIEF)
    sys.stdout.write(f"{compared} steps compared\n")


def test_a_traceback_on_the_page_does_not_stop_later_cells() -> None:
    """IPython's tracebacks leave marks on Python's own syntax trees, which all trees share."""
    main = sys.modules["__main__"]
    try:
        kernel = Kernel(xmode="Context")
        actions = [("run", "a", ("1 / 0",)), ("run", "b", ("half = lambda x: x / 2", "half(4)"))]
        assert Play(kernel).play([actions[0]]) is None
        assert Play(kernel).play([actions[1]]) is None
    finally:
        sys.modules["__main__"] = main


def test_the_oracle_sees_what_differs() -> None:
    """The form tells sharing from equality, and content from sharing."""
    xs = [1]
    assert canon({"a": xs, "b": [xs]}) != canon({"a": [1], "b": [[1]]})
    assert canon({"a": [1], "b": [[1]]}) == canon({"a": [1], "b": [[1]]})
    assert canon({"a": [1]}) != canon({"a": [True]})


def test_the_oracle_takes_definitions_by_content() -> None:
    """One function or two that do the same are equal, unless they hold a list that one changes."""
    here: dict[str, object] = {"__name__": "__main__"}
    exec("def made(n, held):\n    return lambda x, acc=held: x + n", here)
    made: Callable[[int, object], object] = here["made"]  # type: ignore[assignment]
    one, xs = made(1, None), [0]
    assert canon({"f": one, "g": one}) == canon({"f": made(1, None), "g": made(1, None)})
    assert canon({"f": one}) != canon({"f": made(2, None)})
    assert canon({"f": made(1, xs), "g": made(1, xs)}) != canon(
        {"f": made(1, [0]), "g": made(1, xs)}
    )
