"""Whether an exception is that of a signal's handler, which may run between any two instructions.

Then it says nothing of what was being called: a time limit that strikes while a value is looked at
is no fault of the value.
"""

from __future__ import annotations

import functools
import signal
import types
from collections.abc import Iterator
from typing import Any


def is_of_handler(error: BaseException) -> bool:
    """Whether it came through the code of a handler that is set now."""
    codes = set(_codes())
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _codes() -> Iterator[types.CodeType]:
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, functools.partial):
            handler = handler.func
        if callable(handler):
            code = getattr(handler, "__code__", None) or getattr(handler.__call__, "__code__", None)
            if isinstance(code, types.CodeType):
                yield code
