"""What a cell changes in the process: seen key by key, put back as values, imports left alone."""

from __future__ import annotations

import decimal
import logging
import os
import pickle
import random
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipestate.kernel import ambient, imports, kinds
from pipestate.kernel.kinds import GONE

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
mpl = pytest.importorskip("matplotlib")

Change = Callable[[], object]


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    """Each test leaves the process as it met it."""
    before = ambient.snapshot()
    path = list(sys.path)
    yield
    ambient.drop_pending()
    changed = ambient.changes(before, ambient.snapshot())
    ambient.apply({key: before.values.get(key, GONE) for key in changed})
    sys.path[:] = path


def made_by(change: Change) -> dict[str, object]:
    """The keys that a change changed."""
    before = ambient.snapshot()
    change()
    return ambient.changes(before, ambient.snapshot())


def fresh_python(code: str, folder: Path) -> str:
    """What a new process prints that knows `ambient`."""
    known = "from pipestate.kernel import ambient as A, imports as I\n"
    script = known + "import os, pickle, sys, warnings\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(ambient.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


CASES: list[tuple[str, Change]] = [
    ("env:PIPESTATE_TEST", lambda: os.environ.__setitem__("PIPESTATE_TEST", "1")),
    ("path:/nowhere", lambda: sys.path.insert(0, "/nowhere")),
    ("cwd", lambda: os.chdir("/")),
    ("logging:some.name", lambda: logging.getLogger("some.name").setLevel(10)),
    ("logging:root", lambda: logging.getLogger().setLevel(17)),
    ("logging:=disable", lambda: logging.disable(20)),
    ("decimal:prec", lambda: setattr(decimal.getcontext(), "prec", 7)),
    ("matplotlib:figure.dpi", lambda: mpl.rcParams.__setitem__("figure.dpi", 77)),
    ("matplotlib:font.family", lambda: mpl.rcParams["font.family"].append("serif")),
    (
        "matplotlib:axes.prop_cycle",
        lambda: mpl.rcParams.__setitem__("axes.prop_cycle", mpl.cycler(color=["r", "g"])),
    ),
    ("pandas:display.max_rows", lambda: pd.set_option("display.max_rows", 5)),
    ("pandas:display.float_format", lambda: pd.set_option("display.float_format", "{:.1f}".format)),
    ("numpy:print.precision", lambda: np.set_printoptions(precision=3)),
    ("numpy:err.divide", lambda: np.seterr(divide="ignore")),
    ("random:python", lambda: random.seed(1)),
    ("random:numpy", lambda: np.random.seed(1)),
]


@pytest.mark.parametrize(("key", "change"), CASES, ids=[key for key, _ in CASES])
class TestEachKind:
    def test_one_change_is_one_key(self, key: str, change: Change) -> None:
        """Nothing else is said to have changed."""
        assert set(made_by(change)) == {key}

    def test_it_comes_back_as_it_was_before(self, key: str, change: Change) -> None:
        """The value before puts the process back."""
        before = ambient.snapshot()
        change()
        assert ambient.apply({key: before.values.get(key, GONE)}) == ()
        assert ambient.changes(before, ambient.snapshot()) == {}

    def test_it_is_made_again_from_pickled_values(self, key: str, change: Change) -> None:
        """The value after survives pickling, and makes the change again; twice is once."""
        before = ambient.snapshot()
        change()
        after = ambient.snapshot()
        values = pickle.loads(pickle.dumps(ambient.changes(before, after)))
        ambient.apply({key: before.values.get(key, GONE)})
        assert ambient.apply(values) == ()
        assert ambient.apply(values) == ()
        assert ambient.changes(after, ambient.snapshot()) == {}

    def test_its_value_is_found_in_a_snapshot(self, key: str, change: Change) -> None:
        """What `changes` gives is what the later snapshot holds under that key."""
        made = made_by(change)[key]
        assert kinds.digest_key(ambient.snapshot().values[key]) == kinds.digest_key(made)


def test_nothing_changed_is_nothing_said() -> None:
    """Two snapshots in a row differ in nothing."""
    assert made_by(lambda: None) == {}


