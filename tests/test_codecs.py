"""Values come back from a pack as they were: content, sharing, memory, and their digest."""

from __future__ import annotations

import array
import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import gc
import importlib.util
import itertools
import json
import os
import pathlib
import pickle
import random
import re
import subprocess
import sys
import threading
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import PIL.Image
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec import structs
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipestate.errors import DamageError, PackError
from pipestate.record import Blob
from pipestate.store import (
    codecs,
    content,
    digests,
    loading,
    pickler,
    rebuild,
    trees,
    versions,
)
from pipestate.store.phases import Phase

mpl.use("Agg")
BIG = 10_000
ROWS = [{"id": at, "text": f"row {at}", "tags": ["all", at / 2]} for at in range(3000)]


# --- packing and loading as the store does it ----------------------------------------------------


def no_definitions(name: str) -> object:
    """A pack that should refer to no definition has asked for one."""
    raise AssertionError(f"asked for {name}")


def load(
    pack: codecs.Pack,
    namespace: dict[str, Any] | None = None,
    resolve: Callable[[str], object] = no_definitions,
) -> dict[str, Any]:
    """The values of a pack, from writable copies of its buffers, as mapped files are."""
    buffers = [memoryview(bytearray(buffer)) for buffer in pack.buffers]
    space = {} if namespace is None else namespace
    return loading.unpack(pack.stream, buffers, resolve=resolve, namespace=space)


def pack_tree(value: object) -> codecs.Pack | None:
    """The value as a tree under the name `x`."""
    pieces: list[bytes] = []

    def put(piece: bytes) -> Blob:
        pieces.append(piece)
        return Blob(content.digest(piece), len(piece))

    packed = codecs.pack_tree("x", value, put)
    return packed and codecs.Pack(packed[0], tuple(map(memoryview, pieces)), ())


def again(values: Mapping[str, object], namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """The values packed and loaded."""
    return load(codecs.pack(values, namespace=namespace), namespace)


def again_one(value: Any) -> Any:
    """One value packed and loaded."""
    return again({"x": value})["x"]


def joint(values: Mapping[str, object]) -> str | None:
    """The digest over all of the values and what they share."""
    streams = {name: digests.stream(value, name=name) for name, value in values.items()}
    return digests.joint(streams, sorted(streams))


def notebook(source: str, **names: Any) -> dict[str, Any]:
    """A notebook's namespace after a cell."""
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__, **names}
    exec(compile(source, "cell", "exec", dont_inherit=True), namespace)  # as a kernel runs a cell
    return namespace


# --- the table of values -------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    tags: list[str] = dataclasses.field(default_factory=list)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self) -> None:
        self.a = [1]


Pair = collections.namedtuple("Pair", "left right")


def frame() -> pd.DataFrame:
    """A frame with a column of each kind."""
    days = pd.date_range("2020", periods=5)
    return pd.DataFrame(
        {
            "number": np.arange(5.0),
            "whole": range(5),
            "flag": [True, False, True, False, True],
            "text": [*list("abcd"), None],
            "day": days,
            "zoned": pd.date_range("2020", periods=5, tz="Europe/Paris"),
            "span": days - days[0],
            "period": days.to_period("M"),
            "kind": pd.Categorical(list("aabbc"), ordered=True),
            "nullable": pd.array([1, None, 3, 4, 5], dtype="Int64"),
            "arrow": pd.array([1.5, None, 2, 3, 4], dtype="float64[pyarrow]"),
            "object": pd.Series([1, "a", None, [1], 2.0], dtype=object),
            "plain text": pd.Series(list("abcde"), dtype=object),
            "interval": pd.interval_range(0, 5),
            "sparse": pd.arrays.SparseArray([0, 0, 1, 0, 0]),
        }
    )


def described() -> pd.DataFrame:
    """A frame with attributes and a rule for its labels."""
    made = pd.DataFrame({("a", 1): [1, 2], ("a", 2): [3, 4]}, index=["x", "y"])
    made.attrs["source"] = "survey"
    return made.set_flags(allows_duplicate_labels=False)


def figure() -> Any:
    """A figure that pyplot knows."""
    from matplotlib import pyplot

    made, axes = pyplot.subplots()
    axes.plot([1, 2, 3], label="line")
    axes.legend()
    pyplot.close(made)
    return made


def nested() -> list[Any]:
    """A list that holds itself and one object twice."""
    inner: list[Any] = [1]
    outer = [inner, inner]
    outer.append(outer)
    return outer


def caused() -> Exception:
    """An exception that came from another."""
    made = KeyError("k")
    made.__cause__ = OSError(2, "gone")
    made.note = [1]  # type: ignore[attr-defined]
    return made


def ordered() -> collections.OrderedDict[str, int]:
    """An ordered dict whose order is not that of its making."""
    made = collections.OrderedDict(a=1, b=2)
    made.move_to_end("a")
    return made


def forest() -> Any:
    """A fitted forest."""
    features = np.arange(40.0).reshape(20, 2)
    return RandomForestClassifier(3, random_state=0).fit(features, np.arange(20) % 2)


def pipeline() -> Any:
    """A fitted pipeline."""
    features = np.arange(40.0).reshape(20, 2)
    return make_pipeline(StandardScaler(), LinearRegression()).fit(features, np.arange(20.0))


def aligned() -> Any:
    """A structured array with a gap between its fields."""
    made = np.zeros(3, np.dtype([("name", "U3"), ("flag", "i1"), ("value", "f8")], align=True))
    made["value"] = 1.5
    return made


