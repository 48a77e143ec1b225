"""The notebook's file, where a front end tells its path: the ids of its cells, in their order.

Jupyter Lab and Notebook say it by `JPY_SESSION_NAME`, VS Code by a name in the namespace.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path


def path_of(ns: Mapping[str, object], start: str) -> Path | None:
    """The file of the notebook that this kernel serves, or None where nobody tells."""
    told = ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    if not isinstance(told, str) or not told.endswith(".ipynb"):
        return None
    path = Path(told)
    # A server may say the path below its own root; the kernel starts in the notebook's folder.
    for one in (path, Path(start) / path, Path(start) / path.name):
        if one.is_file():
            return one
    return path


def cell_ids(path: Path | None) -> tuple[str, ...]:
    """The ids of the cells as the file was last saved; none where it cannot be read."""
    if path is None:
        return ()
    try:
        status = path.stat()
    except OSError:
        return ()
    return _ids(str(path), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8)
def _ids(path: str, _mtime: int, _size: int) -> tuple[str, ...]:
    try:
        cells = json.loads(Path(path).read_bytes())["cells"]
        return tuple(str(cell["id"]) for cell in cells if "id" in cell)
    except (OSError, ValueError, KeyError, TypeError):  # half-saved, or no notebook
        return ()
