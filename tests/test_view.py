"""What people see, literally."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipestate import view
from pipestate.pipe.status import StepStatus

ROWS = [
    StepStatus("load", "fresh", "", 3.21, 40_000_000, 1, (), ("df", "cfg")),
    StepStatus("clean", "stale", "its source changed", 0.012, 1_234, 12, ("df", "cfg.lr"), ("df",)),
    StepStatus("plot", "new", "it has never run"),
]


def test_the_status_list_is_a_table_with_whole_reasons() -> None:
    """Columns line up, numbers to the right, the reason last."""
    expected = """\
step   state   time     size  runs  reads       made     why
load   fresh  3.2 s  40.0 MB     1              df, cfg
clean  stale  12 ms   1.2 kB    12  df, cfg.lr  df       its source changed
plot   new        -        -     0                       it has never run"""
    assert view.status_text(ROWS) == expected


def test_a_badge_says_what_became_of_the_step() -> None:
    """One line: the step, what happened, how long, and why."""
    assert view.badge_text("load", "ran", 3.21, "it has never run") == (
        "load: ran in 3.2 s (it has never run)"
    )
    assert view.badge_text("load", "restored", 3.21) == "load: restored, its run took 3.2 s"
    assert view.badge_text("load", "failed", 0.5) == "load: failed after 500 ms"


def test_wide_letters_take_two_columns() -> None:
    """A name in Chinese or with combining accents does not push its row out of line."""
    rows = [StepStatus("步骤", "new"), StepStatus("e\u0301tape", "new"), StepStatus("abcd", "new")]
    lines = view.status_text(rows).splitlines()
    assert lines[1].startswith("步骤   new")
    assert lines[2].startswith("e\u0301tape  new")
    assert lines[3].startswith("abcd   new")


def test_many_names_are_cut_and_counted() -> None:
    """Fifty inputs do not push the reason off the page."""
    row = StepStatus("s", "fresh", reads=tuple("abcdef"))
    assert "a, b, c, d +2" in view.status_text([row])


def test_the_job_in_use_has_a_star() -> None:
    """Jobs are listed one a line; at the shell none is in use."""
    assert view.jobs_text(["a", "b"]) == "a\nb"
    assert view.jobs_text(["a", "b"], "b") == "  a\n* b"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 ms"),
        (0.0006, "1 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (86369, "23 h 59 min"),
        (86399, "1 d 0 h"),
        (200_000, "2 d 8 h"),
    ],
)
def test_durations_round_into_the_next_unit(seconds: float, expected: str) -> None:
    """No `60.0 s`, no `1000 ms`."""
    assert view.duration(seconds) == expected


@pytest.mark.parametrize(
    ("nbytes", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (40_000_000, "40.0 MB"),
        (5 * 10**12, "5.0 TB"),
    ],
)
def test_sizes_round_into_the_next_unit(nbytes: int, expected: str) -> None:
    """No `1000.0 kB`."""
    assert view.size(nbytes) == expected


class Tags(HTMLParser):
    """What tags a page opens, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(name=st.text(), reason=st.text(), reads=st.lists(st.text(), max_size=3))
def test_no_text_of_the_user_becomes_a_tag(name: str, reason: str, reads: list[str]) -> None:
    """Whatever a step is called and whatever an error said, the page has only its own tags."""
    page = view.status_html([StepStatus(name, "stale", reason, reads=tuple(reads))])
    page += view.badge_html(name, "stale", 1.0, reason)
    own = {"table", "thead", "tbody", "tr", "th", "td", "span", "div", "b"}
    assert set(Tags(page).tags) <= own
    assert view.one_line(reason) in Tags(page).text


@given(name=st.text(), reason=st.text())
def test_every_step_is_one_line_that_a_terminal_only_prints(name: str, reason: str) -> None:
    """Newlines and escape sequences in an error message do not reach the terminal."""
    lines = view.status_text([StepStatus(name, "failed", reason)]).split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert view.badge_text(name, "failed", 1.0, reason).isprintable()