VALUES: dict[str, Callable[[], Any]] = {
    "builtins": lambda: [1, 1.5, True, None, "a", b"b", 1j, -0.0, 10**30, range(3), slice(1, 2)],
    "nan": lambda: float("nan"),
    "set": lambda: {"a", "b", "c", "dd", 1, (2, "x")},
    "frozenset": lambda: frozenset("abcdef"),
    "shared and cyclic": nested,
    "bytearray": lambda: bytearray(b"abc"),
    "dates": lambda: [
        datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        datetime.date(2020, 1, 1),
        datetime.timedelta(1),
    ],
    "numbers": lambda: [decimal.Decimal("1.10"), fractions.Fraction(1, 3), uuid.UUID(int=3)],
    "path": lambda: pathlib.Path("a/b"),
    "pattern": lambda: re.compile("a+", re.IGNORECASE),
    "enum": lambda: Colour.RED,
    "dataclass": lambda: Point(1, ["a"]),
    "slots": Slotted,
    "namedtuple": lambda: Pair([1], "x"),
    "defaultdict": lambda: collections.defaultdict(list, a=[1]),
    "ordered dict": ordered,
    "counter": lambda: collections.Counter("hello"),
    "deque": lambda: collections.deque([1, [2]], maxlen=5),
    "chain map": lambda: collections.ChainMap({"a": 1}, {"b": 2}),
    "array": lambda: array.array("d", [1.5, 2.5]),
    "big array": lambda: array.array("i", range(BIG)),
    "memoryview": lambda: memoryview(bytearray(b"abcd")),
    "namespace": lambda: types.SimpleNamespace(a=[1], b="x"),
    "partial": lambda: functools.partial(int, base=2),
    "map": lambda: map(str, [1, 2]),
    "random": lambda: random.Random(3),
    "module": lambda: [json, os.path],
    "builtin functions": lambda: [len, os.getcwd, str.upper, [1].append],
    "exception": lambda: ValueError("no", 3),
    "exception with a cause": caused,
    "mapping proxy": lambda: types.MappingProxyType({"a": [1]}),
    "numpy": lambda: np.arange(12.0).reshape(3, 4),
    "numpy big": lambda: np.arange(float(BIG)),
    "numpy scalar": lambda: [
        np.float64(1.5),
        np.int8(3),
        np.datetime64("2020-01-01"),
        np.str_("a"),
    ],
    "numpy 0-d": lambda: np.array(5),
    "numpy empty": lambda: np.zeros((0, 3)),
    "numpy fortran": lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "numpy transposed": lambda: np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    "numpy strided": lambda: np.arange(100)[::7],
    "numpy reversed": lambda: np.arange(BIG)[::-1],
    "numpy broadcast": lambda: np.broadcast_to(np.arange(3), (4, 3)),
    "numpy read-only": lambda: np.frombuffer(b"abcd" * BIG, "u1"),
    "numpy byte order": lambda: np.arange(3, dtype=">i4"),
    "numpy dates": lambda: np.array(["2020-01-01", "NaT"], "M8[ns]"),
    "numpy spans": lambda: np.array([1, 2], "m8[h]"),
    "numpy text": lambda: np.array(["a", "bcd"]),
    "numpy bytes": lambda: np.array([b"a", b"bcd"]),
    "numpy strings": lambda: np.array(["a", "bcd"], np.dtypes.StringDType()),
    "numpy half": lambda: np.arange(3, dtype="f2"),
    "numpy structured": lambda: np.array([("a", 1)], [("x", "U3"), ("y", "i4", (2,))]),
    "numpy aligned": aligned,
    "numpy objects": lambda: np.array([[1, "a"], [None, [1]]], object),
    "numpy objects fortran": lambda: np.array([[1, "a"], [None, [1]]], object).T,
    "numpy masked": lambda: np.ma.array([1.0, 2, 3], mask=[0, 1, 0], fill_value=9),
    "numpy unmasked": lambda: np.ma.array([1.0, 2, 3]),
    "numpy masked hard": lambda: np.ma.array([1, 2], mask=[0, 1], hard_mask=True),
    "numpy matrix": lambda: np.array([[1, 2]]).view(np.matrix),
    "numpy records": lambda: np.rec.array([(1, "a")], dtype=[("n", "i4"), ("t", "U1")]),
    "numpy generator": lambda: np.random.default_rng(3),
    "numpy random state": lambda: np.random.RandomState(3),
    "pandas frame": frame,
    "pandas wide": lambda: pd.DataFrame(np.arange(600.0).reshape(3, 200)),
    "pandas long": lambda: pd.DataFrame(np.arange(4.0 * BIG).reshape(-1, 4), columns=list("abcd")),
    "pandas described": described,
    "pandas empty": lambda: frame().iloc[:0],
    "pandas no columns": lambda: frame().iloc[:, :0],
    "pandas filtered": lambda: frame()[frame()["whole"] > 2],
    "pandas transposed": lambda: frame().T,
    "pandas duplicate columns": lambda: pd.DataFrame([[1, 2.0]], columns=["a", "a"]),
    "pandas multi-index": lambda: frame().set_index(["whole", "text"])[["number"]],
    "pandas series": lambda: pd.Series([1.5, 2.5], name=("a", 1), index=["x", "y"]),
    "pandas text": lambda: pd.Series(["a", None, "c"]),
    "pandas Arrow numbers": lambda: pd.Series([1.5, None], dtype="float64[pyarrow]"),
    "pandas days": lambda: pd.Series(pd.date_range("2020", periods=3, tz="UTC")),
    "pandas indexes": lambda: [
        pd.Index([1, 2], name="n"),
        pd.RangeIndex(3),
        pd.date_range("2020", periods=3, freq="h"),
        pd.CategoricalIndex(["a", "b"]),
        pd.MultiIndex.from_product([[1, 2], ["a"]], names=["x", "y"]),
        pd.interval_range(0, 3),
    ],
    "pandas arrays": lambda: [
        pd.array([1, None]),
        pd.array(["a", None]),
        pd.array([True, None]),
        pd.date_range("2020", periods=3).array,
        pd.Categorical(["b", "a"]),
    ],
    "pandas scalars": lambda: [pd.Timestamp("2020"), pd.Timedelta(1), pd.NA, pd.NaT],
    "pandas grouped": lambda: frame().groupby("kind", observed=True)["number"],
    "pyarrow table": lambda: pa.table({"x": range(5), "s": ["a", None, "b", "c", "d"]}),
    "pyarrow slice": lambda: pa.table({"x": range(BIG), "s": ["text"] * BIG}).slice(100, 7),
    "pyarrow arrays": lambda: [
        pa.array([1, None, 3]),
        pa.array([[1], None, [2, 3]]),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array([{"a": 1, "b": None}, None]),
        pa.nulls(3),
        pa.array([True, None]),
        pa.chunked_array([[1], [2, 3]]),
        pa.scalar(1),
        pa.schema([("a", pa.int8())]),
    ],
    "polars": lambda: pl.DataFrame(
        {
            "x": [1, None, 3],
            "s": ["a", None, "c"],
            "l": [[1], [2, 3], []],
            "c": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
            "e": pl.Series(["a", "b", "a"], dtype=pl.Enum(["a", "b"])),
            "d": [datetime.date(2020, 1, 1)] * 3,
            "t": [datetime.datetime(2020, 1, 1)] * 3,
            "o": pl.Series([{"a": 1}, {"a": 2}, None]),
            "n": pl.Series([decimal.Decimal("1.5")] * 3),
            "b": [True, None, False],
        }
    ),
    "polars series": lambda: pl.Series("x", [1.5, None]),
    "polars slice": lambda: pl.Series("x", range(BIG))[10:15],
    "scipy sparse": lambda: scipy.sparse.random(20, 20, 0.2, "csr", rng=3),
    "sklearn forest": forest,
    "sklearn pipeline": pipeline,
    "image": lambda: PIL.Image.new("RGB", (40, 40), (1, 2, 3)),
    "image bits": lambda: PIL.Image.new("1", (5, 3), 1),
    "image palette": lambda: PIL.Image.new("RGB", (4, 4), (1, 2, 3)).quantize(4),
    "figure": figure,
}

