"""How closely the values follow each other that a script sets."""

from __future__ import annotations

import time
from typing import Final

CLOSE: Final = 0.05
"""Seconds within which a value follows another closely."""

MANY: Final = 4
"""So many values are committed one by one before those that follow wait: who looks at each, or sets
a few, would only pay for the journal."""


class Pace:
    """How closely values have followed each other since somebody looked."""

    __slots__ = ("_count", "_last")

    def __init__(self) -> None:
        self._count, self._last = 0, 0.0

    def is_quick(self) -> bool:
        """Whether the value that is set now follows enough others closely."""
        now = time.monotonic()
        is_close, self._last = now - self._last < CLOSE, now
        self._count = self._count + 1 if is_close else 0
        return self._count >= MANY

    def stop(self) -> None:
        """Somebody looks."""
        self._count = 0
