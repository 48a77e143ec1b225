"""What a code object says: its digest, the globals that it reads and those that it assigns.

The digest is of the instructions with their arguments resolved, not of the raw bytes: file names,
line numbers, docstrings and the numbering of constants are no part of what code does. Functions
nested in it are folded in. Another minor version of Python compiles to other instructions, and so
gives another digest. Nothing here knows of values; `walk` folds in defaults and closures.
"""

from __future__ import annotations

import dis
import functools
import keyword
import re
import sys
from collections.abc import Iterator, Sequence
from types import CodeType

from blake3 import blake3
from msgspec import Struct

from ..record import IMPORTED, SEEDING, AccessPath, Key

READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
WRITES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
SKIPPED = frozenset({"NOP", "CACHE", "RESUME", "EXTENDED_ARG", "NOT_TAKEN", "PRECALL"})
LOCALS = frozenset({"LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW"})
FAST = {"LOAD_FAST": "LOAD", "LOAD_FAST_BORROW": "LOAD", "STORE_FAST": "STORE"}
DOUBLES = {
    "LOAD_FAST_LOAD_FAST": ("LOAD", "LOAD"),
    "LOAD_FAST_BORROW_LOAD_FAST_BORROW": ("LOAD", "LOAD"),
    "STORE_FAST_LOAD_FAST": ("STORE", "LOAD"),
    "STORE_FAST_STORE_FAST": ("STORE", "STORE"),
}
JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))
LINE_NAMES = frozenset({"__doc__", "__firstlineno__", "__static_attributes__", "__qualname__"})
"""What a class body stores that says where or how it is written, not what it is."""

FRAME_READERS = frozenset({"eval", "evaluate", "query", "sql"})
"""Methods that look names up in their caller's frame, by what a text says; the same as in a cell's
source (`cell.lookers`), which is not for this floor to import."""

SEEDERS = re.compile(r"(?i:.*seed)|set_?state\Z|set_rng_state")
"""What is called to set a random generator; the same as in a cell's source (`cell.calls`)."""

_WORD = re.compile(r"[^\W\d]\w*")

ATTRIBUTES = frozenset({"LOAD_ATTR"})
METHODS = frozenset({"LOAD_METHOD"})
CONSTANTS = frozenset({"LOAD_CONST", "LOAD_SMALL_INT"})
KEYS = (str, int, bool, float, bytes, type(None))
OPERATORS = frozenset({"BINARY_OP", "COMPARE_OP", "IS_OP", "CONTAINS_OP"})
LOOKS = OPERATORS | frozenset(
    {"POP_TOP", "UNARY_NEGATIVE", "UNARY_NOT"}
    | {"TO_BOOL", "POP_JUMP_IF_FALSE", "POP_JUMP_IF_TRUE", "POP_JUMP_FORWARD_IF_FALSE"}
    | {"POP_JUMP_FORWARD_IF_TRUE", "POP_JUMP_IF_NONE", "POP_JUMP_IF_NOT_NONE", "FORMAT_VALUE"}
    | {"POP_JUMP_FORWARD_IF_NONE", "POP_JUMP_FORWARD_IF_NOT_NONE", "FORMAT_SIMPLE"}
    | {"POP_JUMP_BACKWARD_IF_FALSE", "POP_JUMP_BACKWARD_IF_TRUE", "UNARY_INVERT"}
)
"""Instructions that take the value on top of the stack and keep no part of it."""


class CodeFacts(Struct, frozen=True):
    """The digest of a code object, the paths it reads from globals, and the globals it assigns."""

    digest: str
    reads: frozenset[AccessPath]
    writes: frozenset[str]


@functools.lru_cache(maxsize=8192)
def facts(code: CodeType) -> CodeFacts:
    """What `code` says, with everything nested in it. Cached: code objects never change."""
    instructions = _meaningful([i for i in dis.get_instructions(code) if i.opname not in SKIPPED])
    nested = [facts(const) for const in code.co_consts if isinstance(const, CodeType)]
    reads = set(_reads(instructions)).union(*(inner.reads for inner in nested), _texts(code))
    reads.update(_does(instructions))
    writes = {str(i.argval) for i in instructions if i.opname in WRITES}
    return CodeFacts(
        digest=_digest(code, instructions),
        reads=frozenset(reads),
        writes=frozenset(writes.union(*(inner.writes for inner in nested))),
    )


def _texts(code: CodeType) -> Iterator[AccessPath]:
    """`df.query("price > @limit")` reads names that only its text mentions."""
    if FRAME_READERS.isdisjoint(code.co_names):
        return
    own = {*code.co_varnames, *code.co_cellvars, *code.co_freevars}
    begin = 0 if code.co_name.startswith("<") else 1  # the first is the docstring, or None
    for text in (const for const in code.co_consts[begin:] if isinstance(const, str)):
        for word in set(_WORD.findall(text)) - own:
            if not keyword.iskeyword(word):
                yield AccessPath(word)


def _does(instructions: Sequence[dis.Instruction]) -> Iterator[AccessPath]:
    """What it does that no name tells: the modules that it imports, and whether it may seed."""
    base, before = "", ""
    for i in instructions:
        if i.opname == "IMPORT_NAME":
            base = str(i.argval)
            yield AccessPath(IMPORTED + base)
        elif i.opname == "IMPORT_FROM":
            yield AccessPath(f"{IMPORTED}{base}.{i.argval}")
        if SEEDERS.match(str(i.argval)) and (i.opname == "IMPORT_FROM" or _is_called(i, before)):
            yield AccessPath(SEEDING)
        before = i.opname