if importlib.util.find_spec("torch"):
    import torch

    def trained() -> Any:
        """A module and an optimizer after a step."""
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(40, 40), torch.nn.BatchNorm1d(40))
        optimizer = torch.optim.Adam(module.parameters())
        module(torch.ones(2, 40)).sum().backward()
        optimizer.step()
        return {"module": module, "optimizer": optimizer, "state": module.state_dict()}

    VALUES |= {
        "torch": lambda: torch.arange(6.0).reshape(2, 3),
        "torch big": lambda: torch.arange(float(BIG)),
        "torch 0-d": lambda: torch.tensor(True),
        "torch empty": lambda: torch.empty(0, 3),
        "torch strided": lambda: torch.arange(100)[::7],
        "torch transposed": lambda: torch.arange(float(BIG)).reshape(100, 100).T,
        "torch expanded": lambda: torch.arange(3).expand(4, 3),
        "torch bfloat16": lambda: torch.ones(2, dtype=torch.bfloat16),
        "torch conjugate": lambda: torch.ones(2, dtype=torch.complex64).conj(),
        "torch leaf": lambda: torch.ones(2, requires_grad=True),
        "torch computed": lambda: torch.ones(2, requires_grad=True) * 2,
        "torch parameter": lambda: torch.nn.Parameter(torch.ones(3)),
        "torch sparse": lambda: torch.eye(3).to_sparse(),
        "torch trained": trained,
        "torch scalars": lambda: [torch.float32, torch.device("cpu"), torch.Size([1, 2])],
    }
UNWALKED = {"torch sparse"}
"""Values that have no digest: they are kept by nobody, and come back all the same."""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The digest of each value before, and after loading in a process with another hash seed."""
    packs, before = {}, {}
    for name, make in VALUES.items():
        value = make()
        before[name] = digests.stream(value).digest
        made = codecs.pack({"x": value})
        packs[name] = (made.stream, [bytes(buffer) for buffer in made.buffers])
    path = tmp_path_factory.mktemp("packs") / "packs"
    path.write_bytes(pickle.dumps(packs))
    script = (
        "import pickle, sys\n"
        "from pipestate.store import digests, loading\n"
        "for name, (stream, buffers) in pickle.load(open(sys.argv[1], 'rb')).items():\n"
        "    views = [memoryview(bytearray(b)) for b in buffers]\n"
        "    x = loading.unpack(stream, views, resolve=None, namespace={})['x']\n"
        "    print(name, digests.stream(x).digest, sep='\\t')\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "MPLBACKEND": "Agg"}
    environment["PYTHONPATH"] = os.pathsep.join(["tests", "."])
    root = pathlib.Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(path)],
        capture_output=True, text=True, env=environment, cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    after = dict(line.split("\t") for line in done.stdout.splitlines())
    return {name: (before[name], after.get(name)) for name in VALUES}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in VALUES if name not in UNWALKED])
def test_a_value_has_its_digest_again_in_another_process(
    name: str, elsewhere: dict[str, Any]
) -> None:
    """Content and sharing survive, whatever the hash seed."""
    before, after = elsewhere[name]
    assert after == before


@pytest.mark.parametrize("name", [name for name in VALUES if name not in UNWALKED])
def test_a_value_has_its_digest_again_in_this_process(name: str) -> None:
    """Also where it is packed a second time: loaded memory packs as made memory does."""
    value = VALUES[name]()
    once = again_one(value)
    twice = again_one(once)
    assert type(once) is type(value)
    assert [digests.stream(v).digest for v in (once, twice)] == [digests.stream(value).digest] * 2


def test_a_tensor_that_has_no_digest_comes_back_all_the_same() -> None:
    """Sparse tensors go torch's own way."""
    torch = pytest.importorskip("torch")
    assert torch.equal(again_one(torch.eye(3).to_sparse()).to_dense(), torch.eye(3))


# --- what is shared ------------------------------------------------------------------------------


