"""Rows as what was put there: runs and records, whole, and barred where nobody vouches for them."""

from __future__ import annotations

from typing import Any

from blake3 import blake3

from ..errors import DamageError
from ..record import Digest, Meaning, Pipe, Run, no_record
from .rows import Row


def digest_of(record: bytes) -> Digest:
    """The digest that names a record's bytes."""
    return blake3(record).hexdigest(length=20)


def whole(digest: Digest, row: Row | None) -> Row:
    """The row of a record, found to be that one; raises DamageError."""
    if row is None:
        raise DamageError(f"record {digest[:12]} is missing from the store")
    if digest_of(row.payload) != digest:
        raise DamageError(f"record {digest[:12]} is not the one that was put there")
    return row


def as_it_is(_key: str, row: Row) -> Run:
    """The run in a row, whoever wrote it."""
    return Run.from_bytes(row.payload)


def fitting(run: Run, job: str, number: int) -> Run:
    """The run, found to be that of its place; raises DamageError."""
    if (run.job, run.number) != (job, number):
        raise DamageError(f"run {number} of job {job!r} is not the one that was put there")
    return run


def barred(one: Run | Pipe, flaw: str) -> dict[str, Any]:
    """Meanings that stand for nothing that may be loaded."""
    return {
        name: known and Meaning(known.maker, no_record(known.maker, flaw), known.digest)
        for name, known in one.meanings.items()
    }