def _meaningful(instructions: list[dis.Instruction]) -> list[dis.Instruction]:
    """Without the pairs by which a class body stores its docstring and where it stands."""
    kept: list[dis.Instruction] = []
    for i in instructions:
        is_place = i.opname == "STORE_NAME" and i.argval in LINE_NAMES
        if is_place and kept and kept[-1].opname in CONSTANTS:
            kept.pop()
        else:
            kept.append(i)
    return kept


def _digest(code: CodeType, instructions: Sequence[dis.Instruction]) -> str:
    head = (
        code.co_name,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        # CO_NESTED, and 3.14's CO_HAS_DOCSTRING, say where code stands, not what it does.
        code.co_flags & ~(0x10 | 0x4000000),
        code.co_varnames,
        code.co_cellvars,
        code.co_freevars,
    )
    hasher = blake3(repr(head).encode("utf-8", "surrogatepass"))
    hasher.update("\n".join(_lines(instructions)).encode("utf-8", "surrogatepass"))
    hasher.update(getattr(code, "co_exceptiontable", b""))
    return hasher.hexdigest(length=20)


def _lines(instructions: Sequence[dis.Instruction]) -> Iterator[str]:
    """One line an instruction; jumps name the number of their target, not its place in bytes.

    Since 3.13 two instructions become one where they are of one line of source: they count as two.
    """
    numbers: dict[int, int] = {}
    count = 0
    for i in instructions:
        numbers[i.offset] = count
        count += 2 if i.opname in DOUBLES else 1
    for i in instructions:
        if i.opcode in JUMPS:
            # A target that is skipped itself stands for the next one that is not.
            target = next((o for o in numbers if o >= i.argval), -1)
            yield f"{i.opname} >{numbers.get(target, count)}"
        elif i.opname in DOUBLES:
            yield from (f"{op} {v!r}" for op, v in zip(DOUBLES[i.opname], i.argval, strict=True))
        elif i.opname in CONSTANTS or isinstance(i.argval, (CodeType, tuple, frozenset)):
            yield f"{i.opname} {constant(i.argval)}"
        elif i.opname in FAST:
            yield f"{FAST[i.opname]} {i.argval!r}"
        elif i.opname.startswith("LOAD_GLOBAL"):
            yield f"{i.opname} {i.argval!r} {(i.arg or 0) & 1}"
        else:
            yield f"{i.opname} {i.argval!r} {i.argrepr}"


def constant(value: object) -> str:
    """A text for a constant of code that differs wherever type or value do."""
    if isinstance(value, CodeType):
        return f"code:{facts(value).digest}"
    if isinstance(value, tuple):
        return f"({','.join(map(constant, value))})"
    if isinstance(value, frozenset):
        return f"{{{','.join(sorted(map(constant, value)))}}}"
    return f"{type(value).__name__}:{value!r}"


def _reads(instructions: Sequence[dis.Instruction]) -> Iterator[AccessPath]:
    for number, i in enumerate(instructions):
        if i.opname in READS:
            yield _path(instructions, number)


def _path(instructions: Sequence[dis.Instruction], number: int) -> AccessPath:
    """The constant attributes and subscripts that follow the load of a global.

    Only as deep as what is surely looked at and not kept: a part that goes into a call, a name or
    a container may be changed through it later, and then the whole object counts. `helpers.f` as
    the thing called keeps its attribute: the engine widens it where `helpers` is no module.
    """
    name = str(instructions[number].argval)
    parts: list[tuple[str, Key]] = []
    number += 1
    while number < len(instructions):
        i = instructions[number]
        if i.opname in METHODS or (i.opname in ATTRIBUTES and _is_method(i)):
            return AccessPath(name, tuple(parts) or (("attr", str(i.argval)),))
        if i.opname in ATTRIBUTES:
            parts.append(("attr", str(i.argval)))
            number += 1
        elif (key := _key(instructions, number)) is not None:
            parts.append(("item", key[0]))
            number += 2
        else:
            break
    return AccessPath(name, tuple(parts) if parts and _is_looked_at(instructions, number) else ())


def _is_called(i: dis.Instruction, before: str) -> bool:
    """Whether what is loaded is called, as far as can be told: a method, or a global for a call.

    A function of a module that the same text imports is loaded as any attribute is.
    """
    if i.opname in ATTRIBUTES:
        return before in READS or _is_method(i)
    return i.opname in METHODS or (i.opname in READS and bool((i.arg or 0) & 1))


def _is_method(i: dis.Instruction) -> bool:
    """Since 3.12 the lowest bit of LOAD_ATTR's argument says that a call of it follows."""
    return sys.version_info >= (3, 12) and bool((i.arg or 0) & 1)


def _key(instructions: Sequence[dis.Instruction], number: int) -> tuple[Key] | None:
    if number + 1 >= len(instructions):
        return None
    load, subscript = instructions[number : number + 2]
    if load.opname not in CONSTANTS or type(load.argval) not in KEYS:
        return None
    if subscript.opname == "BINARY_OP":
        return (load.argval,) if subscript.argrepr == "[]" else None
    return (load.argval,) if subscript.opname == "BINARY_SUBSCR" else None


def _is_looked_at(instructions: Sequence[dis.Instruction], number: int) -> bool:
    """Whether what comes next takes the value and keeps nothing of it.

    It may be the left one of two operands, if the right one is simple.
    """
    following = instructions[number : number + 2]
    if following and following[0].opname in LOOKS:
        return True
    return (
        len(following) == 2
        and (following[0].opname in CONSTANTS or following[0].opname in LOCALS)
        and following[1].opname in OPERATORS
        and following[1].argrepr != "[]"
    )
