"""A signal's handler raises amid a `set`: the caller is told that, and nothing of the value's."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import pipestate as pip
from pipestate.errors import PackError
from pipestate.record import Blob
from pipestate.store.folder import Batch


class Late(Exception):
    """A time limit, as people write it."""


def late(*_: Any) -> None:
    """The handler."""
    raise Late


class Limit:
    """A handler that is an object."""

    def __call__(self, *_: Any) -> None:
        """Raise, as any."""
        raise Late

    def strike(self, *_: Any) -> None:
        """Raise, as a method."""
        raise Late


@pytest.fixture(
    params=[late, Limit(), Limit().strike, functools.partial(late, 1)],
    ids=["function", "object", "method", "partial"],
)
def handler(request: pytest.FixtureRequest) -> Iterator[None]:
    """A handler that raises is set."""
    before = signal.signal(signal.SIGALRM, request.param)
    yield
    signal.signal(signal.SIGALRM, before)


class Struck:
    """A value that the signal meets while something is asked of it for the n-th time."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __getstate__(self) -> dict[str, int]:
        """Its state, in which nothing ever changes."""
        calls.append(1)
        if len(calls) == self.at:
            signal.raise_signal(signal.SIGALRM)
        return {"at": self.at}


calls: list[int] = []


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.usefixtures("handler")
def test_a_time_limit_is_no_fault_of_the_value(tmp_path, at):
    """Whether it is looked at, packed, or loaded again to see whether it can be."""
    calls.clear()
    with pytest.raises(Late):
        pip.set("j", "s", [Struck(at)], store=tmp_path)
    assert pip.get("j", "s", None, store=tmp_path) is None
    pip.set("j", "s", [Struck(0)], store=tmp_path)
    assert pip.get("j", "s", store=tmp_path)[0].at == 0


@pytest.mark.usefixtures("handler")
def test_a_time_limit_that_strikes_while_a_buffer_is_written_is_told(tmp_path, monkeypatch):
    """In a turn, too."""
    struck = []

    def put(self: Batch, data: Any, **options: Any) -> Blob:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and options.get("ready") is not None and not struck:
            struck.append(True)
            signal.raise_signal(signal.SIGALRM)
        return kept(self, data, **options)

    kept: Callable[..., Blob] = Batch.put
    monkeypatch.setattr(Batch, "put", put)
    with pytest.raises(Late):
        pip.set("j", "s", [np.arange(40_000.0) + at for at in range(60)], store=tmp_path)
    assert pip.get("j", "s", None, store=tmp_path) is None


class Refuses:
    """A value that raises by itself what a handler might."""

    def __getstate__(self) -> None:
        """Never gives it."""
        raise Late


@pytest.mark.usefixtures("handler")
def test_what_a_value_raises_by_itself_is_its_fault(tmp_path):
    """As ever."""
    with pytest.raises(PackError):
        pip.set("j", "s", [Refuses()], store=tmp_path)