def shared_values() -> dict[str, dict[str, Any]]:
    """Groups of values that see the same memory, or the same objects."""
    line, grid = np.arange(2000.0), np.arange(12.0).reshape(3, 4)
    complexes, records = np.arange(10) * (1 + 2j), np.zeros(5, [("x", "i4"), ("y", "f8")])
    objects, masked = np.array([1, [2], 3, 4], object), np.ma.array(np.arange(5.0), mask=[0] * 5)
    raw, typed = bytearray(b"x" * 5000), array.array("d", range(1000))
    watched = line.view()
    watched.flags.writeable = False
    table = pd.DataFrame({"a": line, "b": line * 2, "t": pd.date_range("2020", periods=2000)})
    column, pairs, counts = table["a"], grid.copy(), {"a": [1]}
    index = pd.Index(np.arange(5.0))
    return {
        "an array and a view": {"a": line, "v": line[:5]},
        "two views of an array that is gone": {"v": np.arange(99)[2:4], "w": line[6:9]},
        "two views apart": {"v": line[2:4], "w": line[6:9]},
        "a transpose first": {"t": grid.T, "g": grid},
        "halves of complex numbers": {"r": complexes.real, "i": complexes.imag},
        "a field": {"s": records, "y": records["y"]},
        "columns in turn": {"x": grid[:, ::2], "y": grid[:, 1::2]},
        "a reversed view": {"a": line[::-1], "b": line[:3]},
        "a read-only view": {"a": line, "ro": watched},
        "inside containers": {"l": [line, line[1:]], "d": {"k": line[5:]}},
        "bytes of a bytearray": {"b": raw, "a": np.frombuffer(raw, "u1")},
        "two views of a bytearray": {"a": np.frombuffer(raw, "u1"), "b": np.frombuffer(raw, "u2")},
        "items of an array.array": {"b": typed, "a": np.frombuffer(typed, "d")},
        "a memoryview": {"m": memoryview(raw), "b": raw},
        "objects": {"o": objects, "w": objects[1:], "s": objects[::-2]},
        "masked data": {"m": masked, "d": masked.data},
        "a matrix": {"g": grid, "m": grid.view(np.matrix)},
        "a frame and its column": {"df": table, "s": column},
        "a frame and an array of it": {"df": table, "v": table["a"].to_numpy()},
        "an array of a frame and it": {"a": table["a"].to_numpy(), "df": table},
        "frame, column and array": {"df": table, "s": column, "v": column.to_numpy()},
        "days and their array": {"df": table, "v": table["t"].to_numpy()},
        "a frame and its groups": {"df": table, "g": table.groupby("a")},
        "a frame over an array": {"df": pd.DataFrame(pairs, copy=False), "a": pairs},
        "series over an array": {
            "s": pd.Series(line, copy=False),
            "t": pd.Series(line, copy=False),
            "a": line,
        },
        "an index and its array": {"i": index, "v": index.to_numpy()},
        "views of a dict": {"d": counts, "k": counts.keys(), "v": counts.values()},
    }


@pytest.mark.parametrize("case", shared_values())
def test_what_is_shared_is_shared_again(case: str) -> None:
    """The joint digest, which tells who sees whose memory, is the same twice over."""
    values = shared_values()[case]
    once = again(values)
    twice = again(once)
    assert [joint(once), joint(twice)] == [joint(values)] * 2


def test_writing_to_a_restored_array_shows_in_its_view() -> None:
    """Views are views again, on one buffer."""
    line = np.arange(float(BIG))
    made = codecs.pack({"a": line, "v": line[10:20]})
    found = load(made)
    found["a"][10] = -1
    assert found["v"][0] == -1
    assert [buffer.nbytes for buffer in made.buffers] == [line.nbytes]


def test_a_lone_view_does_not_bring_what_it_is_a_view_of() -> None:
    """A few elements of a big array are a few elements."""
    made = codecs.pack({"v": np.arange(1e6)[:3]})
    assert made.buffers == ()
    assert len(made.stream) < 1000


def test_series_of_one_frame_stay_apart() -> None:
    """pandas copies before it writes, and goes on doing so."""
    table = pd.DataFrame({"a": np.arange(float(BIG)), "b": 1.0})
    found = again({"df": table, "s": table["a"]})
    found["s"].iloc[0] = 99
    assert found["df"]["a"].iloc[0] == 0


def test_frame_column_and_array_keep_copy_on_write() -> None:
    """Where an array sees the memory too, pandas still knows who shares a block."""
    table = pd.DataFrame({"a": np.arange(float(BIG)), "b": 1.0})
    column = table["a"]
    found = again({"df": table, "s": column, "v": column.to_numpy()})
    found["s"].iloc[0] = 99
    assert (found["df"]["a"].iloc[0], found["v"][0]) == (0, 0)


def test_writing_to_a_restored_frame_shows_in_the_array_that_saw_it() -> None:
    """As it does before a restart."""
    table = pd.DataFrame({"a": np.arange(float(BIG)), "b": 1.0})
    found = again({"df": table, "v": table["a"].to_numpy()})
    found["df"].iloc[0, 0] = 42
    assert found["v"][0] == 42


def test_equal_arrays_that_share_nothing_stay_apart() -> None:
    """Two buffers with the same bytes are two."""
    found = again({"a": np.zeros(BIG), "b": np.zeros(BIG)})
    found["a"][0] = 1
    assert found["b"][0] == 0


def test_tensors_and_arrays_over_one_storage_share_it_again() -> None:
    """`t`, a view of it and its array are one memory."""
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(BIG)
    made = codecs.pack({"t": tensor, "v": tensor[5:].reshape(-1, 5), "a": tensor.numpy()})
    found = load(made)
    found["a"][6] = 7
    assert (found["t"][6].item(), found["v"][0, 1].item()) == (7, 7)
    assert [buffer.nbytes for buffer in made.buffers] == [4 * BIG]


def test_an_optimizer_goes_on_training_its_module() -> None:
    """Parameters, state dict and optimizer are about the same tensors."""
    torch = pytest.importorskip("torch")
    found = again(trained())
    module, optimizer = found["module"], found["optimizer"]
    assert optimizer.param_groups[0]["params"][0] is module[0].weight
    assert found["state"]["0.weight"].data_ptr() == module[0].weight.data_ptr()
    assert torch.equal(module[0].weight.grad, module[0].weight.grad)
    assert module[0].weight.grad is not None


def test_a_computed_tensor_never_pretends_to_have_its_graph() -> None:
    """Its value is kept; asking it for gradients says what to do."""
    torch = pytest.importorskip("torch")
    found = again_one(torch.ones(3, requires_grad=True).sum())
    assert (found.item(), found.requires_grad, found.is_leaf) == (3, True, False)
    with pytest.raises(RuntimeError, match="run the step that makes it again"):
        found.backward()


@st.composite
def windows(draw: st.DrawFn) -> list[tuple[slice, slice]]:
    """Windows on a grid of 6 by 8."""
    steps = st.sampled_from([-2, -1, 1, 2, 3])

    def cut(size: int) -> slice:
        low = draw(st.integers(0, size - 1))
        high = draw(st.integers(low + 1, size))
        step = draw(steps)
        return (
            slice(low, high, step) if step > 0 else slice(high - 1, low - 1 if low else None, step)
        )

    return [(cut(6), cut(8)) for _ in range(draw(st.integers(1, 4)))]


