"""Figures show as pictures where plotting would have made them so.

IPython learns to draw a figure when pyplot starts its inline backend. A figure that comes from the
store has never met pyplot, so the shell is told here, as the first plot would have told it.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_INLINE = "inline"


def prepare(shell: Any) -> None:
    """Let the shell draw matplotlib's figures, if one may be in memory and it plots inline."""
    if "matplotlib.figure" not in sys.modules or not _is_kernel(shell):
        return
    formatter = shell.display_formatter.formatters.get("image/png")
    figure = sys.modules["matplotlib.figure"].Figure
    if formatter is None or figure in formatter.type_printers:
        return
    matplotlib = sys.modules["matplotlib"]
    backend = str(matplotlib.get_backend())
    if _INLINE in backend:
        inline: Any = importlib.import_module("matplotlib_inline.backend_inline")
        inline.configure_inline_support(shell, backend)


def _is_kernel(shell: Any) -> bool:
    return getattr(shell.display_pub, "session", None) is not None
