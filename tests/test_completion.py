"""Tab offers what is dormant and what `%pipe` and `%%step` take, beside all that IPython offers."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from pipestate.kernel.completion import install


@pytest.fixture(scope="module")
def interactive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One shell for all tests: it takes the place of `__main__`, and gives it back at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        shell = InteractiveShell(user_ns={"nation": 1})
        shell.Completer.use_jedi = False
        yield shell
        atexit.unregister(shell.atexit_operations)
        shell.atexit_operations()


@pytest.fixture
def shell(interactive: Any) -> Any:
    """The shell without any matcher of ours."""
    interactive.Completer.custom_matchers.clear()
    return interactive


def offered(shell: Any, text: str) -> dict[str, str]:
    """What a front end would put in place of which part of the text."""
    with provisionalcompleter():
        found = list(shell.Completer.completions(text, len(text)))
    return {completion.text: text[completion.start :] for completion in found}


def test_dormant_names_are_offered_beside_resident_ones(shell: Any) -> None:
    """`na<Tab>` does not say which of the two a name is."""
    install(shell, lambda: ["name", "other"])
    found = offered(shell, "print(na")
    assert (found["name"], found["nation"]) == ("na", "na")
    assert "other" not in found


def test_dormant_names_are_not_offered_as_attributes(shell: Any) -> None:
    """After a dot stands something of the object before it."""
    install(shell, lambda: ["name"])
    assert "name" not in offered(shell, "nation.na")


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("%pipe wh", "wh"),
        ("%pipe why load-", "load-"),
        ("%%step x --al", "--al"),
        ("%%step x <lo", "lo"),
        ("%%step x < load.", "load."),
        ("%pipe ", ""),
    ],
)
def test_a_line_of_ours_completes_only_its_own_words(shell: Any, line: str, typed: str) -> None:
    """The words come whole; what is typed of one is replaced."""
    asked = []

    def words(text: str) -> list[str]:
        asked.append(text)
        return ["why", "load-1", "load.2", "--always"]

    install(shell, lambda: ["loads"], words)
    expected = {w: typed for w in ("why", "load-1", "load.2", "--always") if w.startswith(typed)}
    assert offered(shell, line) == expected
    assert asked == [line]


def test_only_the_cursors_line_counts(shell: Any) -> None:
    """Below the `%%step` line names are completed as anywhere."""
    install(shell, lambda: ["name"], lambda line: ["never"])
    assert "name" in offered(shell, "%%step x\nna")


def test_a_failing_store_does_not_disturb_completion(shell: Any) -> None:
    """What IPython knows is still offered."""

    def names() -> list[str]:
        raise OSError("no store")

    install(shell, names)
    assert "nation" in offered(shell, "na")


def test_the_older_interface_completes_too(shell: Any) -> None:
    """Front ends that ask for one line only."""
    install(shell, lambda: ["name"])
    with pytest.warns(PendingDeprecationWarning):
        assert "name" in shell.complete("", "na", 2)[1]


def test_install_gives_its_undo(shell: Any) -> None:
    """Taken out, nothing is left; taken out twice does no harm."""
    undo = install(shell, lambda: ["name"])
    undo()
    undo()
    assert "name" not in offered(shell, "na")
    assert shell.Completer.custom_matchers == []