@settings(deadline=None)
@given(windows(), st.booleans(), st.sampled_from(["f8", "i2", "O"]))
def test_any_views_see_each_other_as_before(
    cuts: list[tuple[slice, slice]], with_whole: bool, dtype: str
) -> None:
    """A write through one view shows in the others exactly where it did."""
    grid = np.arange(48, dtype="i2").astype(dtype).reshape(6, 8)
    views = [grid[rows, columns] for rows, columns in cuts] + [grid] * with_whole
    found = again_one(views)
    for at in range(len(views)):
        views[at][0, 0] = found[at][0, 0] = 1000 + at
    assert [view.tolist() for view in found] == [view.tolist() for view in views]


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary()
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.frozensets(leaves, max_size=4)
        | st.builds(lambda item: [item, item, {"again": item}], inner)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), values))
def test_any_value_has_its_digest_again(roots: dict[str, Any]) -> None:
    """Content and sharing, over all roots of a pack."""
    assert joint(again(roots)) == joint(roots)


@settings(deadline=None)
@given(values | st.complex_numbers(), st.permutations("=ab"), st.integers(1, 3))
@example("x" * (2 << 20), ["=", "a"], 2)
@example(b"x" * (2 << 20), ["a"], 1)
@example("\ud800", ["a"], 1)
@example(tuple([at] for at in range(600)), ["=", "a"], 2)
@example(["x" * (80 << 10)], ["=", "a"], 2)
@example({"a": 1, "b": "x", "c": 0.5, "d": None, 'e\n"': True}, ["=", "a"], 2)
@example({"a": 1, "b": b"x", "c": 1j}, ["=", "a", "b"], 3)
@example({"a": "x" * (80 << 10)}, ["=", "a"], 2)
@example({str(at): at for at in range(64)}, ["a"], 1)
@example({str(at): at for at in range(65)}, ["=", "a"], 2)
@example({1: 1, "b": 2}, ["=", "a"], 2)
@example({}, ["=", "a"], 2)
def test_a_plain_value_is_kept_as_any_other_is(value: object, some: list[str], count: int) -> None:
    """Digests, shares, parts and bytes, though a shorter way is taken."""
    names = some[:count]

    def put(data: bytes | content.View, **_: object) -> Blob:
        return Blob(content.digest(data), len(data) if isinstance(data, bytes) else data.nbytes)

    streams = dict.fromkeys(names, digests.stream(value))
    component = versions.Component(dict.fromkeys(names, value), streams)
    kept = versions.keep(component, versions.describe(component), namespace={}, phase=Phase(put))
    assert versions.keep_one(names, value, namespace={}, phase=Phase(put)) == kept


def test_a_dict_that_a_thread_goes_on_in_is_kept_as_it_was_at_one_moment() -> None:
    """Its digest, its parts and its bytes tell of the same."""
    value: dict[str, Any] = {f"k{at}": at for at in range(8)}
    is_done, blobs = threading.Event(), dict[str, bytes]()

    def go_on() -> None:
        for at in itertools.count():
            value[f"k{at % 8}"] = at if at % 3 else str(at)
            value.pop(f"k{(at + 3) % 8}", None)
            if is_done.is_set():
                return

    def put(data: bytes | content.View, **_: object) -> Blob:
        name = content.digest(data)
        blobs[name] = bytes(data[:])
        return Blob(name, len(blobs[name]))

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=go_on)
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        kept = [versions.keep_one(["n"], value, namespace={}, phase=Phase(put)) for _ in range(400)]
    finally:
        is_done.set()
        thread.join()
        sys.setswitchinterval(interval)
    for one in kept:
        assert one.stream is not None
        stream = blobs[one.stream.digest]
        fetch = lambda _, stream=stream: [memoryview(bytearray(stream))]  # noqa: E731
        again = loading.load(one, fetch=fetch, resolve=no_definitions, namespace={})["n"]
        assert digests.stream(again).digest == one.digest
        assert digests.parts(again, name="n") == one.parts


@pytest.mark.parametrize("code", "?bBhHiIlLqQefdgFDG")
def test_a_number_of_numpys_comes_back_as_it_was(code: str) -> None:
    """Though most of them are not loaded to see."""
    number = np.ones(3, code)[0]
    blobs: list[bytes] = []

    def put(data: bytes | content.View, **_: object) -> Blob:
        blobs.append(bytes(data[:]))
        return Blob(content.digest(data), len(blobs[-1]))

    kept = versions.keep_one(["n"], number, namespace={}, phase=Phase(put))
    fetch = lambda _: [memoryview(bytearray(blobs[0]))]  # noqa: E731
    again = loading.load(kept, fetch=fetch, resolve=no_definitions, namespace={})["n"]
    assert (again.dtype, again) == (number.dtype, number)
    assert digests.stream(again).digest == kept.digest


@settings(deadline=None)
@given(values, st.integers(1, 3))
def test_a_tree_comes_back_from_its_pieces(value: Any, size: int) -> None:
    """However many there are."""
    assume(trees.containers(value) is not None)
    found = trees.joined(memoryview(piece) for piece in trees.pieces(value, size))
    assert trees.dumps(found) == trees.dumps(value)


def test_an_altered_piece_of_a_tree_is_never_read() -> None:
    """marshal would believe it."""
    pack = pack_tree(ROWS)
    assert pack is not None
    altered = bytearray(pack.buffers[0])
    altered[-2] ^= 1
    pack = structs.replace(pack, buffers=(memoryview(altered), *pack.buffers[1:]))
    with pytest.raises(DamageError):
        load(pack)


def test_a_text_that_is_often_in_a_tree_is_packed_once() -> None:
    """As a pickle would."""
    pack = pack_tree(["text" * 250] * 1000)
    assert pack is not None
    assert sum(buffer.nbytes for buffer in pack.buffers) < 10_000


