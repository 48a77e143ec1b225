"""The bound of the store's size (`max_bytes`), heeded after a step is kept."""

from __future__ import annotations

from typing import Final

from .. import space, view
from ..errors import StoreError
from ..record import Record
from .bench import Bench

_PART: Final = 64
"""A store is measured again when a 64th of its bound was written: that looks at all its files."""


def heed(bench: Bench, record: Record) -> None:
    """Reclaim space where the store has outgrown its bound, and say so where that is not enough."""
    bound, memory = bench.settings.max_bytes, bench.memory
    if not bound:
        return
    if memory.unmeasured is not None:
        memory.unmeasured += sum(blob.nbytes for blob in record.blobs)
        if memory.unmeasured < bound // _PART:
            return
    memory.unmeasured = 0
    try:
        fitted = space.fit(bench.ledger.store, bound, keep_runs=bench.settings.keep_runs)
        if fitted.before > bound:
            bench.ledger.reread()
    except StoreError as error:
        bench.tell(f"no space could be reclaimed: {error}")
        return
    if fitted.after > bound:
        bench.tell(
            f"the store has {view.size(fitted.after)}, more than max_bytes ({view.size(bound)}), "
            "and all of it is in force; `%pipe drop` steps that you do not need"
        )
