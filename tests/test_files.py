"""Which files a step read and wrote, what they were before; which modules are the user's own."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from pipestate.kernel import files, packages
from pipestate.kernel.files import Touched, Watch, is_same, state
from pipestate.record import ABSENT, FileState

LONG_AGO = 1_700_000_000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in a folder of its own."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def given(path: str, text: str = "old") -> Path:
    """A file that has been there for long."""
    found = Path(path)
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_text(text)
    os.utime(found, (LONG_AGO, LONG_AGO))
    return found


def touched_by(act: Callable[[], object], *left_out: str, bound: int = 1000) -> Touched:
    """What an act did to files."""
    watch = Watch(*left_out, copies=Path("..", "copies"), bound=bound)
    watch.start()
    try:
        act()
    finally:
        touched = watch.stop()
    assert touched.flaw == ""
    return touched


def write(path: str, text: str = "new", mode: str = "w") -> None:
    """Write with `open`."""
    with open(path, mode) as file:
        file.write(text)


def copied(touched: Touched) -> dict[str, str | None]:
    """What the copies hold."""
    return {k: Path(v).read_text() if v else None for k, v in touched.copies.items()}


class TestReadAndWritten:
    def test_a_file_that_is_read(self) -> None:
        """It is an input and nothing else."""
        given("a.txt")
        assert touched_by(Path("a.txt").read_text) == Touched(read=("a.txt",))

    def test_a_file_that_is_made(self) -> None:
        """It is an output and nothing else."""
        assert touched_by(lambda: write("a.txt")) == Touched(written=("a.txt",))

    def test_a_file_that_is_written_anew_is_no_input(self) -> None:
        """Its earlier content does not matter, so it needs no copy either."""
        given("a.txt")
        assert touched_by(lambda: write("a.txt")) == Touched(written=("a.txt",))

    def test_a_file_that_is_read_after_it_was_made_is_no_input(self) -> None:
        """The step reads what it wrote itself."""

        def act() -> None:
            write("a.txt")
            Path("a.txt").read_text()

        assert touched_by(act) == Touched(written=("a.txt",))

    def test_a_file_that_is_looked_for_in_vain_is_an_input(self) -> None:
        """That it was not there is what the step saw."""

        def act() -> None:
            with pytest.raises(FileNotFoundError):
                Path("a.txt").read_text()

        touched = touched_by(act)
        assert touched.read == ("a.txt",)
        assert touched.states_read() == (FileState("a.txt", ABSENT),)

    def test_a_file_that_was_opened_for_change_and_not_changed_is_read_only(self) -> None:
        """What counts is what is there in the end; no copy is left behind."""
        given("a.txt")

        def act() -> None:
            with open("a.txt", "r+") as file:
                file.read()

        assert touched_by(act) == Touched(read=("a.txt",))
        assert os.listdir("../copies") == []

    def test_a_file_that_could_not_be_opened_is_not_written(self) -> None:
        """`x` on a file that is there fails and changes nothing."""
        given("a.txt")
        time.sleep(0.03)  # within a tick it might have been written all the same

        def act() -> None:
            with pytest.raises(FileExistsError):
                write("a.txt", mode="x")

        assert touched_by(act) == Touched()

    def test_a_rewrite_of_the_same_size_at_once_counts(self) -> None:
        """Even within one tick of the file system's clock."""
        write("a.txt", "old")
        assert touched_by(lambda: write("a.txt", "new")).written == ("a.txt",)

    def test_numpy_and_pandas_are_seen(self) -> None:
        """Readers and writers that open files through Python."""
        np, pd = pytest.importorskip("numpy"), pytest.importorskip("pandas")
        given("a.csv", "x\n1\n")
        np.save("a.npy", np.arange(3))

        def act() -> None:
            pd.read_csv("a.csv").to_csv("b.csv")
            np.save("b.npy", np.load("a.npy"))

        assert touched_by(act) == Touched(read=("a.csv", "a.npy"), written=("b.csv", "b.npy"))

    def test_descriptors_and_bytes_and_threads(self) -> None:
        """`os.open`, a path of bytes, a thread: all the same."""
        given("a.txt")

        def act() -> None:
            os.close(os.open(b"a.txt", os.O_RDONLY))
            thread = threading.Thread(target=write, args=("b.txt",))
            thread.start()
            thread.join()

        assert touched_by(act) == Touched(read=("a.txt",), written=("b.txt",))

    def test_a_database_is_a_file_that_is_updated(self) -> None:
        """SQLite opens its file by itself, and says so before."""

        def act() -> None:
            connection = sqlite3.connect("a.db")
            connection.execute("create table t (x)")
            connection.close()

        touched = touched_by(act)
        assert (touched.written, touched.copies) == (("a.db",), {"a.db": None})

    def test_paths_are_relative_below_the_base_only(self, folder: Path) -> None:
        """Also when the step changes the working directory."""
        (folder / "sub").mkdir()

        def act() -> None:
            os.chdir("sub")
            write("a.txt")
            write("../../b.txt")

        touched = touched_by(act)
        outside = str(folder.parent / "b.txt")
        assert touched.written == (os.path.join("sub", "a.txt"), outside)
        assert [s.digest != ABSENT for s in touched.states_written(str(folder))] == [True, True]