def test_what_was_taken_away_is_gone() -> None:
    """A variable that was deleted is a change too, and is deleted again."""
    os.environ["PIPESTATE_TEST"] = "1"
    gone = made_by(lambda: os.environ.pop("PIPESTATE_TEST"))
    os.environ["PIPESTATE_TEST"] = "2"
    assert gone == {"env:PIPESTATE_TEST": GONE}
    assert ambient.apply(gone) == ()
    assert "PIPESTATE_TEST" not in os.environ


def test_gone_stays_one_object_through_pickling() -> None:
    """The marker can be compared with `is`."""
    assert pickle.loads(pickle.dumps(GONE)) is GONE


def test_values_are_put_and_acts_are_not_repeated(tmp_path: Path) -> None:
    """`cd sub` kept and put twice is `sub`, not `sub/sub`."""
    (tmp_path / "sub" / "sub").mkdir(parents=True)
    os.chdir(tmp_path)
    made = made_by(lambda: os.chdir("sub"))
    ambient.apply(made)
    ambient.apply(made)
    assert Path.cwd() == (tmp_path / "sub").resolve()


def test_a_random_state_repeats_its_draws() -> None:
    """After the state is put, the same numbers are drawn."""
    made = made_by(lambda: (random.seed(3), np.random.seed(3)))
    first = random.random(), np.random.rand()
    ambient.apply(made)
    assert (random.random(), np.random.rand()) == first


def test_another_bit_generator_of_numpy_comes_back() -> None:
    """The state of what `set_bit_generator` put is kept as well."""
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(1))
    try:
        made = made_by(np.random.rand)
        first = np.random.rand()
        ambient.apply(pickle.loads(pickle.dumps(made)))
        assert np.random.rand() == first
    finally:
        np.random.set_bit_generator(before)


def test_torch_repeats_its_draws() -> None:
    """The state of torch's CPU generator is kept."""
    torch = pytest.importorskip("torch")
    made = made_by(lambda: torch.manual_seed(3))
    first = torch.rand(2)
    ambient.apply(pickle.loads(pickle.dumps(made)))
    assert set(made) == {"random:torch"}
    assert torch.equal(torch.rand(2), first)


class TestRows:
    def test_a_filter_that_was_added_is_one_key_and_works_again(self) -> None:
        """A filter is kept as plain data and has its effect once it is put back."""
        before = ambient.snapshot()
        warnings.filterwarnings("ignore", "quiet please", UserWarning)
        made = ambient.changes(before, ambient.snapshot())
        ambient.apply(dict.fromkeys(made, GONE))
        assert ambient.changes(before, ambient.snapshot()) == {}
        ambient.apply(pickle.loads(pickle.dumps(made)))
        assert [key.partition(":")[0] for key in made] == ["warnings"]
        warnings.warn("quiet please, I say", stacklevel=1)  # an error, were it not ignored

    def test_a_filter_works_at_once_where_the_warning_was_shown_before(self) -> None:
        """Python's own memory of warnings does not hide that the filters are others."""

        def warn() -> None:
            warnings.warn("hear, hear", stacklevel=1)

        warnings.filterwarnings("ignore", "hear")
        warn()
        made = made_by(lambda: warnings.filterwarnings("error", "hear"))
        ambient.apply(dict.fromkeys(made, GONE))
        warn()
        ambient.apply(made)
        with pytest.raises(UserWarning, match="hear"):
            warn()

    def test_what_others_added_stays(self) -> None:
        """An entry goes to its place between its neighbours; the rest is left alone."""
        made = made_by(lambda: sys.path.insert(0, "/mine"))
        sys.path.remove("/mine")
        sys.path.append("/theirs")
        ambient.apply(made)
        assert (sys.path[0], sys.path[-1]) == ("/mine", "/theirs")

    def test_an_entry_that_stands_right_is_not_moved(self) -> None:
        """In front of what it stood in front of is good enough."""
        made = made_by(lambda: sys.path.insert(0, "/mine"))
        sys.path.insert(0, "/theirs")
        ambient.apply(made)
        assert sys.path[:2] == ["/theirs", "/mine"]

    @given(
        before=st.lists(st.sampled_from("abcdefgh"), unique=True),
        after=st.lists(st.sampled_from("abcdefgh"), unique=True),
        shuffled=st.randoms(use_true_random=False),
    )
    def test_any_row_is_made_again_and_undone(
        self, before: list[str], after: list[str], shuffled: random.Random
    ) -> None:
        """Whatever was added, removed or moved: put on what stood before, it is what stood after.

        So in whatever order the keys come, and so for the way back.
        """
        real = list(sys.path)
        try:
            sys.path[:] = before
            first = ambient.snapshot()
            sys.path[:] = after
            second = ambient.snapshot()
            there = list(ambient.changes(first, second).items())
            back = list(ambient.changes(second, first).items())
            shuffled.shuffle(there)
            shuffled.shuffle(back)
            ambient.apply(dict(back))
            undone = list(sys.path)
            ambient.apply(dict(there))
            ambient.apply(dict(there))
            again = list(sys.path)
        finally:
            sys.path[:] = real
        assert (undone, again) == (before, after)


