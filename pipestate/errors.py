"""What pipestate says when something is wrong: one line for the fault, one for the remedy.

    PipeStateError
    ├── UsageError      a word, an option, a name or a path that cannot be right
    ├── StoreError      the store cannot be opened, read or written
    │   ├── FormatError   bytes that are not what pipestate writes, or that a newer one wrote
    │   ├── DamageError   bytes that are missing, or are not the bytes they were
    │   └── TrustError    bytes that nobody has signed whom the user trusts
    └── PackError       a value that cannot be kept: its type, and where it sits

Every error carries `message`, what is wrong in the user's own names, and `hint`, what would be
right; both are one line. The doors print `str(error)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final


class PipeStateError(Exception):
    """The root of every error that pipestate raises on purpose."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(PipeStateError):
    """A word, an option, a name or a path that cannot be right. Nothing was changed."""


class StoreError(PipeStateError):
    """The store cannot be opened, read or written."""


class FormatError(StoreError):
    """Bytes that are not what pipestate writes, or that a newer pipestate wrote."""


class DamageError(StoreError):
    """Bytes that are missing from the store, or are not the bytes that were put there."""


class TrustError(StoreError):
    """Bytes that nobody has signed whom the user trusts."""


class PackError(PipeStateError):
    """A value that cannot be kept: `kind` is its type, `where` the place it sits."""

    def __init__(self, message: str, hint: str = "", *, kind: str = "", where: str = "") -> None:
        super().__init__(message, hint)
        self.kind = kind
        self.where = where


def in_short(names: Iterable[str]) -> str:
    """Names for a hint, the first of them where there are many."""
    found = list(names)
    more = len(found) - _MANY
    return ", ".join(found[:_MANY]) + (f" and {more} more" if more > 0 else "")


_MANY: Final = 20


def kind_of(error: BaseException) -> str:
    """An error in a line; what pipestate itself says needs no name."""
    if isinstance(error, PipeStateError):
        return error.message[:200]
    lines = str(error).splitlines()
    return f"{type(error).__name__}{': ' if lines else ''}{lines[0] if lines else ''}"[:200]
