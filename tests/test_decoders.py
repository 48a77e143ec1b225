"""Whatever bytes a store holds, reading them gives what they say or one clear kind of error.

Bytes made up, bytes that are nearly right (flipped, cut, joined), and JSON of every shape: nothing
but FormatError and DamageError, both StoreErrors, comes out, and what is read can be written again.
"""

from __future__ import annotations

import json
import os
import sqlite3
from functools import partial
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_store_contract import commit

from pipestate.calls import jobs
from pipestate.errors import FormatError, StoreError
from pipestate.job import Job
from pipestate.kernel import displays
from pipestate.record import (
    AccessPath,
    Blob,
    FileState,
    Given,
    Input,
    Meaning,
    Pipe,
    Record,
    Run,
    Seen,
    Version,
)
from pipestate.store.folder import open_store
from pipestate.store.rows import Rows
from pipestate.store.trust import HEAD, Keys, Trust
from pipestate.store.upkeep import verify

MANY = int(os.environ.get("EXAMPLES") or 1)
"""How many times as many inputs as usual are tried."""

D = "ab" * 20
BLOB = Blob(D, 5)
PATH = AccessPath("df", (("item", "price"), ("attr", "T"), ("item", b"\x00"), ("item", 1.5)))
VERSION = Version(
    "value", D, {"x": D}, {"x": "list"}, {"x": ((0, 1),)}, {"x[0]": D}, BLOB, (BLOB,), "s",
    {"f": D}, (PATH,), ("g",), "flaw", False, True,
)  # fmt: skip
FILE = FileState("/tmp/a", D, 1, 2, 3)
RECORD = Record(
    "s", "x = 1", D, "--always", (Input(PATH, D, D, "m"),), {"a,b": D}, {"a": "a,b"}, (VERSION,),
    (VERSION,), {"x": Given("c", {"df": D})}, ("x",), ("x",), ("y",), BLOB, VERSION, {"k": D},
    (FILE,), (FILE,), {"p": BLOB, "q": None}, {"numpy": "2"}, ("%x",), "3.11", 1.5, 2.5, False,
    True, "c",
)  # fmt: skip
RUN = Run(
    3, "j", "s", "ran", "why", 1.0, 2.0, D, {"s": D, "t": None},
    {"x": Meaning("s", D, D, True), "y": None}, Seen("x", "", "c", D), {"np": "import numpy as np"},
    ("s",), True,
)  # fmt: skip
PIPE = Pipe(
    "j", 3, {"s": D}, ("s",), {"s": Seen("x")}, {"x": Meaning("s", D, D)}, {"np": "import np"},
    {"s": "E"}, {"s": 1}, {"s": (D,)},
)  # fmt: skip
NOUNS = {type(noun): noun for noun in (RECORD, RUN, PIPE)}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=20,
)
"""JSON of every shape; its floats are not always numbers."""


@st.composite
def harmed(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes that are nearly right: some replaced, cut out, doubled or put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        data[start:end] = draw(st.binary(max_size=8) | st.just(bytes(data[start:end]) * 2))
    return bytes(data)


@st.composite
def grafted(draw: st.DrawFn, whole: bytes) -> bytes:
    """JSON of a noun with one of its values, at any depth, replaced by JSON of another shape."""
    root = plain = json.loads(whole)
    while True:
        keys = list(plain) if isinstance(plain, dict) else range(len(plain))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if not isinstance(plain[key], (dict, list)) or draw(st.booleans()):
            plain[key] = draw(json_values)
            break
        plain = plain[key]
    return json.dumps(root).encode()


@pytest.mark.parametrize("kind", NOUNS)
def test_a_noun_of_every_field_comes_back(kind):
    """What the harm below is done to."""
    assert kind.from_bytes(NOUNS[kind].to_bytes()) == NOUNS[kind]


def test_the_bytes_of_a_noun_stay_what_they_are():
    """A store of an earlier pipestate is read by this one, and names records by these bytes."""
    digests = [blake3(noun.to_bytes()).hexdigest(length=8) for noun in NOUNS.values()]
    assert digests == ["df2a0f79d092a29e", "d60157de320847bf", "405b6bb26a231108"]


texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
"""Texts that may hold halves of a pair, as names of files that are no Unicode do."""


@given(
    source=texts,
    key=texts | st.integers() | st.floats(allow_nan=False) | st.binary(max_size=9) | st.booleans(),
    name=texts,
    size=st.integers(0, 1 << 63),
)
@settings(max_examples=300 * MANY)
def test_any_text_and_any_key_comes_back(source, key, name, size):
    """What is no Unicode, and numbers that JSON has no word for."""
    path = AccessPath("df", (("item", key), ("attr", "T")))
    record = Record(
        "s", source, D, inputs=(Input(path, D, D),), files_read=(FileState(name, D, size),)
    )  # fmt: skip
    again = Record.from_bytes(record.to_bytes())
    assert again == record
    assert type(again.inputs[0].path.parts[0][1]) is type(key)


class Word(str):
    """A text of another kind, as numpy has one."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


def test_texts_of_another_kind_are_texts():
    """As a step's name, a key and a source."""
    record = Record(Word("s"), Word("x = 1"), D, joint={Word("a,b"): Word(D)})
    assert Record.from_bytes(record.to_bytes()) == Record("s", "x = 1", D, joint={"a,b": D})


@pytest.mark.parametrize("number", ["1" * 400, '"x"', '""', "[]"])
def test_a_key_that_is_no_number_is_refused(number):
    """Whatever it says."""
    data = RECORD.to_bytes().replace(b"[1.5]", b'{"float":%s}' % number.encode())
    with pytest.raises(FormatError):
        Record.from_bytes(data)


@pytest.mark.parametrize("kind", NOUNS)
@given(data=st.data())
@settings(max_examples=300 * MANY)
def test_a_noun_is_read_or_refused(kind, data):
    """And what is read is written as something that reads the same."""
    whole = NOUNS[kind].to_bytes()
    stored = data.draw(
        st.binary(max_size=200)
        | harmed(whole)
        | grafted(whole)
        | json_values.map(lambda value: json.dumps(value).encode())
    )
    try:
        noun = kind.from_bytes(stored)
    except FormatError as error:
        refused = error.message
    else:
        refused = ""
    assert "\n" not in refused
    assert len(refused) < 300
    if refused:
        return
    again = kind.from_bytes(noun.to_bytes())
    assert again.to_bytes() == noun.to_bytes()


@pytest.mark.parametrize("kind", NOUNS)
@pytest.mark.parametrize(
    "stored",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"1" * 10_000,
        b'{"number":' + b"9" * 10_000 + b"}",
        b'{"number":1e999999999}',
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"NaN",
        b"",
        b"null",
    ],
    ids=lambda stored: repr(stored[:12]),
)
def test_bytes_that_are_made_to_hurt_are_refused(kind, stored):
    """Nesting without end, numbers of ten thousand digits, surrogates."""
    with pytest.raises(FormatError):
        kind.from_bytes(stored)


