"""No look for garbage while much is made that is all kept: it would cost more than the making."""

from __future__ import annotations

import gc


class gc_paused:  # noqa: N801 - it reads as a word: `with gc_paused()`
    """Do without the collector in a block, where it was on."""

    __slots__ = ("_was_enabled",)

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        try:
            gc.disable()
        except BaseException:  # an interrupt, once it is off
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self._was_enabled:
            gc.enable()
