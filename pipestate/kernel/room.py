"""The bound of the store's size (`max_bytes`), heeded after a step is kept."""

from __future__ import annotations

from .. import view
from ..errors import StoreError
from ..record import Record
from .bench import Bench


def heed(bench: Bench, record: Record) -> None:
    """Reclaim space where the store has outgrown its bound, and say so where that is not enough."""
    bound, keep = bench.settings.max_bytes, bench.settings.keep_runs
    try:
        fitted = bench.memory.meter.fit(bench.ledger.store, [record], bound, keep_runs=keep)
        if fitted is None:
            return
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
