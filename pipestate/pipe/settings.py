"""What a setting of the process is called in a sentence.

Settings have keys (`env:HOME`, `pandas:display.width`), which the kernel reads and writes; people
know them by other names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_WORDS: Final[Mapping[str, str]] = {
    "env": "the environment variable {}",
    "cwd": "the working directory",
    "path": "the entry `{}` of sys.path",
    "locale": "the locale",
    "warnings": "the filter {} of warnings",
    "logging": "the level of the logger {}",
    "decimal": "the context of decimal",
    "matplotlib": "the option {} of matplotlib",
    "pandas": "the option {} of pandas",
    "module": "the global {}",
    "numpy": "the option {} of numpy",
    "torch": "the option {} of PyTorch",
    "random:python": "the state of the random generator of Python",
    "random:numpy": "the state of the random generator of numpy",
    "random:torch": "the state of the random generator of PyTorch",
}


def in_words(key: str) -> str:
    """A key as people would say it; itself where it is of a kind not known here."""
    if key in _WORDS:
        return _WORDS[key].format("")
    kind, _, name = key.partition(":")
    name = name.replace(":", ".") if kind == "module" else name  # an attribute of a class
    return _WORDS[kind].format(name) if kind in _WORDS else key