class TestRefused:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("pandas:display.no_such_option", 1),
            ("matplotlib:no.such.key", 1),
            ("matplotlib:figure.dpi", "many"),
            ("numpy:print.no_such", 1),
            ("cwd", "/no/such/folder"),
            ("locale", "xx_YY.nothing"),
            ("warnings:x", (("ignore", None, -1, "builtins.NoWarning", None, -1, 0), None, None)),
            ("elsewhere:x", 1),
        ],
    )
    def test_what_cannot_be_set_is_a_line_and_no_error(self, key: str, value: object) -> None:
        """The line names the key; nothing was changed."""
        before = ambient.snapshot()
        (line,) = ambient.apply({key: value})
        assert line.startswith(f"{key} ")
        assert "\n" not in line
        assert ambient.changes(before, ambient.snapshot()) == {}

    def test_the_rest_is_set_all_the_same(self) -> None:
        """One value that would not go keeps no other from going."""
        lines = ambient.apply({"cwd": "/no/such/folder", "env:PIPESTATE_TEST": "1"})
        assert (len(lines), os.environ["PIPESTATE_TEST"]) == (1, "1")


class TestDigests:
    def test_types_count(self) -> None:
        """1, 1.0 and True are three values, and so are a list and a tuple of them."""
        values: list[object] = [1, 1.0, True, "1", b"1", None, [1], (1,), 0.0, -0.0, {1}, {1: 1}]
        assert len({kinds.digest_key(value) for value in values}) == len(values)

    def test_lambdas_are_told_apart_by_what_they_do(self) -> None:
        """Two that do the same are equal, two that do not are not."""
        one, same, other = (lambda x: x + 1), (lambda x: x + 1), (lambda x: x + 2)
        assert kinds.digest_key(one) == kinds.digest_key(same)
        assert kinds.digest_key(one) != kinds.digest_key(other)