@pytest.mark.parametrize(
    ("value", "is_cut"),
    [
        (ROWS, True),
        ({"rows": ROWS, "of": (ROWS[0]["text"], None)}, True),
        (dict.fromkeys(range(2000), b"x" * 40), True),
        ([datetime.date(2020, 1, 1 + at % 28) for at in range(5000)], False),
    ],
    ids=["list", "nested", "dict", "dates"],
)
def test_a_big_tree_is_packed_in_pieces(value: Any, is_cut: bool) -> None:
    """Where marshal knows all that is in it."""
    pack = pack_tree(value)
    assert (pack is not None) == is_cut
    if pack is not None:
        found = load(pack)["x"]
        assert trees.dumps(found) == trees.dumps(value)


# --- memory --------------------------------------------------------------------------------------


def test_big_buffers_are_not_copied_into_the_pack() -> None:
    """They are the memory of the values."""
    line = np.arange(float(BIG))
    (buffer,) = codecs.pack({"x": line}).buffers
    assert np.shares_memory(np.frombuffer(buffer), line)


@pytest.mark.parametrize(
    ("value", "inside"),
    [
        (np.arange(float(BIG)), lambda x: x),
        (np.asfortranarray(np.ones((100, 100))), lambda x: x),
        (np.arange("2020", "2050", dtype="M8[D]"), lambda x: x.view("i8")),
        (np.ma.array(np.arange(float(BIG)), mask=False), lambda x: x.data),
        (pd.DataFrame({"a": np.arange(float(BIG)), "b": 1.0}), lambda x: x["a"].to_numpy()),
        (pd.Series(np.arange(float(BIG))), lambda x: x.to_numpy()),
        (pa.array(range(BIG)), lambda x: x.to_numpy()),
        (pl.Series(range(BIG)), lambda x: x.to_numpy()),
    ],
    ids=["numpy", "fortran", "dates", "masked", "frame", "series", "pyarrow", "polars"],
)
def test_buffers_are_used_without_a_copy(value: Any, inside: Callable[[Any], Any]) -> None:
    """What is mapped stays mapped."""
    made = codecs.pack({"x": value})
    buffers = [memoryview(bytearray(buffer)) for buffer in made.buffers]
    found = loading.unpack(made.stream, buffers, resolve=no_definitions, namespace={})["x"]
    assert any(np.shares_memory(inside(found), np.frombuffer(b, "u1")) for b in buffers)


def test_a_tensor_uses_its_buffer_without_a_copy() -> None:
    """Also one that is not contiguous."""
    torch = pytest.importorskip("torch")
    made = codecs.pack({"x": torch.ones(100, 100).T})
    (buffer,) = (bytearray(b) for b in made.buffers)
    found = loading.unpack(made.stream, [buffer], resolve=no_definitions, namespace={})["x"]
    found.zero_()
    assert buffer == bytearray(len(buffer))
    assert found.stride() == (1, 100)


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("size", [3, BIG])
def test_an_array_can_be_written_exactly_if_it_could(writable: bool, size: int) -> None:
    """Whether its bytes lie in the stream or beside it."""
    line = np.arange(float(size))
    line.flags.writeable = writable
    assert again_one(line).flags.writeable is writable


def test_a_column_added_is_one_new_buffer() -> None:
    """Also where a copy has put all columns into one block."""
    table = pd.DataFrame({"a": np.arange(float(BIG)), "b": np.ones(BIG)})
    before = {bytes(buffer) for buffer in codecs.pack({"df": table}).buffers}
    table["c"] = table["a"] * 2
    after = {bytes(buffer) for buffer in codecs.pack({"df": table.copy()}).buffers}
    assert len(after - before) == 1
    assert before < after


def test_a_frame_of_many_columns_comes_back_whole() -> None:
    """Its blocks stay together, so pandas need not put a thousand pieces together."""
    table = pd.DataFrame(np.ones((1000, 300)))
    found = again_one(table)
    found["new"] = 1.0  # would warn if the columns were pieces
    assert found.to_numpy().sum() == 301_000


def test_a_slice_of_a_table_keeps_the_slice() -> None:
    """Not the buffers behind it."""
    table = pa.table({"x": range(BIG), "s": ["text"] * BIG}).slice(100, 7)
    made = codecs.pack({"t": table})
    assert len(made.stream) + sum(buffer.nbytes for buffer in made.buffers) < 2000
    assert load(made)["t"].equals(table)


def test_the_collector_is_left_as_it_was() -> None:
    """Paused while loading, and only then."""
    gc.disable()
    try:
        again_one([1])
        assert not gc.isenabled()
    finally:
        gc.enable()
    again_one([1])
    assert gc.isenabled()


# --- code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [1, (x for x in ())], ids=["kept", "refused"])
def test_no_packer_waits_for_the_collector(last):
    """Whatever became of the pack: with its memo it would be a hundred megabytes, and CPython may
    crash where it takes apart what torch lent."""
    value = [np.zeros(10_000), aligned(), pd.DataFrame({"a": [1.5]}), last]
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(PackError):
            codecs.pack({"x": value})
        assert not [one for one in gc.get_objects() if type(one) is pickler.Packer]
    finally:
        gc.enable()


def test_a_function_sees_the_live_globals_again() -> None:
    """Not a copy of those that it read when it was packed."""
    space = notebook("k = 1\nf = lambda: k")
    found = again({"f": space["f"]}, space)["f"]
    space["k"] = 2
    assert found() == 2
    assert found.__globals__ is space


def test_a_function_is_loaded_into_the_namespace_that_is_given() -> None:
    """In a script this is another one than the notebook's."""
    space = notebook("k = 1\ndef f(a, b=2, *, c=3) -> int:\n    'Add.'\n    return a + b + c + k")
    found = load(codecs.pack({"f": space["f"]}, namespace=space), {"k": 100})["f"]
    assert found(1) == 106
    assert (found.__doc__, found.__name__, found.__module__) == ("Add.", "f", "__main__")
    assert found.__annotations__ == {"return": int}


def test_loading_a_function_leaves_the_namespace_alone() -> None:
    """No name is added to it, and none bound anew."""
    space = notebook("f = lambda: 1")
    given: dict[str, Any] = {}
    load(codecs.pack({"f": space["f"]}, namespace=space), given)
    assert given == {}