class TestChangedInPlace:
    @pytest.mark.parametrize("mode", ["a", "a+", "r+"])
    def test_what_is_appended_to_or_updated_is_copied_first(self, mode: str) -> None:
        """It is input and output; the copy and the state are those before."""
        before = state(given("a.txt"))
        touched = touched_by(lambda: write("a.txt", mode=mode))
        assert (touched.read, touched.written) == (("a.txt",), ("a.txt",))
        assert copied(touched) == {"a.txt": "old"}
        assert touched.states_read() == (before,)

    def test_what_is_read_and_then_written_is_copied_first(self) -> None:
        """A counter in a file would count once more at each run."""
        given("a.txt", "1")

        def act() -> None:
            write("a.txt", str(int(Path("a.txt").read_text()) + 1))

        touched = touched_by(act)
        assert (copied(touched), touched.read) == ({"a.txt": "1"}, ("a.txt",))

    def test_what_is_appended_to_and_was_not_there_is_to_be_removed(self) -> None:
        """Else the second run would append to what the first one made."""
        touched = touched_by(lambda: write("a.txt", mode="a"))
        assert (touched.written, touched.copies) == (("a.txt",), {"a.txt": None})
        assert touched.states_read() == (FileState("a.txt", ABSENT),)

    def test_what_is_truncated_is_copied_first(self) -> None:
        """By its name, without an open."""
        given("a.txt")
        touched = touched_by(lambda: os.truncate("a.txt", 1))
        assert (touched.written, copied(touched)) == (("a.txt",), {"a.txt": "old"})

    def test_what_is_over_the_bound_is_said(self) -> None:
        """There is no copy, but its state is known."""
        before = state(given("a.txt", "long"))
        touched = touched_by(lambda: write("a.txt", mode="a"), bound=3)
        assert (touched.copies, touched.uncopied) == ({}, ("a.txt",))
        assert touched.states_read() == (before,)

    def test_a_copy_puts_a_file_back(self) -> None:
        """Content and time are those before, so that it counts as the same."""
        before = state(given("a.txt"))
        touched = touched_by(lambda: write("a.txt", mode="a"))
        files.put_back("a.txt", touched.copies["a.txt"])
        assert Path("a.txt").read_text() == "old"
        assert is_same(before)

    def test_none_takes_a_file_away(self) -> None:
        """Whether it is there or not."""
        given("a.txt")
        files.put_back("a.txt", None)
        files.put_back("a.txt", None)
        assert not Path("a.txt").exists()


