"""pipestate: a notebook is a pipe of named steps, and this is its memory.

    %load_ext pipestate              in a notebook or in IPython
    import pipestate as pip          in a script or a server: pip.get(job, step="step_01")

Importing it does nothing: no file, no thread, no IPython. What the names below need is imported
when they are first asked for.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calls import get, jobs, read
    from .changes import set, write
    from .errors import (
        DamageError,
        FormatError,
        PackError,
        PipeStateError,
        StoreError,
        TrustError,
        UsageError,
    )
    from .job import Job

__version__ = "0.1.0"

__all__ = [
    "DamageError",
    "FormatError",
    "Job",
    "PackError",
    "PipeStateError",
    "StoreError",
    "TrustError",
    "UsageError",
    "__version__",
    "get",
    "jobs",
    "pip",
    "read",
    "set",
    "write",
]

_HOMES = {
    "Job": "job",
    **dict.fromkeys(("get", "jobs", "read"), "calls"),
    **dict.fromkeys(("set", "write"), "changes"),
    **dict.fromkeys((name for name in __all__ if name.endswith("Error")), "errors"),
}

pip = sys.modules[__name__]
"""This module itself, for `from pipestate import pip`."""


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pipestate' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f".{home}", __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """Called by `%load_ext pipestate`."""
    importlib.import_module(".extension", __name__).load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Called by `%unload_ext pipestate`."""
    importlib.import_module(".extension", __name__).unload(shell)
