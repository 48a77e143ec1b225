"""The `%%step` line, the cell without it, and what of a source counts as a change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from pipestate.cell.source import (
    StepLine,
    format_line,
    is_step_name,
    normal,
    parse_line,
    split_cell,
)
from pipestate.errors import UsageError

to_cell = TransformerManager().transform_cell

LINES = [
    ("load", StepLine("load")),
    ("a_1-b.c", StepLine("a_1-b.c")),
    ("größe", StepLine("größe")),
    ("नमस्ते", StepLine("नमस्ते")),
    ("a --done ready", StepLine("a", done="ready")),
    ("a --done=ready", StepLine("a", done="ready")),
    ("--always a --setup --force", StepLine("a", always=True, setup=True, force=True)),
    ("a --reads x.csv --reads 'my file.csv'", StepLine("a", reads=("x.csv", "my file.csv"))),
    (r"a --reads C:\data\x.csv", StepLine("a", reads=(r"C:\data\x.csv",))),
    ("a --no-save x --no-save _y", StepLine("a", no_save=("x", "_y"))),
    ("a --after b", StepLine("a", after="b")),
    ("a < b", StepLine("a", stdin="b")),
    ("a <b --always", StepLine("a", stdin="b", always=True)),
    ("a  # loads it all", StepLine("a")),
    ("a --reads x#1.csv", StepLine("a", reads=("x#1.csv",))),
]


@pytest.mark.parametrize(("text", "line"), LINES)
def test_a_line_is_read(text: str, line: StepLine) -> None:
    """Options in any order, values quoted or after `=`, a comment at the end."""
    assert parse_line(text) == line


FORM = "%%step NAME [--done KEY] [--reads PATH] [--always] [--setup] [--force] ..."
REFUSED = [
    ("", f"this step has no name; use {FORM}"),
    ("--always", f"this step has no name; use {FORM}"),
    ("a b", f"a step has one name, not 'a' and 'b'; use {FORM}"),
    (
        "a/b",
        "'a/b' cannot be the name of a step; letters, digits, _, - and . make a name: a_b",
    ),
    ("a --alwys", "%%step has no option '--alwys'; did you mean --always?"),
    (
        "a --x",
        "%%step has no option '--x'; its options are "
        "--always, --setup, --force, --done, --after, --reads, --no-save",
    ),
    ("a --done", "--done needs a KEY; write --done KEY"),
    ("a --done --always", "--done needs a KEY; write --done KEY"),
    ("a --always=1", "--always takes no value; write --always alone"),
    ("a --after b --after c", "--after is given twice: b and c; keep one of them"),
    ("a --no-save 1x", "'1x' is no name of a variable; write --no-save NAME"),
    ("a <", "< needs a STEP; write < STEP"),
    ("a < b < c", "< is given twice: b and c; keep one of them"),
    ("a --reads 'x", "a quote is not closed; close it, or take it away"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_wrong_line_is_answered_in_one_line(text: str, message: str) -> None:
    """What was wrong, and what would be right."""
    with pytest.raises(UsageError) as caught:
        parse_line(text)
    assert str(caught.value) == message


step_names = st.from_regex(r"[\w.][\w.-]*", fullmatch=True).map(
    lambda name: parse_line(name).name if is_step_name(name) else "step"
)
words = st.text(min_size=1)
lines = st.builds(
    StepLine,
    name=step_names,
    done=st.none() | words,
    reads=st.lists(words, max_size=3).map(tuple),
    always=st.booleans(),
    setup=st.booleans(),
    force=st.booleans(),
    no_save=st.lists(st.sampled_from(["x", "_y"]), max_size=2).map(tuple),
    after=st.none() | step_names,
    stdin=st.none() | step_names,
)


@given(lines)
def test_a_line_survives_writing_and_reading(line: StepLine) -> None:
    """Whatever its paths and keys are made of."""
    assert parse_line(format_line(line)) == line


def answer(text: str) -> str:
    """What is said to a line; nothing to one that is right."""
    try:
        parse_line(text)
    except UsageError as error:
        return str(error)
    return ""


@given(st.text(st.characters(exclude_categories=["Cc", "Zl", "Zp", "Cs"])))
def test_any_line_is_read_or_refused_in_one_line(text: str) -> None:
    """Never another error."""
    assert "\n" not in answer(text)


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("%%step a --always\nx = 1\ny", ("a --always", "#\nx = 1\ny")),
        ("\n\n%%step a\nx", ("a", "\n\n#\nx")),
        ("%%step a", ("a", "#\n")),
        ("%%step\nx", ("", "#\nx")),
        ("  %%step a  \r\nx", ("a", "#\nx")),
        ("%%step a\n\n%%time\nx", ("a", "%%time\nx")),
        ("%%steps a\nx", None),
        ("%%step?", None),
        ("x\n%%step a", None),
        ("", None),
    ],
)
def test_a_cell_is_split_from_its_line(cell: str, parts: tuple[str, str] | None) -> None:
    """Line numbers stay what they are, and another cell magic may come right below."""
    assert split_cell(cell) == parts


SAME = [
    ("x = 1", "x  =  (1)  # one\n\n"),
    ("f(a,\n  b)", "f(a, b)"),
    ("def f():\n  'text'\n  return 1", "def f():\n  'other'\n  return 1"),
    ("class C:\n  'text'\n  x = 1", "class C:\n  x = 1"),
    ("'text'\nx", "x"),
    ("x = 'a'", 'x = "a"'),
    ("x = 1;", "x = 1"),
    ("%time f(x)", "%time  f( x )  # why"),
    ("%%time\nx = 1 # why\ny", "%%time\nx = 1\ny"),
    ("%%time\n%%capture\nx", "%%time\n%%capture\nx # why"),
]
CHANGED = [
    ("x = 1", "x = 1.0"),
    ("x = 1", "x = True"),
    ("x = 0.0", "x = -0.0"),
    ("x = 'a'", "x = b'a'"),
    ("a\nb", "b\na"),
    ("x", "x;"),
    ("f(x)", "f(x);  # quiet"),
    ("'text'", "'other'"),
    ("x\n'text'", "x\n'other'"),
    ("%time f(x)", "%time f(x);"),
    ("%time f(x)", "%timeit f(x)"),
    ("%timeit -n 1 f(x)", "%timeit -n 2 f(x)"),
    ("%%bash\nls", "%%bash\nls # why"),
    ("!ls a", "!ls b"),
    ("def f(): return 1", "async def f(): return 1"),
    ("if a: b\nelse: c", "if a: b\nif c: c"),
    ("x[1:]", "x[:1]"),
    ("import a", "import a as b"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_comments_and_formatting_are_no_change(one: str, other: str) -> None:
    """Nor are docstrings, in magics that run Python too."""
    assert normal(to_cell(one)) == normal(to_cell(other))


@pytest.mark.parametrize(("one", "other"), CHANGED)
def test_what_may_change_the_outcome_is_a_change(one: str, other: str) -> None:
    """Types of constants, order, what is displayed, text for other programs."""
    assert normal(to_cell(one)) != normal(to_cell(other))


def test_source_that_is_no_python_has_a_digest_too() -> None:
    """A step whose cell does not compile is an attempt like any other."""
    assert normal("x = = 1") != normal("x = = 2")
    assert len(normal("x = = 1")) == 40