class TestRenamedAndRemoved:
    def test_a_file_written_as_temporary_counts_under_its_final_name(self) -> None:
        """The way in which careful programs write."""
        given("a.txt")

        def act() -> None:
            write("a.txt.tmp")
            os.replace("a.txt.tmp", "a.txt")

        assert touched_by(act) == Touched(written=("a.txt",))

    def test_a_folder_written_as_temporary_counts_under_its_final_name(self) -> None:
        """What was made in it moves along."""

        def act() -> None:
            os.mkdir("tmp")
            write("tmp/a.txt")
            os.rename("tmp", "final")

        assert touched_by(act) == Touched(written=(os.path.join("final", "a.txt"),))

    def test_what_is_made_and_removed_is_nothing(self) -> None:
        """Neither input nor output."""

        def act() -> None:
            write("a.txt", mode="a")
            os.remove("a.txt")
            with tempfile.NamedTemporaryFile(dir=".") as file:
                file.write(b"x")
            with tempfile.TemporaryDirectory(dir=".") as below:
                write(os.path.join(below, "b.txt"))

        assert touched_by(act) == Touched()

    def test_what_is_removed_is_kept(self) -> None:
        """Whatever its size: it only gets another name."""
        given("a.txt")
        touched = touched_by(lambda: os.remove("a.txt"), bound=0)
        assert (touched.removed, copied(touched)) == (("a.txt",), {"a.txt": "old"})
        assert touched.states_written() == (FileState("a.txt", ABSENT),)

    def test_what_is_renamed_is_read_and_removed_and_written(self) -> None:
        """The new name has the content of the old one."""
        given("a.txt")
        touched = touched_by(lambda: os.rename("a.txt", "b.txt"))
        assert (touched.read, touched.removed) == (("a.txt",), ("a.txt",))
        assert (touched.written, copied(touched)) == (("b.txt",), {"a.txt": "old"})

    def test_what_is_renamed_and_then_changed_is_kept_as_it_was(self) -> None:
        """The copy is no second name of what lives on."""
        given("a.txt")

        def act() -> None:
            os.rename("a.txt", "b.txt")
            write("b.txt", mode="a")

        assert copied(touched_by(act)) == {"a.txt": "old"}

    def test_what_could_not_be_removed_is_not_removed(self) -> None:
        """The call failed, after it was heard."""
        given("sub/a.txt")

        def act() -> None:
            with pytest.raises(OSError, match="sub"):
                os.replace("sub/a.txt", "sub")

        touched = touched_by(act)
        assert (touched.written, touched.removed, touched.copies) == ((), (), {})

    def test_a_tree_that_is_removed_is_kept(self) -> None:
        """`shutil.rmtree` names files by their folder's descriptor."""
        given("tree/below/a.txt")
        touched = touched_by(lambda: shutil.rmtree("tree"))
        assert copied(touched) == {os.path.join("tree", "below", "a.txt"): "old"}


class TestLeftOut:
    def test_the_store_and_caches_and_the_system(self, folder: Path) -> None:
        """Folders given, those named `.pipestate`, compiled code, devices."""
        store = given("store/blob")
        given(".pipestate/blob")
        given("__pycache__/x.pyc")

        def act() -> None:
            for path in (store, ".pipestate/blob", "__pycache__/x.pyc", os.devnull, os.__file__):
                with open(path, "rb"):
                    pass

        assert touched_by(act, "store") == Touched()

    def test_what_an_import_opens(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Code is followed elsewhere; data that a project's module reads is an input."""
        name = f"own_{folder.parent.name}".replace("-", "_")
        given("data.txt")
        given(f"{name}.py", "text = open('data.txt').read()\n")
        monkeypatch.syspath_prepend(folder)
        for prefix in (None, str(folder.parent / "compiled")):
            monkeypatch.setattr(sys, "pycache_prefix", prefix)
            monkeypatch.setattr(sys, "dont_write_bytecode", False)
            try:
                with pytest.warns(ResourceWarning):
                    touched = touched_by(lambda: __import__(name))
            finally:
                sys.modules.pop(name, None)
            assert touched == Touched(read=("data.txt",))
        assert (folder.parent / "compiled").is_dir()

    def test_folders_and_pipes(self) -> None:
        """They have no content of their own."""
        os.mkdir("sub")
        os.mkfifo("pipe")

        def act() -> None:
            os.close(os.open("sub", os.O_RDONLY))
            os.close(os.open("pipe", os.O_RDONLY | os.O_NONBLOCK))

        assert touched_by(act) == Touched()

    def test_nothing_is_heard_after_the_stop(self) -> None:
        """And what one watch heard is forgotten by the next."""
        given("a.txt")
        watch = Watch()
        watch.start()
        Path("a.txt").read_text()
        first = watch.stop()
        Path("a.txt").read_text()
        watch.start()
        assert (first.read, watch.stop().read, watch.stop().read) == (("a.txt",), (), ())


class TestState:
    def test_a_file_is_the_same_until_its_content_changes(self) -> None:
        """Whatever its times say."""
        path = given("a.txt")
        known = state("a.txt")
        os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))
        touched = is_same(known)
        path.write_text("new")
        assert (touched, is_same(known)) == (True, False)

    def test_a_change_within_one_tick_of_the_clock_is_seen(self) -> None:
        """A hundred times in a row, each of the same size."""
        for number in range(100, 200):
            write("a.txt", str(number))
            known = state("a.txt")
            write("a.txt", str(number + 1))
            assert not is_same(known)

    def test_a_big_change_within_one_tick_of_the_clock_is_seen(self) -> None:
        """Big files are told by their time, which is therefore waited for."""
        for letter in "abc":
            write("a.txt", letter * 2**20)
            known = state("a.txt")
            write("a.txt", "z" * 2**20)
            assert known.mtime_ns
            assert not is_same(known)

    def test_a_file_that_goes_or_comes_is_not_the_same(self) -> None:
        """Absence is a state like any other."""
        absent = state("a.txt")
        given("a.txt")
        there = state("a.txt")
        came = is_same(absent)
        os.remove("a.txt")
        assert (absent.digest, came, is_same(there), is_same(absent)) == (
            ABSENT,
            False,
            False,
            True,
        )

    def test_a_folder_is_the_names_and_contents_below_it(self) -> None:
        """A new file, another content and another name are changes."""
        given("data/a.txt")
        known = state("data")
        same = is_same(known)
        os.rename("data/a.txt", "data/b.txt")
        renamed = is_same(known)
        os.rename("data/b.txt", "data/a.txt")
        given("data/sub/c.txt")
        assert (same, renamed, is_same(known)) == (True, False, False)

    def test_paths_are_those_that_a_watch_gives(self, folder: Path) -> None:
        """Relative below the base, absolute elsewhere, whichever way they are asked for."""
        given("sub/a.txt")
        names = {
            state(p).path for p in ("sub/a.txt", folder / "sub" / "a.txt", "./sub/../sub/a.txt")
        }
        assert names == {os.path.join("sub", "a.txt")}
        assert state(folder / "sub" / "a.txt", base=str(folder / "sub")).path == "a.txt"
        assert state("sub/a.txt", base=str(folder / "other")).digest == ABSENT


