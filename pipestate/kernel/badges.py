"""Badges: what became of a step, shown below its cell as a display that is never part of its page.

It does not know what a badge says (`view` does), nor which cell is shown (`pages` does).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any


def show(
    shell: Any,
    data: Mapping[str, Any],
    text: str,
    html: str,
    step: str,
    state: str,
    display_id: str,
    *,
    update: bool = False,
) -> None:
    """Show a step's badge: a display of its own, with `{"pipestate": {**data, step, state}}`.

    With `update` it gets new contents where it stands; a terminal cannot do that and shows nothing.
    """
    if update and getattr(shell.display_pub, "session", None) is None:
        return
    if "pipestate" not in display_id:
        display_id = f"pipestate-{display_id}"
    with _without_waiting():
        shell.display_pub.publish(
            data={"text/plain": text, "text/html": html},
            metadata={"pipestate": {**data, "step": step, "state": state}},
            transient={"display_id": display_id},
            update=update,
        )


@contextlib.contextmanager
def _without_waiting() -> Iterator[None]:
    """Let ipykernel publish without flushing first, where there is nothing to flush: a flush waits
    for a thread, which takes longer than all else that publishing does."""
    streams = (sys.stdout, sys.stderr)
    if any(getattr(stream, "_flush_pending", True) for stream in streams):
        yield
        return
    out, err = map(_Flushed, streams)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


class _Flushed:
    """A stream that is as it is, but that has been flushed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def flush(self) -> None:
        """Nothing waits to be sent."""
