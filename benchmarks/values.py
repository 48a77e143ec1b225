"""What keeping a value costs beside writing its bytes, and getting it back beside reading them.

The value is handed to the step's body ready-made, as a builtin name: what is timed is pipestate's
part, and no input is read. Every round keeps it in a store of its own,
which a small step has made.
"""

from __future__ import annotations

import builtins
import importlib.util
import itertools
import pickle
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import blake3

from .notebooks import Shell, expect
from .rounds import (
    Pair,
    Row,
    bytes_in,
    fresh,
    pair,
    paired,
    read_new_seconds,
    read_seconds,
    seconds,
    write,
)

MB = 1_000_000


def array(nbytes: int) -> Any:
    """An array of floats."""
    import numpy as np

    return np.arange(nbytes // 8, dtype=np.float64)


def frame(nbytes: int) -> Any:
    """Ten columns: floats, integers, times, truths, categories, texts."""
    import numpy as np
    import pandas as pd

    rows = nbytes // 71
    numbers = np.arange(rows)
    columns: dict[str, Any] = {f"float_{i}": numbers * (0.5 + i) for i in range(4)}
    columns |= {f"int_{i}": numbers * (i + 3) for i in range(2)}
    columns["time"] = pd.to_datetime(numbers, unit="s")
    columns["truth"] = numbers % 3 == 0
    columns["kind"] = pd.Categorical.from_codes(numbers % 5, list("abcde"))
    columns["text"] = pd.Series(np.array(["apple", "pear", "plum"])[numbers % 3], dtype="str")
    return pd.DataFrame(columns)


def weights(nbytes: int) -> Any:
    """A state_dict of 100 tensors."""
    import torch

    return {
        f"layer_{i}.weight": torch.full((nbytes // 400,), float(i), dtype=torch.float32)
        for i in range(100)
    }


def dicts(count: int) -> Any:
    """Many small dicts."""
    return [{"id": i, "name": f"row {i}", "score": i / 2} for i in range(count)]


@dataclass
class Item:
    """An instance of an ordinary class."""

    number: int
    name: str
    score: float


def _small_array(number: int) -> Any:
    import numpy as np

    return np.arange(number, number + 10.0)


OBJECTS: dict[str, Callable[[int], Any]] = {
    "instances of a dataclass": lambda number: Item(number, f"row {number}", number / 2),
    "small sets": lambda number: {number, number + 1},
    "dates with times": lambda n: datetime(2020, 1, 1) + timedelta(seconds=n),
    "small arrays": _small_array,
}


def one_dict(count: int) -> Any:
    """One dict of many numbers and texts."""
    return {i: str(i) for i in range(count)}


def fortran(nbytes: int) -> Any:
    """An array in Fortran order."""
    import numpy as np

    return np.asfortranarray(np.arange(nbytes // 8, dtype="f8").reshape(-1, 1000))


def forest(rows: int) -> Any:
    """A forest of 100 trees, fitted to random rows of ten columns."""
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    numbers = np.random.default_rng(0)
    table, truth = numbers.normal(size=(rows, 10)), numbers.integers(0, 2, rows)
    return RandomForestClassifier(100, random_state=0, n_jobs=-1).fit(table, truth)


@dataclass(frozen=True)
class Kind:
    """A kind of value: how to make it, which library it needs, and a cell that first uses it."""

    what: str
    make: Callable[[int], Any]
    size: int
    library: str
    use: str
    target: float | None = None


KINDS = {
    "array": Kind("{} MB array", array, 1000 * MB, "numpy", "one = big[-1]", 1.3),
    "frame": Kind("{} MB frame", frame, 360 * MB, "pandas", "one = big['float_3'].iat[-1]", 1.4),
    "weights": Kind(
        "{} MB state_dict", weights, 400 * MB, "torch", "one = big['layer_7.weight']", 1.3
    ),
}


def buffers_of(value: Any) -> list[Any]:
    """The bytes of a value, as pickle gives them; tensors as the arrays that they are."""
    if isinstance(value, dict):
        value = [tensor.numpy() for tensor in value.values()]
    found: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(value, 5, buffer_callback=found.append)
    return [stream, *(buffer.raw() for buffer in found)]


class Keeper:
    """A shell whose steps keep one ready-made value, each time in a new store."""

    def __init__(self, room: Path, value: Any) -> None:
        self.room = room
        self.shell = Shell(room)
        builtins.ready_made = value  # type: ignore[attr-defined]

    def keep(self) -> float:
        """Keep it; how many seconds the cell took."""
        self.shell.load(False)
        self.shell.names.pop("big", None)
        shutil.rmtree(self.room / "store", ignore_errors=True)
        self.shell.load()
        self.shell.run("%%step first\none = 1")  # so that the store is there
        took = self.shell.run("%%step keep\nbig = ready_made")
        expect(self.room, "keep", "ran")
        return took


def keep(room: Path, name: str, size: int, *, rounds: int) -> Pair:
    """Keep a value, and write its bytes to a file. The last store is left there."""
    value = KINDS[name].make(size)
    keeper, buffers, raw = Keeper(room, value), buffers_of(value), room / "raw"

    def write_raw() -> float:
        raw.unlink(missing_ok=True)
        return seconds(lambda: write(raw, buffers))

    return paired(rounds, write_raw, keeper.keep)


def first_use(
    room: Path, name: str, read: Callable[[Path], float] = read_new_seconds
) -> tuple[float, float]:
    """After a restart: read the file, and the first cell that names the value."""
    shell, raw = Shell(room), room / "raw"
    shell.run(f"import {KINDS[name].library}")
    floor = read(raw)
    shell.load()
    return floor, shell.run(KINDS[name].use)


def touch_all(room: Path, is_first: bool) -> tuple[float, float]:
    """After a restart: sum an array mapped by numpy, and the one that pipestate kept."""
    shell, file = Shell(room), room / "array.npy"
    shell.run("import numpy")
    shell.load()
    cells = [f"numpy.load({str(file)!r}, mmap_mode='c').sum()", "big.sum()"]
    shell.run("numpy.ones(1000).sum()")
    if is_first:
        return shell.run(cells[0]), shell.run(cells[1])
    ours = shell.run(cells[1])
    return shell.run(cells[0]), ours


def _save_array(room: Path, size: int) -> None:
    import numpy as np

    np.save(room / "array.npy", array(size))


def big_values(room: Path, name: str, *, scale: float, rounds: int) -> list[Row]:
    """Keep one kind of value, and use it after restarts."""
    kind = KINDS[name]
    if importlib.util.find_spec(kind.library) is None:
        return []
    size = int(kind.size * scale)
    what = kind.what.format(size // MB)
    kept = fresh(keep, room, name, size, rounds=rounds)
    used = pair(fresh(first_use, room, name) for _ in range(min(rounds, 5)))
    warm = pair(fresh(first_use, room, name, read_seconds) for _ in range(min(rounds, 5)))
    percent = 2.0 if scale == 1 else None  # opening a store costs the same for any size
    rows = [
        Row("keep", f"{what}, over a raw write", kept.times, "x", kind.target, str(kept)),
        Row("first use", f"{what}, of a raw read", used.times * 100, "%", percent, str(used)),
        Row(
            "first use", f"{what}, of one into used memory", warm.times * 100, "%", None, str(warm)
        ),
        Row("first use", f"{what}", used.ours * 1e3, "ms", 10.0),
    ]
    if name == "array":
        fresh(_save_array, room, size)
        touched = pair(fresh(touch_all, room, bool(i % 2)) for i in range(min(rounds, 5)))
        told = f"{what}, all of it, over numpy's mmap"
        rows.append(Row("first use", told, touched.times, "x", 1.1, str(touched)))
    return rows


def read_only(room: Path, *, size: int, rounds: int) -> list[Row]:
    """A step that reads an array and changes nothing, over hashing it once."""
    value = array(size)
    keeper = Keeper(room, value)
    keeper.keep()
    numbers, memory = itertools.count(), memoryview(value).cast("B")
    result = paired(
        rounds,
        lambda: seconds(lambda: blake3.blake3(memory, max_threads=blake3.blake3.AUTO)),
        lambda: keeper.shell.run(f"%%step read\nlength = len(big) + {next(numbers)}"),
    )
    expect(room, "read", "ran")
    what = f"step that reads a {size // MB} MB array, over one BLAKE3 pass"
    return [Row("read", what, result.times, "x", 2.0, str(result))]


def many_dicts(room: Path, *, count: int, rounds: int) -> list[Row]:
    """Many small dicts, over pickling and writing them."""
    value, what = dicts(count), f"{count:,} small dicts"
    keeper = Keeper(room, value)
    kept = over_pickle(keeper, room / "raw", value, rounds=rounds)
    numbers = itertools.count()
    read = paired(
        rounds,
        lambda: seconds(lambda: pickle.dumps(value, 5)),
        lambda: keeper.shell.run(f"%%step read\nlength = len(list(big)) + {next(numbers)}"),
    )
    expect(room, "read", "ran")
    told = f"step that reads {what}, over one pickle.dumps"
    keeper.shell.load(False)
    one = one_dict(count)
    kept_one = over_pickle(Keeper(room, one), room / "raw", one, rounds=rounds)
    over = "over pickle.dumps and a write"
    return [
        Row("keep", f"{what}, {over}", kept.times, "x", 1.2, str(kept)),
        Row("keep", f"one dict of {count:,}, {over}", kept_one.times, "x", None, str(kept_one)),
        Row("read", told, read.times, "x", None, str(read)),
    ]


def many_objects(room: Path, *, count: int, rounds: int) -> list[Row]:
    """Many objects of one kind, over pickling and writing them."""
    found = []
    for kind, make in OBJECTS.items():
        value = [make(number) for number in range(count)]
        keeper = Keeper(room, value)
        kept = over_pickle(keeper, room / "raw", value, rounds=rounds)
        keeper.shell.load(False)
        what = f"{count:,} {kind}, over pickle.dumps and a write"
        found.append(Row("keep", what, kept.times, "x", None, str(kept)))
    return found


def fitted_forest(room: Path, *, rows: int, rounds: int) -> list[Row]:
    """A fitted forest of 100 trees, over pickling and writing it."""
    what = f"forest fitted to {rows:,} rows, over pickle.dumps and a write"
    if importlib.util.find_spec("sklearn") is None:
        return [Row("keep", what, None, "x", beside="left out: sklearn is not installed")]
    value = forest(rows)
    kept = over_pickle(Keeper(room, value), room / "raw", value, rounds=rounds)
    return [Row("keep", what, kept.times, "x", 1.2, str(kept))]


def over_pickle(keeper: Keeper, raw: Path, value: Any, *, rounds: int) -> Pair:
    """Keep a value, and pickle it and write that to a file."""

    def floor() -> float:
        raw.unlink(missing_ok=True)
        return seconds(lambda: write(raw, [pickle.dumps(value, 5)]))

    return paired(rounds, floor, keeper.keep)


def bytes_stored(room: Path, *, rows: int) -> list[Row]:
    """What a store grows by, in columns of a frame of ten float columns."""
    import pandas as pd

    numbers = array(rows * 80).reshape(rows, 10)
    keeper = Keeper(room, pd.DataFrame(numbers, columns=[f"c{i}" for i in range(10)]))
    keeper.keep()
    cells: Iterable[tuple[str, str, float]] = (
        ("nothing changed", "big = big.copy()", 0.05),
        ("a column added", "big['new'] = big['c1'] * 2.5", 1.05),
        ("copied after that (blocks merge)", "big = big.copy()", 0.05),
        ("a column changed", "big['c3'] = big['c3'] + 0.5", 1.05),
        ("a column dropped", "big = big.drop(columns='c5')", 0.05),
    )
    found = []
    for number, (what, body, target) in enumerate(cells):
        before = bytes_in(room / "store")
        keeper.shell.run(f"%%step step_{number}\n{body}")
        expect(room, f"step_{number}", "ran")
        columns = (bytes_in(room / "store") - before) / (rows * 8)
        found.append(Row("bytes", what, columns, "columns", target))
    return [*found, _kept_again(keeper, numbers)]


def _kept_again(keeper: Keeper, numbers: Any) -> Row:
    """The same value once more: there is nothing to write, only to find that out."""
    memory, rounds = memoryview(numbers.reshape(-1)).cast("B"), itertools.count()
    before = bytes_in(keeper.room / "store" / "blobs")
    took = paired(
        3,
        lambda: seconds(lambda: blake3.blake3(memory, max_threads=blake3.blake3.AUTO)),
        lambda: keeper.shell.run(f"%%step again\nbig, one = ready_made, {next(rounds)}"),
    )
    if bytes_in(keeper.room / "store" / "blobs") - before > 1000:
        raise RuntimeError("what is there already should not have been written again")
    what = "nothing changed: time over one BLAKE3 pass"
    return Row("bytes", what, took.times, "x", 1.5, str(took))
