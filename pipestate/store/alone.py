"""Whether another thread may be changing the memory that is about to be kept.

What is hashed has to be what is written: else a blob does not hold what its name says, and whoever
keeps what the name stands for gets something else. Where nobody else is about, memory is hashed and
written as it lies, at up to twice the speed of what is copied first.
"""

from __future__ import annotations

import threading
from typing import Final

MODULES: Final = ("IPython.", "ipykernel.", "pydevd", "tqdm.")
"""Where threads are from that leave the user's values alone, by their classes."""

SUBSHELL: Final = "ipykernel.subshell"
"""Where those are from that run cells beside the main thread."""

NAMES: Final = ("IOPub", "pipestate-")
PIPE: Final = "(_watch_pipe_fd)"
"""What the names of plain threads of the kernel's, and of ours, begin or end with."""


def is_alone(own: threading.Thread) -> bool:
    """Whether all threads but this one are known to leave the user's values alone."""
    return all(one is own or _is_harmless(one) for one in threading.enumerate())


def _is_harmless(thread: threading.Thread) -> bool:
    module = type(thread).__module__
    if module.startswith(MODULES):
        return not module.startswith(SUBSHELL)
    return thread.name.startswith(NAMES) or thread.name.endswith(PIPE)
