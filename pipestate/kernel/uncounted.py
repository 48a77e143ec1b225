"""The files that do not count as read or written: those of the system, of libraries, of imports."""

from __future__ import annotations

import functools
import os
import sys
from types import FrameType
from typing import Final

from .packages import library_folders

_ENDS: Final = (".pyc", ".pyo", ".so", ".pyd", ".dll", ".dylib")
_PARTS: Final = (
    f"{os.sep}__pycache__{os.sep}",
    f"{os.sep}.pipestate{os.sep}",
    f"{os.sep}ipykernel_",  # cells that the debugger wrote out
    f"{os.sep}.ipynb_checkpoints{os.sep}",
)


_SAYING: Final = (
    "XDG_CACHE_HOME",
    "IPYTHONDIR",
    "MPLCONFIGDIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_CONFIG_DIR",
)
"""Variables of the environment that say where such folders are."""


def is_left_out(full: str, folders: tuple[str, ...]) -> bool:
    """Whether a file does not count, by its name or by one of the folders that it lies below."""
    if full.startswith(folders) or full.endswith(_ENDS):
        return True
    return any(part in full for part in _PARTS)


def folders(base: str, given: tuple[str, ...]) -> tuple[str, ...]:
    """The folders that do not count for a body that runs in `base`, `given` among them, each with
    its separator at the end."""
    return _folders(base, given, _system_folders())


@functools.lru_cache(maxsize=32)
def _folders(base: str, given: tuple[str, ...], system: tuple[str, ...]) -> tuple[str, ...]:
    below = os.path.join(base, "")
    given = tuple(dict.fromkeys([*given, *map(os.path.realpath, given)]))
    return (
        *(folder for folder in system if not below.startswith(folder)),
        *(os.path.join(folder, "") for folder in given),
    )


def is_opened_by_import(frame: FrameType | None, asker: str) -> bool:
    """Whether the import machinery, or an installed module while it is imported, opens the file.

    So too when Python looks up source lines, for a warning or a traceback. `asker` is the file
    whose own frames do not count.
    """
    libraries = library_folders()
    depth, is_module = 0, False
    while frame is not None:
        file = frame.f_code.co_filename
        if file == asker:
            frame = frame.f_back
            continue
        is_machinery = file.startswith(("<frozen importlib", "<frozen zipimport"))
        if (is_machinery and (depth == 0 or is_module)) or (
            depth < 4 and frame.f_globals.get("__name__") == "linecache"
        ):
            return True
        is_module = frame.f_code.co_name == "<module>" and file.startswith(libraries)
        frame, depth = frame.f_back, depth + 1
    return False


def _system_folders() -> tuple[str, ...]:
    """Folders of the system, of libraries, of Jupyter itself, of caches and fonts."""
    said = tuple(os.environ.get(name, "") for name in _SAYING)
    compiled = (os.path.join(sys.pycache_prefix, ""),) if sys.pycache_prefix else ()
    return library_folders() + compiled + _folders_of(os.path.expanduser("~"), sys.prefix, said)


@functools.lru_cache(maxsize=8)
def _folders_of(home: str, prefix: str, said: tuple[str, ...]) -> tuple[str, ...]:
    environ = dict(zip(_SAYING, said, strict=True))
    found = ["/proc", "/dev", "/sys", "/etc", "/usr/share", "/usr/lib", "/usr/lib64", "/var/cache"]
    found += ["/usr/local/lib", "/usr/local/share", "/System", "/Library"]
    found += [os.path.join(home, "Library", name) for name in ("Fonts", "Caches", "Jupyter")]
    found += [os.path.join(prefix, name) for name in ("lib", "lib64", "share", "etc", "include")]
    found += [environ["XDG_CACHE_HOME"] or os.path.join(home, ".cache")]
    found += [environ["IPYTHONDIR"] or os.path.join(home, ".ipython")]
    found += [environ["MPLCONFIGDIR"] or os.path.join(home, ".config", "matplotlib")]
    found += [os.path.join(home, ".jupyter"), os.path.join(home, ".fonts")]
    found += [os.path.join(home, ".local", "share", name) for name in ("jupyter", "fonts")]
    found += [environ[name] for name in _SAYING[-3:] if environ[name]]
    return tuple(os.path.join(os.path.abspath(folder), "") for folder in dict.fromkeys(found))
