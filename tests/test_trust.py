"""Nothing that a store holds is loaded or run unless a key has signed it that the user trusts.

The stranger of these tests can write anything into the store, and has a key of their own. What a
stranger wants to run would leave a file: `pwned`.
"""

from __future__ import annotations

import os
import stat
import struct
from functools import partial
from pathlib import Path

import pytest
from test_store_contract import python, raw_rows, rewrite, said

import pipestate
from pipestate.errors import DamageError, StoreError, TrustError
from pipestate.job import Job
from pipestate.ledger import Ledger
from pipestate.pipe.history import fold
from pipestate.record import Pipe
from pipestate.store import upkeep
from pipestate.store.folder import Store, open_store
from pipestate.store.trust import Keys, Secret, Trust, keys_folder


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A folder with a store to be, and nobody's keys yet: `$PIPESTATE_KEYS` is `keys` in it."""
    monkeypatch.setenv("PIPESTATE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("PIPESTATE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stranger(room, monkeypatch):
    """Does something with the keys of somebody else: `with stranger(): ...`."""

    class Stranger:
        key = Keys(room / "stranger").make().public.hex()

        def __enter__(self) -> None:
            monkeypatch.setenv("PIPESTATE_KEYS", str(room / "stranger"))

        def __exit__(self, *_: object) -> None:
            monkeypatch.setenv("PIPESTATE_KEYS", str(room / "keys"))

    return Stranger


class Canary:
    """Leaves `pwned` behind when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return wake, ()


def wake() -> Canary:
    """What its pickle runs."""
    Path("pwned").touch()
    return Canary()


def states(**options) -> list[tuple[str, str, str]]:
    """(step, state, reason) of the job j."""
    return [(one.name, one.state, one.reason) for one in Job("j", **options).status()]


def unsigned(store: Store, prefix: str = "") -> None:
    """The rows as ones that nobody has signed, under a seal that is right."""
    rows = store.index.rows
    for key in rows.keys(prefix):
        payload = rows.get(key)
        rows.transact(partial(rows.set, key, payload or b""))
    store.close()


def forged(store: Store) -> None:
    """The rows of records under a hash that is wrong, and a seal that is right."""
    rows = store.index.rows
    for key in [key for key in rows.keys("") if key.partition("/")[0] in ("run", "record")]:
        row = rows.row(key)
        head = row.head[:32] + bytes(16 + 64) + row.head[112:]
        rows.transact(partial(rows.set, key, row.payload, head))
    store.close()


# --- the key


def test_the_key_is_made_at_the_first_write_and_for_its_owner_alone(room):
    """Looking makes none."""
    assert pipestate.jobs() == []
    assert states() == []
    assert not (room / "keys").exists()
    pipestate.set("j", "a", 1)
    assert stat.S_IMODE((room / "keys" / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((room / "keys").stat().st_mode) == 0o700
    assert [file.name for file in (room / "keys").iterdir()] == ["key"]


def test_many_processes_make_one_key(room):
    """Each of them can read what the others have written."""
    code = "import pipestate; pipestate.set('j', sys.argv[1], 1)"
    processes = [python(code, f"s{number}") for number in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    assert {state for _, state, _ in states()} == {"fresh"}
    assert len(states()) == 6


def test_a_key_that_others_can_read_is_refused(room):
    """With the command that mends it."""
    pipestate.set("j", "a", 1)
    (room / "keys" / "key").chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        pipestate.set("j", "b", 1)
    (room / "keys" / "key").chmod(0o600)
    pipestate.set("j", "b", 1)


@pytest.mark.parametrize("text", ["", "x", "0" * 64, "g" * 128, "\xff"])
def test_a_key_file_that_holds_none_is_told(room, text):
    """And stays as it is."""
    (room / "keys").mkdir()
    (room / "keys" / "key").write_text(text, encoding="latin-1")
    (room / "keys" / "key").chmod(0o600)
    with pytest.raises(StoreError, match="key"):
        pipestate.set("j", "a", 1)
    assert (room / "keys" / "key").read_text(encoding="latin-1") == text


def test_without_a_place_for_keys_nothing_is_kept(room):
    """One error says what to set."""
    (room / "keys").write_text("a file")
    with pytest.raises(StoreError, match="key"):
        pipestate.set("j", "a", 1)
    assert not (room / "store" / "index").exists()


def test_the_keys_are_in_the_users_data_folder(monkeypatch, tmp_path):
    """$PIPESTATE_KEYS, else $XDG_DATA_HOME/pipestate, else below the home folder."""
    assert keys_folder() == Path(os.environ["PIPESTATE_KEYS"])
    monkeypatch.delenv("PIPESTATE_KEYS")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert keys_folder() == tmp_path / "data" / "pipestate"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert keys_folder().parent.parent.is_relative_to(tmp_path)
    assert keys_folder().name == "pipestate"


# --- a stranger's records


def test_a_strangers_value_is_listed_and_never_loaded(room, stranger):
    """The status says whose it is; asking for the value is an error, not a run of its pickle."""
    with stranger():
        pipestate.set("j", "a", Canary())
    (room / "pwned").unlink(missing_ok=True)  # proving a pack loads it
    ((step, state, reason),) = states()
    assert (step, state) == ("a", "stale")
    assert f"signed with key {stranger.key[:12]}, which you do not trust" in reason
    for look in (
        lambda: pipestate.get("j", "a", default=None),
        lambda: Job("j").names["a"],
        lambda: pipestate.read("j"),
    ):
        with pytest.raises(StoreError, match="not to be had"):
            look()
    assert [run.event for run in Job("j").history()] == ["set"]
    assert not (room / "pwned").exists()


def test_missing_trust_is_a_trust_error_at_every_door(room, stranger):
    """By step, by name, for all steps, and `strict`; where bytes are missing it is none."""
    with stranger():
        pipestate.set("j", "a", 1)
    job = Job("j")
    for look in (
        lambda: pipestate.get("j", "a"),
        lambda: pipestate.read("j"),
        lambda: job["a"],
        lambda: job.names["a"],
        lambda: job.load_name("a"),
        lambda: Job("j", verification="strict"),
    ):
        with pytest.raises(TrustError):
            look()
    pipestate.set("j", "a", 1)
    store = open_store(room / "store")
    store.index.rows.transact(
        partial(store.index.rows.delete, f"record/{store.index.run('j', 2).record}")
    )
    for look in (lambda: pipestate.get("j", "a"), lambda: Job("j").names["a"]):
        with pytest.raises(DamageError, match="missing"):
            look()


@pytest.mark.parametrize("cover", [unsigned, forged])
def test_a_row_that_is_forged_is_a_trust_error_too(room, cover):
    """As one that nobody has signed."""
    pipestate.set("j", "a", 1)
    cover(open_store(room / "store"))
    for look in (lambda: pipestate.get("j", "a"), lambda: Job("j").names["a"]):
        with pytest.raises(TrustError, match="not to be had"):
            look()


def test_what_was_never_kept_is_one_error_at_every_door(nb, cwd):
    """By step and by name: a PackError, for nothing is wrong with the store."""
    nb.load("j")
    nb.run("%%step a\nwords = (word for word in 'ab')")
    for look in (lambda: pipestate.get("j", "a"), lambda: Job("j").names["words"]):
        with pytest.raises(pipestate.PackError, match="could not be kept"):
            look()


def test_no_step_takes_the_place_of_a_plain_cell_that_is_not_trusted(nb, cwd):
    """What it made of a name is not what a step had made of it before; the line says what to do."""
    nb.load("j")
    nb.run("%%step a\nx = [41]", "x = [5]", "%%step b\ny = x + [1]\ny")
    nb.kill()
    unsigned(open_store(cwd / ".pipestate"), "record/")
    nb.load("j")
    result = nb.run("x")
    assert result.states == []
    assert "`x` (list) is not to be had: it is not signed; run the cell" in result.text
    assert "--setup" not in result.text
    assert nb.run("x = [5]", "%%step b\ny = x + [1]\ny").value == "[5, 1]"


def test_a_step_that_was_a_strangers_is_the_users_once_it_ran(room, stranger):
    """Set again, it is signed with the user's key."""
    with stranger():
        pipestate.set("j", "a", 1)
    pipestate.set("j", "a", 2)
    assert states() == [("a", "fresh", "")]
    assert pipestate.get("j", "a") == 2
    with stranger(), pytest.raises(StoreError):
        pipestate.get("j", "a")


def test_a_key_that_is_trusted_may_be_loaded_until_it_is_not(room, stranger):
    """One way only: the stranger does not trust the user by that."""
    pipestate.set("j", "mine", 1)
    with stranger():
        pipestate.set("j", "a", [1, 2])
    Keys(room / "keys").add(stranger.key, "ann")
    assert pipestate.read("j") == {"mine": 1, "a": [1, 2]}
    assert upkeep.verify(open_store(room / "store")) == []
    with stranger(), pytest.raises(StoreError):
        pipestate.get("j", "mine")
    Keys(room / "keys").remove("ann")
    with pytest.raises(StoreError):
        pipestate.get("j", "a")


def test_strict_is_an_error_and_off_believes(room, stranger):
    """`on` lies between them."""
    with stranger():
        pipestate.set("j", "a", 5)
    with pytest.raises(TrustError, match="not trusted"):
        Job("j", verification="strict")
    assert Job("j", verification="off")["a"] == 5
    with pytest.raises(StoreError):
        Job("j", verification="on")["a"]


def test_a_store_that_nobody_has_signed_opens(room):
    """Its steps are listed and stale, and can be made again."""
    pipestate.set("j", "a", 1)
    unsigned(open_store(room / "store"))
    assert states() == [("a", "stale", "what it kept cannot be used: it is not signed")]
    pipestate.set("j", "a", 2)
    assert states() == [("a", "fresh", "")]


def test_what_was_folded_from_a_stranger_is_not_signed_by_the_user(room, stranger):
    """The user's own snapshot of a job does not make a stranger's records trusted."""
    with stranger():
        pipestate.set("j", "a", 1)
    for number in range(40):
        pipestate.set("j", "b", number)
    assert pipestate.get("j", "b") == 39
    store = open_store(room / "store")
    assert store.index.job("j").snapshot > 1
    assert [(step, state) for step, state, _ in states()] == [("a", "stale"), ("b", "fresh")]
    with pytest.raises(StoreError):
        Job("j").names["a"]


def test_trimming_a_log_signs_nothing_of_a_strangers_that_could_run(room, stranger):
    """The base that is written in the user's name holds no source, import or meaning of theirs."""
    with stranger():
        said("import pipestate; pipestate.set('j', 'mine', 0)\n" + ATTACK, room / "store")
    pipestate.set("j", "b", 1)
    store = open_store(room / "store")
    runs = store.index.runs("j")
    pipe = fold(Pipe("j"), runs)
    store.index.trim("j", pipe, pipe)
    (base,) = {store.index.base("j").to_bytes(), store.index.snapshot("j").to_bytes()}
    assert b"pathlib" not in base
    assert [(step, state) for step, state, _ in states()][-1] == ("b", "fresh")
    with pytest.raises(StoreError):
        Job("j").names["x"]
    store.close()


# --- what a stranger writes in the user's name


def resealed(store: Store, key: str, change) -> None:
    """Another payload under the head that was there, with a seal that is right."""
    row = store.index.rows.row(key)
    store.index.rows.transact(partial(store.index.rows.set, key, change(row.payload), row.head))
    store.close()


def test_a_changed_run_under_the_users_signature_is_forged(room):
    """The seal is no secret; the signature is over the bytes."""
    pipestate.set("j", "a", 1)
    store = open_store(room / "store")
    resealed(store, "run/j/000000000001", lambda payload: payload.replace(b'"set"', b'"ran"'))
    (line,) = upkeep.verify(open_store(room / "store"))
    assert "forged" in line
    with pytest.raises(StoreError, match="forged"):
        Job("j").names["a"]


def test_rows_that_were_signed_together_are_checked_each_by_itself(tmp_path):
    """Others check a row by what its own head says, however many were signed with it; nothing of
    the head can be changed, and no row has that of another."""
    mine, theirs = (Trust(Keys(tmp_path / who)) for who in ("mine", "theirs"))
    rows = [(f"record/{number}", b"%d" % number) for number in range(19)]
    heads = mine.sign(rows)
    Keys(tmp_path / "theirs").add(heads[0][:32].hex())
    assert not any(theirs.flaw(*row, head) for row, head in zip(rows, heads, strict=True))
    assert all(theirs.flaw(*row, head) for row, head in zip(rows, heads[1:], strict=False))
    for at in (0, 50, 112, 113, 114, len(heads[3]) - 1):
        changed = heads[3][:at] + bytes([heads[3][at] ^ 1]) + heads[3][at + 1 :]
        assert theirs.flaw(*rows[3], changed)
    for size in range(0, len(heads[3]), 16):
        assert theirs.flaw(*rows[3], heads[3][:size])


def test_a_run_of_one_job_is_none_of_another(room):
    """The signature is over the key of the row too."""
    pipestate.set("j", "a", 1)
    pipestate.set("k", "a", 2)
    store = open_store(room / "store")
    rows = store.index.rows
    row = rows.row("run/k/000000000001")
    rows.transact(
        partial(rows.set, "run/j/000000000001", row.payload.replace(b'"k"', b'"j"'), row.head)
    )
    store.close()
    with pytest.raises(StoreError):
        Job("j").names["a"]


def test_a_planted_stamp_does_not_hide_a_changed_file(room):
    """The note that a file was hashed in this state counts only where the user has left it."""
    data = os.urandom(100_000)
    pipestate.set("j", "a", data)
    store = open_store(room / "store")
    head = Ledger.open(store, "j").head("a")
    (blob,) = (one for one in head.blobs if one.nbytes >= 100_000)
    file = store.path / "blobs" / blob.digest[0] / blob.digest[1:]
    rewrite(file, file.read_bytes()[:-100] + b"x" * 100)
    now = file.stat()
    stamp = struct.pack("<qqqQ", now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)
    for proof in (b"", b"p" * 16):
        store.index.rows.transact(
            partial(store.index.rows.set, f"stamp/{blob.digest}", proof + stamp)
        )
        with pytest.raises(StoreError):
            open_store(room / "store").map(blob)
    store.close()


ATTACK = """
from pipestate.record import *
from pipestate.store.folder import open_store
from pipestate.ledger import Ledger
store = open_store(sys.argv[1])
ledger = Ledger.open(store, "j")
evil = "import pathlib; pathlib.Path('pwned').write_text('')"
shown = b'[{"output_type":"stream","name":"stdout","text":"pwned\\\\n"}]'
batch = ledger.batch()
head = ledger.head("a") or Record("a", "x = 1", "0" * 40)
version = Version("definition", "d" * 40, {"x": "d" * 40}, source=f"def x():\\n    pass\\n{evil}")
record = Record("a", head.source, head.normal, head.options, outputs=(version,), made=("x",),
                bound=("x",), displays=batch.put(shown), session=(evil,))
ledger.commit(lambda digest: Run(0, "", "a", "ran", record=digest, heads={"a": digest},
    meanings={"x": Meaning("a", digest, "d" * 40)}, seen=Seen(evil + "\\nx = 2", "a", "", "n" * 40),
    imports={"np": evil, "os": evil}), record=record, batch=batch)
"""


@pytest.mark.parametrize("is_signed", [True, False])
def test_nothing_of_a_stranger_runs_in_a_notebook(nb, cwd, is_signed):
    """No definition, import, session magic, source of a step, nor anything shown; signed by the
    stranger or by nobody. The user's own cells run, and put things right."""
    nb.load("j")
    nb.run("%%step a\nx = 1\nprint('fine')", "%%step b\ny = x + 1\ny")
    env = {"PIPESTATE_KEYS": str(cwd / "stranger")}
    code = f"import os; os.environ.update({env!r})\n" + ATTACK
    said(code, cwd / ".pipestate")
    if not is_signed:
        store = open_store(cwd / ".pipestate")
        key = "run/j/000000000003"
        for one in (key, f"record/{store.index.run('j', 3).record}"):
            store.index.rows.transact(partial(store.index.rows.set, one, store.index.rows.get(one)))
        store.close()
    nb.kill()
    nb.load("j")
    assert "a" in nb.run("%pipe").text
    why = nb.run("%pipe why a").text
    assert ("signed with key" if is_signed else "not signed") in why
    assert nb.run("x").error or nb.run("x").value == "1"
    nb.run("np", "os")
    result = nb.run("%%step b\ny = x + 1\ny")
    assert result.value == "2" or result.error
    assert nb.run("%%step a\nx = 1\nprint('fine')").stdout == "fine\n"
    assert nb.run("%%step b\ny = x + 1\ny").value == "2"
    assert nb.run("x").value == "1"
    assert not (cwd / "pwned").exists()
    assert "pwned" not in "".join(one.stdout for one in nb.results)


def test_a_notebook_restores_what_a_trusted_colleague_made(nb, cwd):
    """`%pipe trust add` takes effect at once."""
    nb.load("j")
    nb.run("%%step a\nprint('computed')\nx = 41")
    theirs = Keys(keys_folder()).make().public.hex()
    nb.kill(env={"PIPESTATE_KEYS": str(cwd / "mine")})
    nb.load("j")
    assert theirs in nb.run("%pipe trust").text
    assert nb.run("x + 1").error
    nb.run(f"%pipe trust add {theirs} ann")
    assert f"{theirs}  ann" in nb.run("%pipe trust").text
    assert nb.run("x + 1").value == "42"
    assert nb.run("%%step a\nprint('computed')\nx = 41").states == [("a", "restored")]
    nb.run("%pipe trust remove ann")
    assert ("a", "ran") in nb.run("%%step a\nprint('computed')\nx = 41").states


# --- the shell


def test_the_shell_shows_adds_and_removes_keys(shell, cwd):
    """In the words that the notebook uses."""
    env = {"PIPESTATE_KEYS": str(cwd / "keys")}
    mine = shell("trust", env=env).stdout.split()[-1]
    assert mine == Keys(cwd / "keys").make().public.hex()
    other = Keys(cwd / "other").make().public.hex()
    assert shell("trust", "add", other, "ann", env=env).stdout == (
        f"what is signed with {other} is trusted now\n"
    )
    assert shell("trust", env=env).stdout == (
        f"your key          {mine}\ntrusted           {other}  ann\n"
    )
    assert shell("trust", "remove", other[:12], env=env).returncode == 0
    assert shell("trust", env=env).stdout == f"your key          {mine}\n"
    for words in (("add", "xyz"), ("remove", "bob"), ("add",), ("sign",)):
        answer = shell("trust", *words, env=env)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert answer.stderr.count("\n") == 1


def test_the_shell_verifies_every_byte(shell, cwd):
    """Exit code 0 and a line; or a line for each thing that is wrong with its steps, and 1."""
    pipestate.set("j", "a", os.urandom(100_000))
    pipestate.set("j", "b", 1)
    answer = shell("verify")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == "every row and every byte is as it was put there\n"
    (file,) = (cwd / ".pipestate" / "blobs").glob("?/*")
    rewrite(file, file.read_bytes()[:-1])
    answer = shell("verify")
    assert answer.returncode == 1
    assert answer.stdout.endswith(" (touches a of job j)\n")
    assert answer.stdout.count("\n") == 1
    assert answer.stderr.startswith("pipestate: 1 thing wrong in ")
    assert dict(raw_rows(open_store(cwd / ".pipestate")))


def test_strict_in_a_notebook_lets_nothing_of_a_stranger_in(nb, cwd):
    """Asked for in the middle of a session: the job is closed, and a key that is then trusted opens
    it again."""
    nb.load("j")
    nb.run("%%step a\nx = 41")
    theirs = Keys(keys_folder()).make().public.hex()
    nb.kill(env={"PIPESTATE_KEYS": str(cwd / "mine")})
    nb.load("j")
    assert "not trusted" in nb.run("%config PipeState.verification = 'strict'").text
    assert "not trusted" in nb.run("%pipe").text
    assert f"{theirs} is trusted now" in nb.run(f"%pipe trust add {theirs}").text
    assert nb.run("x + 1").value == "42"


def test_a_key_never_shows_its_seed():
    """Neither as text, nor to a library that prints fields."""
    key = Secret.of(b"seed" * 8, b"public")
    shown = repr(key) + repr(list(key.__rich_repr__()))
    assert "seed" not in shown
    assert b"seed".hex() not in shown