class TestPackages:
    def test_a_module_has_the_version_of_its_distribution(self) -> None:
        """Under the distribution's name, and the same whether the module is imported or not."""
        from importlib.metadata import version

        assert packages.versions(["pytest", "_pytest.config", "blake3"]) == {
            "blake3": version("blake3"),
            "pytest": version("pytest"),
        }
        assert packages.versions(["nbclient.client"]) == {"nbclient": version("nbclient")}
        assert "nbclient" not in sys.modules

    def test_a_distribution_of_another_name_is_found(self) -> None:
        """`dateutil` comes from python-dateutil."""
        assert list(packages.versions(["dateutil.parser"])) == ["python-dateutil"]

    def test_what_is_not_installed_has_no_version(self, folder: Path) -> None:
        """The standard library, pipestate, the notebook, and what is not there."""
        assert packages.versions(["os.path", "pipestate.record", "__main__", "no_such", ""]) == {}

    def test_a_project_module_is_a_file_of_the_users(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also before it is imported, and as soon as it is written."""
        monkeypatch.syspath_prepend(folder)
        name = f"mine_{folder.parent.name}".replace("-", "_")
        before = packages.is_project_module(name)
        given(f"{name}.py")
        given(f"{name}_parts/a.py")
        assert (before, packages.is_project_module(name)) == (False, True)
        assert packages.is_project_module(f"{name}_parts.a")
        assert packages.versions([name]) == {}

    @pytest.mark.parametrize(
        "name", ["os", "sys", "pytest", "pipestate", "__main__", "no_such", ""]
    )
    def test_others_are_no_project_modules(self, name: str) -> None:
        """Python's own, installed ones, pipestate, the notebook itself."""
        assert not packages.is_project_module(name)
        if name in sys.modules:
            assert not packages.is_project_module(sys.modules[name])

    @pytest.mark.parametrize("name", ["__main__", "__mp_main__"])
    def test_what_the_process_runs_is_no_project_module(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """By either of its names, though it has a file of the user's."""
        module = types.ModuleType("__main__")
        module.__file__ = str(folder / "script.py")
        monkeypatch.setitem(sys.modules, name, module)
        assert not packages.is_project_module(name)

    def test_a_module_made_by_hand_is_no_project_module(self) -> None:
        """There is no file to follow."""
        assert not packages.is_project_module(types.ModuleType("by_hand"))


def test_a_plain_cell_below_a_restored_step_calls_what_its_module_says_now(nb, cwd):
    """The module was edited, and is as it was when the step ran."""
    nb.load()
    cells = ("%%step a\nfrom helping import f\ny = f(1)", "f(1)")
    shown = []
    for number in (1, 2, 1):
        (cwd / "helping.py").write_text(f"def f(x):\n    return x + {number} * 10\n")
        os.utime(cwd / "helping.py", (number * 10, number * 10))
        shown.append(nb.run(*cells).value)
    assert shown == ["11", "21", "11"]
