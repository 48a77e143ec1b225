"""Plugins: what other packages add to pipestate, found by entry point group.

This room knows names and how to import what they stand for; what a group means is known where it
is used. Looking a group up reads package metadata only; a plugin is imported when its name is
first asked for, so an installed plugin costs nothing until a value needs it. One that fails is
reported in one line and left out: a broken plugin must not take a notebook down.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

CODECS: Final = "pipestate.codecs"
"""Entry points named by a type (`package.module.Type`): functions that reduce such a value."""


@functools.cache
def names(group: str) -> Mapping[str, EntryPoint]:
    """The entry points of `group` by name. Costs a look through all metadata, once a process."""
    # The import takes as long as all others of a script that only reads a value.
    found = import_module("importlib.metadata").entry_points(group=group)
    return MappingProxyType({entry.name: entry for entry in found})


@functools.cache
def load(group: str, name: str) -> object | None:
    """What the plugin `name` of `group` offers; None, and one warning, if it cannot be imported."""
    entry = names(group).get(name)
    if entry is None:
        return None
    try:
        loaded: object = entry.load()
    except Exception as error:  # noqa: BLE001 - another package's code may raise anything
        warnings.warn(
            f"plugin {name!r} ({entry.value}) is left out: {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return loaded