MESSAGES = displays.to_bytes(
    [
        {"output_type": "stream", "name": "stdout", "text": "a"},
        {"output_type": "display_data", "data": {"text/plain": "x"}, "metadata": {}},
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": ["t"]},
    ]
)


@given(st.binary(max_size=200) | harmed(MESSAGES) | grafted(MESSAGES))
@settings(max_examples=300 * MANY)
def test_what_was_shown_is_read_or_refused(stored):
    """And what is read has text to show."""
    try:
        messages = displays.from_bytes(stored)
    except FormatError:
        return
    assert isinstance(displays.as_text(messages), str)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store with two jobs, one of them trimmed."""
    opened = open_store(tmp_path_factory.mktemp("fuzz") / "store")
    pipes = [commit(opened, b"one", b"x" * 20_000, job="j")[0] for _ in range(3)]
    opened.index.trim("j", pipes[0], pipes[2])
    commit(opened, b"two", job="k")
    opened.close()
    return opened.path


def harm_row(path: Path, key: str, data: bytes) -> None:
    """Another value in a row."""
    database = sqlite3.connect(path / "index" / "cache.db")
    with database:
        database.execute("UPDATE Cache SET value = ? WHERE key = ?", (data, key))
    database.close()


def use(path: Path) -> None:
    """All that a script does with a store; only StoreErrors may come out of it."""
    for look in (
        lambda: jobs(store=path),
        lambda: Job("j", store=path).status(),
        lambda: Job("j", store=path).history(),
        lambda: dict(Job("k", store=path)),
        lambda: Job("k", store=path).names,
        lambda: verify(open_store(path)),
    ):
        try:
            look()
        except StoreError:
            continue


@given(data=st.data())
@settings(
    max_examples=150 * MANY,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
def test_a_store_with_any_bytes_in_a_row_is_read_or_refused(whole, data):
    """Bytes as they come, and payloads under a seal that is right, as an attacker would put them;
    the store can be written to all the same."""
    rows = Rows(whole / "index")
    keys = rows.keys("")
    key = data.draw(st.sampled_from(keys))
    kept = raw(whole, key)
    try:
        if data.draw(st.booleans()):
            harm_row(whole, key, data.draw(st.binary(max_size=80) | harmed(kept)))
        else:
            payload = rows.get(key) or b""
            draws = st.binary(max_size=80) | harmed(payload)
            draws |= grafted(payload) if payload[:1] in (b"{", b"[") else st.nothing()
            heads = st.just(b"") | st.just(bytes(HEAD))
            rows.transact(partial(rows.set, key, data.draw(draws), data.draw(heads)))
        rows.close()
        use(whole)
    finally:
        rows.close()
        harm_row(whole, key, kept)


def raw(path: Path, key: str) -> bytes:
    """The bytes of a row."""
    database = sqlite3.connect(path / "index" / "cache.db")
    (found,) = database.execute("SELECT value FROM Cache WHERE key = ?", (key,)).fetchone()
    database.close()
    return bytes(found)


@pytest.mark.parametrize(
    "numbers",
    [
        (1 << 61, 1, 0, 0, 0),
        (3, 1 << 61, 0, 0, 0),
        ((1 << 64) - 1, 0, (1 << 64) - 1, 0, 0),
        (0, 1, 0, 0, 0),
        (3, 3, 1 << 63, 0, 0),
        (3, 1, 0, 1 << 63, 1 << 63),
    ],
)
def test_a_row_of_a_job_with_any_numbers_ends(tmp_path, numbers):
    """A log that is said to be endless is no endless loop, and a commit finds its place."""
    store = open_store(tmp_path / "store")
    pipes = [commit(store, b"%d" % number)[0] for number in range(3)]
    store.index.trim("j", pipes[0], pipes[2])
    store.index.rows.transact(
        partial(store.index.rows.set, "job/j", b"".join(n.to_bytes(8, "little") for n in numbers))
    )
    store.close()
    use(store.path)
    job = Job("j", store=store.path)
    job["t"] = 1
    assert Job("j", store=store.path)["t"] == 1


@given(st.binary(max_size=300))
@settings(max_examples=200 * MANY)
def test_a_head_of_any_bytes_is_judged(head):
    """A forged one is never believed."""
    trust = Trust(Keys(Path("/nowhere")))
    assert trust.flaw("record/x", b"payload", head)