class TestImports:
    @pytest.fixture
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """A module that changes the process while it is imported."""
        name = f"ambient_{tmp_path.name}".replace("-", "_")
        (tmp_path / f"{name}.py").write_text(
            "import os, warnings\n"
            "os.environ['BY_IMPORT'] = 'set'\n"
            "warnings.filterwarnings('ignore', 'by import')\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        undo = imports.watch()
        yield name
        undo()
        sys.modules.pop(name, None)

    def test_what_an_import_changed_is_not_the_cells(self, module: str) -> None:
        """The first import changes something, the second nothing: the cell did not do it."""
        assert made_by(lambda: __import__(module)) == {}
        assert os.environ["BY_IMPORT"] == "set"

    def test_what_the_cell_did_around_an_import_is_its_own(self, module: str) -> None:
        """Before it, after it, and to what it had set."""

        def cell() -> None:
            os.environ["BY_CELL"] = "1"
            __import__(module)
            os.environ["BY_IMPORT"] = "else"
            warnings.filterwarnings("ignore", "by cell")

        made = made_by(cell)
        assert {k: v for k, v in made.items() if k.startswith("env:")} == {
            "env:BY_CELL": "1",
            "env:BY_IMPORT": "else",
        }
        assert [key for key in made if key.startswith("warnings:")] == [
            key for key in made if "by cell" in key
        ]

    def test_a_module_has_its_own_loader(self, module: str) -> None:
        """Nothing of the measuring is left in a module."""
        made = __import__(module)
        assert type(made.__loader__).__module__.startswith(("_frozen_importlib", "importlib"))
        assert getattr(made.__spec__, "loader", None) is made.__loader__

    def test_an_import_that_fails_is_measured_too(self, module: str, tmp_path: Path) -> None:
        """What it set before it failed is still its own."""
        (tmp_path / f"{module}.py").write_text("import os; os.environ['BY_IMPORT'] = 'x'; 1 / 0\n")

        def cell() -> None:
            with pytest.raises(ZeroDivisionError):
                __import__(module)

        assert made_by(cell) == {}

    def test_watching_can_be_taken_out_again(self) -> None:
        """The undo leaves the finders as they were."""
        before = list(sys.meta_path)
        imports.watch()()
        assert sys.meta_path == before

    def test_options_of_a_library_count_from_its_import(self, tmp_path: Path) -> None:
        """A cell that imports a library and sets one option changed one option."""
        code = """
            I.watch()
            before = A.snapshot()
            import matplotlib, numpy
            matplotlib.rcParams["figure.dpi"] = 77
            numpy.random.seed(1)
            print(sorted(A.changes(before, A.snapshot())))
        """
        assert fresh_python(code, tmp_path) == "['matplotlib:figure.dpi', 'random:numpy']\n"

    def test_random_states_count_from_the_import(self, tmp_path: Path) -> None:
        """A library seeds itself while it is imported; that is no draw."""
        pytest.importorskip("torch")
        code = """
            I.watch()
            before = A.snapshot()
            import numpy.random, torch
            print(A.changes(before, A.snapshot()))
            torch.rand(1)
            print(list(A.changes(before, A.snapshot())))
        """
        assert fresh_python(code, tmp_path) == "{}\n['random:torch']\n"

    def test_an_option_waits_for_its_library(self, tmp_path: Path) -> None:
        """It is put right after the import, and is not the doing of the cell that imports it."""
        code = """
            I.watch()
            print(A.apply({"matplotlib:figure.dpi": 77.0, "numpy:print.precision": 3}))
            print(sorted(A.pending()), "numpy" in sys.modules)
            before = A.snapshot()
            import matplotlib
            print(matplotlib.rcParams["figure.dpi"], A.changes(before, A.snapshot()), A.pending())
        """
        assert fresh_python(code, tmp_path).splitlines() == [
            "()",
            "['matplotlib:figure.dpi', 'numpy:print.precision'] False",
            "77.0 {} {}",
        ]

    def test_without_a_watch_the_engine_puts_what_waits(self, tmp_path: Path) -> None:
        """`apply_pending` does what the import would have done."""
        code = """
            A.apply({"numpy:print.precision": 3})
            import numpy
            print(numpy.get_printoptions()["precision"], A.apply_pending())
            print(numpy.get_printoptions()["precision"], A.pending(), A.apply_pending())
        """
        assert fresh_python(code, tmp_path) == "8 ()\n3 {} ()\n"

    def test_a_filter_for_a_class_of_a_library_waits_for_it(self, tmp_path: Path) -> None:
        """And so does the place of a filter whose neighbours come with the library."""
        code = """
            I.watch()
            import numpy
            before = A.snapshot()
            warnings.simplefilter("ignore", numpy.exceptions.RankWarning)
            warnings.filterwarnings("ignore", "mine")
            sys.stdout.write(repr(A.changes(before, A.snapshot())))
        """
        made = fresh_python(code, tmp_path)
        code = f"""
            I.watch()
            A.apply({made})
            print(len(A.pending()))
            import numpy
            A.apply_pending()
            print([f[1] and f[1].pattern or f[2].__name__ for f in warnings.filters[:2]])
        """
        assert fresh_python(code, tmp_path) == "1\n['mine', 'RankWarning']\n"

    def test_what_waits_can_be_forgotten(self, tmp_path: Path) -> None:
        """Another job does not get what this one left waiting."""
        code = """
            A.apply({"numpy:print.precision": 3})
            A.drop_pending()
            print(A.pending())
        """
        assert fresh_python(code, tmp_path) == "{}\n"