def test_closures_over_one_variable_share_it_again() -> None:
    """A counter and its reader."""
    space = notebook(
        "def make():\n"
        "    n = 0\n"
        "    def up():\n"
        "        nonlocal n\n"
        "        n += 1\n"
        "    return up, lambda: n\n"
        "up, read = make()\n"
    )
    found = again({"up": space["up"], "read": space["read"]}, space)
    found["up"]()
    assert (found["read"](), space["read"]()) == (1, 0)


def test_a_recursive_closure_calls_itself() -> None:
    """And not its twin from before."""
    space = notebook(
        "def make():\n    def f(n):\n        return 1 if n < 2 else n * f(n - 1)\n    return f\n"
        "f = make()\n"
    )
    found = again({"f": space["f"]}, space)["f"]
    assert found(5) == 120
    assert found.__closure__[0].cell_contents is found


def test_a_definition_is_referred_to_by_name() -> None:
    """Its instances are of the class that is there when they are loaded."""
    space = notebook("class P:\n    def __init__(self):\n        self.x = [1]\np = P()\nq = [P, p]")
    made = codecs.pack({"q": space["q"]}, definitions={id(space["P"]): "P"}, namespace=space)
    later = notebook("class P:\n    new = True")
    found = load(made, later, later.__getitem__)["q"]
    assert made.needs == ("P",)
    assert found[0] is later["P"]
    assert (type(found[1]), found[1].x) == (later["P"], [1])


def test_a_class_held_by_value_is_a_class_of_its_own() -> None:
    """Loading an earlier version never changes the class that is there."""
    space = notebook(
        "class C:\n"
        "    n = 1\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "    def get(self):\n"
        "        return k + self.n\n"
        "k = 1\n"
        "c = C()\n"
    )
    made = codecs.pack({"c": space["c"], "C": space["C"]}, namespace=space)
    space["C"].n = 5
    found = load(made, space)
    assert (type(found["c"]) is found["C"], found["C"] is space["C"]) == (True, False)
    assert (found["c"].get(), space["c"].get()) == (2, 6)


def test_kinds_of_classes_are_kept_by_value() -> None:
    """Enumerations, dataclasses, abstract classes, cached functions and properties."""
    space = notebook(
        "import abc, dataclasses, enum, functools\n"
        "class E(enum.Enum):\n    A = 1\n"
        "@dataclasses.dataclass\nclass D:\n    x: int\n    y: list = dataclasses.field("
        "default_factory=list)\n"
        "class B(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\n"
        "class I(B):\n    def f(self): return 1\n"
        "    @functools.cached_property\n    def p(self): return 2\n"
        "@functools.lru_cache(maxsize=3)\ndef memo(x): return x + 1\n"
    )
    names = {name: space[name] for name in ("E", "D", "B", "I", "memo")}
    found = again(names, space)
    assert found["E"].A.value == 1
    assert dataclasses.replace(found["D"](1), x=2).x == 2
    assert dataclasses.make_dataclass("S", [("z", int, 3)], bases=(found["D"],))(1).z == 3
    assert (found["I"]().f(), found["I"]().p) == (1, 2)
    assert (found["memo"](1), found["memo"].cache_parameters()["maxsize"]) == (2, 3)
    with pytest.raises(TypeError):
        found["B"]()


def test_what_can_be_imported_is_kept_by_name() -> None:
    """Functions, classes and modules of packages."""
    found = again({"x": [json.dumps, collections.OrderedDict, os.path, functools.lru_cache]})["x"]
    assert found == [json.dumps, collections.OrderedDict, os.path, functools.lru_cache]


