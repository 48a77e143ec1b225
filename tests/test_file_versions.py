"""A file is a name with versions: a step reads it as the steps above it leave it."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator

import pytest
from oracle.kernel import Kernel

RESTART = "restart"
Player = Callable[..., str]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """One shell for all notebooks of this file."""
    main = sys.modules["__main__"]
    made = Kernel()
    sys.modules["__main__"] = main
    yield made
    sys.modules["__main__"] = main


@pytest.fixture
def play(kernel: Kernel) -> Iterator[Player]:
    """Plays cells (`"a: x = 1"` is a step) in a folder of their own; gives what the last printed,
    and with `is_all=True` all that a reader sees of it."""

    def cells(*sources: str, is_all: bool = False) -> str:
        shown = ""
        for source in sources:
            if source == RESTART:
                kernel.restart()
                continue
            step, colon, body = source.partition(": ")
            is_step = bool(colon) and step.split()[0].isidentifier() and "(" not in step
            events, error = kernel.cell(f"%%step {step}\n{body}" if is_step else source)
            assert error is None, (source, error)
            badges = [one.why for one in events if one.kind == "badge"] if is_all else []
            shown = "".join([*(one.text for one in events if one.kind == "out"), *badges])
        return shown

    with kernel.session(1):
        yield cells


WRITE = "a: with open('o.txt', 'w') as f: _ = f.write('1')"
READ = "b: print(open('o.txt').read())"
WRITE_AGAIN = "c: with open('o.txt', 'w') as f: _ = f.write('3')"
APPEND = "c: with open('o.txt', 'a') as f: _ = f.write('3')"
LOOK = "print(open('o.txt').read())"


@pytest.mark.parametrize("later", [WRITE_AGAIN, APPEND])
def test_a_step_between_two_writers_reads_what_the_one_above_it_wrote(play, later):
    """When it was edited, in this kernel and the next: the writer above runs first."""
    play(WRITE, READ, later)
    assert play("b: print(open('o.txt').read() + '!')").endswith("1!\n")
    assert play("%pipe run", LOOK) == ("3\n" if later is WRITE_AGAIN else "13\n")
    assert play(RESTART, "b: print(open('o.txt').read() + '?')").endswith("1?\n")


def test_the_later_writer_is_stale_then(play):
    """Its version of the file is there no longer."""
    play(WRITE, READ, WRITE_AGAIN, "b: print(open('o.txt').read() + '!')")
    assert "c is stale: file `o.txt`, which it wrote, changed" in play("%pipe why c")
    assert play(WRITE_AGAIN, LOOK) == "3\n"


def test_a_new_reader_between_two_writers_reads_what_stands_above_it(play):
    """A step that has never run, by the file's name in its text."""
    play(WRITE, READ, WRITE_AGAIN)
    assert play("x --after a: print('x', open('o.txt').read())").endswith("x 1\n")


def test_a_reader_that_hides_which_file_it_reads_says_what_it_has_read(play):
    """And is stale; asked for again it reads the right one."""
    play(WRITE, READ, WRITE_AGAIN)
    hiding = "x --after a: print(open('o' + '.txt').read() + '!')"
    assert "x read o.txt as it was left since by others" in play(hiding, is_all=True)
    assert "x is stale: file `o.txt` changed" in play("%pipe why x")
    assert play(hiding).endswith("1!\n")


def test_a_step_that_only_writes_needs_no_earlier_version(play):
    """Edited, it runs alone."""
    play(WRITE, READ, WRITE_AGAIN)
    assert play(WRITE_AGAIN.replace("3", "33"), is_all=True).count("a: ran") == 0


ACTS = {
    "a": "with open('o.txt', 'w') as f: _ = f.write('a{n}')",
    "b": "print({n}, open('o.txt').read())",
    "c": "with open('o.txt', 'a') as f: _ = f.write('c{n}')",
    "d": "print({n}, open('o.txt').read())",
    "e": "t = open('o.txt').read()\nwith open('o.txt', 'w') as f: _ = f.write(t[::-1] + 'e{n}')",
    "f": "print({n}, open('o.txt').read())",
    "g": "with open('o.txt', 'w') as f: _ = f.write('g{n}')",
    "h": "print({n}, open('o.txt').read())",
}


def from_the_top(versions: dict[str, int], asked: str) -> str:
    """What a step prints when the steps down to it run in order."""
    text = ""
    for step, n in versions.items():
        made = {"a": f"a{n}", "c": f"{text}c{n}", "e": f"{text[::-1]}e{n}", "g": f"g{n}"}
        if step == asked and step not in made:
            return f"{n} {text}\n"
        text = made.get(step, text)
    return ""


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_order_each_step_reads_what_stands_above_it(play, seed):
    """Steps that write, append, rewrite and read one file, edited and asked for at random."""
    draw = random.Random(seed)
    versions = dict.fromkeys(ACTS, 0)
    play(*(f"{step}: {text.format(n=0)}" for step, text in ACTS.items()))
    for _ in range(25):
        step = draw.choice(list(ACTS))
        if draw.random() < 0.2:
            play(RESTART)
        if draw.random() < 0.4:
            versions[step] = draw.randrange(3)
        shown = play(f"{step}: {ACTS[step].format(n=versions[step])}")
        expected = from_the_top(versions, step)
        assert shown.endswith(expected), (step, versions)
        if expected == "":
            assert step in "aceg"