def test_a_closure_of_a_module_sees_the_modules_globals(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is bound to the module as it is, not to a copy."""
    (tmp_path / "makers.py").write_text("k = 1\ndef make(n):\n    return lambda: n + k\n")
    monkeypatch.syspath_prepend(tmp_path)
    makers = importlib.import_module("makers")
    found = again_one(makers.make(10))
    monkeypatch.setattr(makers, "k", 5)
    assert found() == 15


def test_pickling_hooks_of_a_class_are_used() -> None:
    """As pickle uses them."""
    space = notebook(
        "class H:\n"
        "    def __getstate__(self):\n        return {'kept': 1}\n"
        "    def __setstate__(self, state):\n        self.__dict__ = {**state, 'set': True}\n"
        "h = H()\nh.dropped = (i for i in ())\n"
    )
    made = codecs.pack({"h": space["h"]}, definitions={id(space["H"]): "H"}, namespace=space)
    assert vars(load(made, space, space.__getitem__)["h"]) == {"kept": 1, "set": True}


def test_what_an_exception_came_from_comes_back() -> None:
    """Cause, context and whether it is shown; pickle leaves them out."""
    made = again_one(caused())
    assert (repr(made.__cause__), made.__suppress_context__) == (repr(OSError(2, "gone")), True)
    assert made.note == [1]


def test_an_instance_that_passes_every_name_on_comes_back() -> None:
    """It is not asked for `__setstate__` before it has the attribute that it passes names on to."""
    space = notebook(
        "class Proxy:\n"
        "    def __init__(self):\n        self.inner = [1]\n"
        "    def __getattr__(self, name):\n        return getattr(self.inner, name)\n"
        "p = Proxy()"
    )
    made = again({"p": space["p"]}, space)["p"]
    assert (made.inner, made.count(1)) == ([1], 1)


def test_a_figure_opens_no_window() -> None:
    """pyplot does not get to know of it."""
    from matplotlib import pyplot

    made, axes = pyplot.subplots()
    axes.plot([1, 2])
    try:
        before = pyplot.get_fignums()
        found = again_one(made)
        assert pyplot.get_fignums() == before
        assert found.axes[0].lines[0].get_ydata().tolist() == [1, 2]
    finally:
        pyplot.close(made)


# --- what cannot be kept -------------------------------------------------------------------------


def exhausted() -> Iterator[str]:
    """A map that has been gone through."""
    made = map(str, [1])
    list(made)
    return made


class Unwilling:
    def __reduce__(self) -> str:
        raise ZeroDivisionError("not today")


def held() -> dict[str, tuple[Callable[[], Any], str, str]]:
    """Values, the type in them that cannot be kept, and its place."""
    return {
        "a generator": (lambda: (i for i in ()), "generator", "x"),
        "a lock": (lambda: {"k": [threading.Lock()]}, "lock", "x['k'][0]"),
        "an attribute": (
            lambda: [1, 2, types.SimpleNamespace(gen=(i for i in ()))],
            "generator",
            "x[2].gen",
        ),
        "a closure": (lambda: (lambda a: lambda: a)(threading.Lock()), "lock", "x.a"),
        "an iterator that has ended": (exhausted, "list_iterator", "x"),
        "an iterator of a dict": (lambda: iter({"a": 1}), "dict_keyiterator", "x"),
        "a hook that raises": (lambda: {"a": Unwilling()}, "Unwilling", "x['a']"),
        "a part of a memoryview": (lambda: memoryview(b"abc")[1:], "memoryview", "x"),
    }


@pytest.mark.parametrize("case", held())
def test_what_cannot_be_kept_is_named_with_its_place(case: str) -> None:
    """The path is the one that the user would type."""
    make, kind, where = held()[case]
    with pytest.raises(PackError) as caught:
        codecs.pack({"fine": 1, "x": make()})
    assert (caught.value.kind, caught.value.where) == (kind, where)
    assert caught.value.message == f"{kind} at {where} cannot be kept"


def test_an_open_file_cannot_be_kept(tmp_path: pathlib.Path) -> None:
    """Nor is its content kept in its stead."""
    with (
        (tmp_path / "file").open("w+") as file,
        pytest.raises(PackError, match="TextIOWrapper at f"),
    ):
        codecs.pack({"f": file})


def test_deep_nesting_is_kept() -> None:
    """Five thousand lists, each in the next, and as many objects."""
    lists: list[Any] = []
    for _ in range(5000):
        lists = [lists]
    chain = None
    for _ in range(5000):
        chain = types.SimpleNamespace(next=chain)
    found = again({"lists": lists, "chain": chain})
    depth = 0
    while found["lists"]:
        found["lists"] = found["lists"][0]
        depth += 1
    while found["chain"]:
        found["chain"] = found["chain"].next
        depth += 1
    assert depth == 10_000


def test_nesting_beyond_all_bounds_is_an_error() -> None:
    """One line, and no crash."""
    limit = sys.getrecursionlimit()
    lists: list[Any] = []
    for _ in range(300_000):
        lists = [lists]
    with pytest.raises(PackError, match="list at deep is nested too deeply"):
        codecs.pack({"deep": lists})
    assert sys.getrecursionlimit() == limit


# --- plugins -------------------------------------------------------------------------------------


def test_a_plugin_reduces_its_type_and_a_broken_one_is_left_out(
    tmp_path: pathlib.Path,
) -> None:
    """Both installed, as packages are."""
    (tmp_path / "shapes.py").write_text(
        "class Square:\n    def __init__(self, side):\n        self.side = side\n"
        "        self.cache = (i for i in ())\n"
        "class Circle(Square): pass\n"
        "def reduce_square(obj):\n    return Square, (obj.side,)\n"
    )
    info = tmp_path / "shapes-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shapes\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[pipestate.codecs]\n"
        "shapes.Square = shapes:reduce_square\n"
        "shapes.Circle = shapes_not_there:reduce_circle\n"
    )
    script = (
        "import warnings, shapes\n"
        "from pipestate.store import codecs, loading\n"
        "from pipestate.errors import DamageError, PackError\n"
        "pack = codecs.pack({'x': shapes.Square(3)})\n"
        "print(loading.unpack(pack.stream, [], resolve=None, namespace={})['x'].side)\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    try:\n"
        "        codecs.pack({'x': shapes.Circle(3)})\n"
        "    except PackError as error:\n"
        "        print(error.where)\n"
        "print(*[w.message for w in caught], sep='\\n')\n"
    )
    root = str(pathlib.Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, str(tmp_path)])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.splitlines() == [
        "3",
        "x.cache",
        "plugin 'shapes.Circle' (shapes_not_there:reduce_circle) is left out: "
        "ModuleNotFoundError: No module named 'shapes_not_there'",
    ], done.stderr


def test_a_column_of_texts_is_a_buffer_of_its_own() -> None:
    """So a frame that gains a column beside it leaves only the new one."""
    texts = [f"text {at % 50}" for at in range(5000)]
    frame = pd.DataFrame({"x": np.arange(5000.0), "s": pd.Series(texts, dtype=object)})
    before = {bytes(one) for one in codecs.pack({"f": frame}).buffers}
    frame["y"] = np.arange(5000.0) / 7
    after = [bytes(one) for one in codecs.pack({"f": frame}).buffers]
    assert [one for one in after if one not in before] == [frame["y"].to_numpy().tobytes()]


@pytest.mark.parametrize("shape", [(6000,), (60, 100), (6000, 1, 1)])
def test_an_array_of_plain_objects_comes_back_as_it_was(shape: tuple[int, ...]) -> None:
    """Numbers, texts and None, of any shape."""
    items = [None, 1, 2.5, "text", b"bytes", True, 10**30, "\ud800", -1, float("inf")] * 600
    array = np.empty(6000, object)
    array[:] = items
    back = again({"a": array.reshape(shape)})["a"]
    assert (back.shape, back.dtype) == (shape, np.dtype(object))
    assert back.reshape(-1).tolist() == items
    assert list(map(type, back.flat)) == list(map(type, items))


def test_an_array_of_other_objects_is_pickled_with_what_they_lead_to() -> None:
    """As two that hold one list."""
    shared = [1]
    array = np.array([shared, 1j, *map(str, range(5000))], dtype=object)
    back = again({"a": array, "b": shared})
    assert back["a"][0] is back["b"]


def test_an_array_of_plain_objects_runs_no_code() -> None:
    """Bytes that name any make an error."""
    made = pickle.dumps([os.getcwd] * 2000)
    with pytest.raises(DamageError):
        rebuild.atoms(made, (2000,))


def test_what_the_dtype_of_an_array_of_plain_objects_says_besides_is_kept() -> None:
    """As which kind of text it holds, for a library."""
    array = np.array(["a"] * 2000, dtype=np.dtype("O", metadata={"k": 1}))
    assert dict(again({"a": array})["a"].dtype.metadata) == {"k": 1}
