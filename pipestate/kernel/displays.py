"""What a cell showed, as data: the page while it fills, and the messages that it ended up as.

A `Page` is fed what arrives and gives what a reader sees at the end: cleared output is gone,
updated displays show their last state, progress bars are their last line. It knows no kernel, so
that the rules of a page can be tested without one.

The messages are Jupyter's outputs, JSON through and through, in one of these shapes:

    {"output_type": "stream", "name": "stdout", "text": ...}
    {"output_type": "display_data", "data": {...}, "metadata": {...}, "transient": {...}}
    {"output_type": "execute_result", "data": {...}, "metadata": {...}, "transient": {...}}
    {"output_type": "update_display_data", ...}   an update of what an earlier cell displayed
    {"output_type": "error", "ename": ..., "evalue": ..., "traceback": [...]}

`transient` is there only to hold a `display_id`. Binary data is base64 text, as in nbformat.
Text is cut in the middle beyond a bound; displays are not, since a picture cannot be cut.

Text that overwrites itself (progress bars print thousands of lines over one another) follows a
terminal's rules: a carriage return goes to the start of the line, and what follows overwrites it
character by character. Colours take no room; they stay with the character that they stand before,
a reset with the one before it, so a bar half overwritten by a shorter one may lose its colour.
Wide characters count as one, as they do in a notebook.

It is longer than most rooms because both halves, the page and the text on it, say what "ended up"
means, and neither is of use without the other.
"""

from __future__ import annotations

import base64
import datetime
import json
import numbers
import re
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct, field

from ..errors import FormatError

Message = dict[str, Any]
"""One Jupyter output in one of the shapes above."""

TEXT_LIMIT: Final = 10_000_000
"""Characters of printed text that are kept of one run: half from its start, half from its end."""

_SETTLE: Final = 1 << 16
_LONGEST: Final = 1 << 20  # what is longer than this before it settles is no progress bar
_ENTRY_COST: Final = 200
_REACH: Final = 64
"""How many lines up a cursor can still go in text of which a beginning was settled."""

_TOKEN: Final = re.compile(
    r"\r*\n|\r|\x08|\x1b\[([\d;]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[^\r\n\x08\x1b]+|\x1b"
)
_MOVES: Final = re.compile(r"\x1b\[[\d;]*[ABCDGJK]")
_UNFINISHED: Final = re.compile(r"\x1b(?:\[[\d;]*|\][^\x07\x1b]*\x1b?)?\Z")
_RESETS: Final = frozenset(("\x1b[m", "\x1b[0m", "\x1b[39m", "\x1b[49m", "\x1b[39;49m", "\x1b[22m"))
_BUNDLES: Final = frozenset(("display_data", "execute_result", "update_display_data"))


class _Text(Struct):
    """Adjacent text of one stream: what nothing can change any more, and what has come since."""

    name: str
    settled: deque[str] = field(default_factory=deque)
    raw: list[str] = field(default_factory=list)
    nraw: int = 0
    enough: int = _SETTLE

    def write(self, text: str) -> int:
        """Add text; the number of characters by which it grew, which may be negative."""
        self.raw.append(text)
        self.nraw += len(text)
        if self.nraw < self.enough:
            return len(text)
        before = self.nraw - len(text)
        done, rest = settle("".join(self.raw))
        if len(rest) > _LONGEST:
            done, rest = done + collapse(rest), ""
        self.settled.append(done)
        self.raw, self.nraw = [rest], len(rest)
        self.enough = _SETTLE + 2 * len(rest)
        return len(done) + len(rest) - before

    def drop(self, count: int) -> int:
        """Take up to `count` characters off its start; how many it were."""
        dropped = 0
        while dropped < count and not self.is_empty:
            if not self.settled:
                self.settled.append("".join(self.raw))
                self.raw, self.nraw = [], 0
            piece = self.settled.popleft()
            cut = min(len(piece), count - dropped)
            dropped += cut
            if cut < len(piece):
                self.settled.appendleft(piece[cut:])
        return dropped

    @property
    def is_empty(self) -> bool:
        return not self.settled and not self.raw

    def text(self) -> str:
        return "".join(self.settled) + collapse("".join(self.raw))


class Page:
    """A cell's output area while it fills; `messages()` is what it holds.

    Any thread may write to it. Half of `limit` is kept from the start of the printed text in
    `_head`, the other half from its end in `_tail`; `_between` holds the displays shown in the
    stretch of text that was left out. Below the limit everything is in `_head`.
    """

    def __init__(self, limit: int = TEXT_LIMIT) -> None:
        self._half = max(limit // 2, 1)
        self._lock = threading.RLock()  # a finalizer that prints may run at any line
        self._is_clearing = False
        self._known: set[str] = set()
        self._empty()

    def _empty(self) -> None:
        self._head: list[_Text | Message] = []
        self._between: list[Message] = []
        self._tail: deque[_Text | Message] = deque()
        self._nhead = self._ntail = self._nlost = 0
        self._lost_name = "stdout"
        self._is_clearing = False

    def stream(self, name: str, text: str) -> None:
        """Text on stdout or stderr."""
        with self._lock:
            if self._is_clearing:
                self._empty()
            for start in range(0, len(text), self._half):
                self._write(name, text[start : start + self._half])

    def display(
        self,
        data: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        *,
        display_id: str = "",
        is_result: bool = False,
    ) -> None:
        """A rich display, or the cell's result."""
        kind = "execute_result" if is_result else "display_data"
        message = _bundle(kind, data, metadata, display_id)
        with self._lock:
            if self._is_clearing:
                self._empty()
            if display_id:
                self._known.add(display_id)
                self._refresh(display_id, message)
            self._append(message)

    def update(
        self, display_id: str, data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
    ) -> None:
        """New contents for what was displayed under this id, here or by an earlier cell."""
        message = _bundle("update_display_data", data, metadata, display_id)
        with self._lock:
            if not self._refresh(display_id, message) and display_id not in self._known:
                self._append(message)

    def error(self, ename: str, evalue: str, traceback: Iterable[str]) -> None:
        """A traceback that was shown."""
        lines = [str(line) for line in traceback]
        with self._lock:
            if self._is_clearing:
                self._empty()
            self._append(
                {"output_type": "error", "ename": ename, "evalue": evalue, "traceback": lines}
            )

    def clear(self, *, wait: bool = False) -> None:
        """Empty the page, with `wait` only when the next output comes."""
        with self._lock:
            if wait:
                self._is_clearing = True
            else:
                self._empty()

    @property
    def is_clearing(self) -> bool:
        """Whether the next output will empty the page first."""
        return self._is_clearing

    def messages(self) -> tuple[Message, ...]:
        """What the page holds now, adjacent text of one stream joined."""
        with self._lock:
            found: list[Message] = []
            for entry in (*self._head, *self._gap(), *self._between, *self._tail):
                if not isinstance(entry, _Text):
                    found.append(dict(entry))
                elif text := entry.text():
                    last = found[-1] if found else {}
                    if last.get("name") == entry.name:
                        last["text"] += text
                    else:
                        found.append({"output_type": "stream", "name": entry.name, "text": text})
            return tuple(found)

    def _gap(self) -> list[_Text]:
        if not self._nlost:
            return []
        line = f"\n[... {self._nlost:,} characters are left out here ...]\n"
        return [_Text(self._lost_name, deque([line]))]

    def _write(self, name: str, text: str) -> None:
        entries: list[_Text | Message] | deque[_Text | Message]
        is_head = self._nhead < self._half
        entries = self._head if is_head else self._tail
        last = entries[-1] if entries else None
        grown = 0
        if not isinstance(last, _Text) or last.name != name:
            last = _Text(name)
            entries.append(last)
            grown = _ENTRY_COST
        grown += last.write(text)
        if is_head:
            self._nhead += grown
        else:
            self._ntail += grown
            if self._ntail > self._half + self._half // 4:
                self._trim()

    def _trim(self) -> None:
        """Leave out the start of the tail, down to half of the limit."""
        while self._tail and self._ntail > self._half:
            first = self._tail[0]
            if not isinstance(first, _Text):
                self._between.append(first)
                self._tail.popleft()
                continue
            self._lost_name = first.name
            dropped = first.drop(self._ntail - self._half)
            self._nlost += dropped
            self._ntail -= dropped
            if first.is_empty:
                self._tail.popleft()
                self._ntail -= _ENTRY_COST

    def _append(self, message: Message) -> None:
        (self._head if self._nhead < self._half else self._tail).append(message)

    def _refresh(self, display_id: str, message: Message) -> bool:
        """Show the message's contents wherever this id is on the page; whether it is."""
        is_here = False
        for entry in (*self._head, *self._between, *self._tail) if display_id else ():
            if isinstance(entry, dict) and display_id_of(entry) == display_id:
                entry["data"], entry["metadata"] = message["data"], message["metadata"]
                is_here = True
        return is_here


def _bundle(
    kind: str, data: Mapping[str, Any], metadata: Mapping[str, Any] | None, display_id: str
) -> Message:
    message = {"output_type": kind, "data": plain(data), "metadata": plain(metadata or {})}
    if display_id:
        message["transient"] = {"display_id": display_id}
    return message


def display_id_of(message: Mapping[str, Any]) -> str:
    """The display id that a message carries, or ""."""
    return str((message.get("transient") or {}).get("display_id") or "")


def plain(value: Any) -> Any:
    """A copy in JSON's own types, made as a Jupyter client makes it."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


def as_text(messages: Iterable[Message]) -> str:
    """What a terminal would show of the messages."""
    shown = []
    for message in messages:
        if message["output_type"] == "stream":
            shown.append(message["text"])
        elif message["output_type"] == "error":
            shown.append("\n".join(message["traceback"]) + "\n")
        elif message["output_type"] != "update_display_data" and message["data"].get("text/plain"):
            shown.append(f"{message['data']['text/plain']}\n")
    return "".join(shown)


def to_bytes(messages: Iterable[Message]) -> bytes:
    """The bytes that `from_bytes` reads: one JSON array, UTF-8."""
    plain_json = json.dumps(list(messages), ensure_ascii=False, separators=(",", ":"))
    return plain_json.encode("utf-8", "surrogatepass")


def from_bytes(stored: bytes) -> tuple[Message, ...]:
    """The messages whose `to_bytes` gave `stored`; raises FormatError for anything else."""
    try:
        messages = json.loads(stored.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise _malformed(str(error)) from error
    if not isinstance(messages, list):
        raise _malformed("no list")
    for message in messages:
        if not _is_message(message):
            raise _malformed(f"{str(message)[:40]!r} is no output")
    return tuple(messages)


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("output_type"), str):
        return False
    kind = message["output_type"]
    if kind == "stream":
        return message.get("name") in ("stdout", "stderr") and isinstance(message.get("text"), str)
    if kind == "error":
        words = (message.get("ename"), message.get("evalue"))
        lines = message.get("traceback")
        return isinstance(lines, list) and all(isinstance(one, str) for one in (*words, *lines))
    has_bundle = isinstance(message.get("data"), dict) and isinstance(message.get("metadata"), dict)
    return kind in _BUNDLES and has_bundle and isinstance(message.get("transient", {}), dict)


def _malformed(why: str) -> FormatError:
    return FormatError(
        f"not outputs that this pipestate can read ({why})",
        "`%pipe verify` finds what is damaged; a newer pipestate may have written it",
    )


# --- text that overwrites itself ------------------------------------------------------------------


def collapse(text: str) -> str:
    """What is seen of the text in the end."""
    if not _overwrites(text):
        return text
    if "\x1b" not in text and "\x08" not in text:
        *lines, last = text.split("\n")
        return "".join([f"{_overlay_ended(line)}\n" for line in lines]) + _overlay(last)
    return _Screen(text).text()


def settle(text: str) -> tuple[str, str]:
    """What nothing that follows can change, and text with the effect of the rest."""
    if "\x1b" in text or "\x08" in text:
        cut = _UNFINISHED.search(text)
        held = text[cut.start() :] if cut else ""
        done, rest = _Screen(text[: len(text) - len(held)]).settled()
        return done, rest + held
    lines = text.split("\n")
    first = max(0, len(lines) - _REACH)
    done, rest = "\n".join([*lines[:first], ""]), "\n".join([*lines[first:-1], ""])
    line = lines[-1]
    if "\r" in line:
        seen, column = _overlay(line), len(line) - line.rfind("\r") - 1
        line = f"{seen}\r{seen[:column]}"
    return collapse(done), collapse(rest) + line


def _overwrites(text: str) -> bool:
    return "\r" in text or "\x08" in text or ("\x1b" in text and _MOVES.search(text) is not None)


def _overlay_ended(line: str) -> str:
    """A line that a newline ended: a carriage return right before that is part of its end."""
    bare = line.rstrip("\r")
    return _overlay(bare) + ("\r" if len(bare) < len(line) else "")


def _overlay(line: str) -> str:
    if "\r" not in line:
        return line
    *earlier, seen = line.split("\r")
    for written in reversed(earlier):
        seen += written[len(seen) :]
    return seen


class _Screen:
    """The lines that a text leaves, each a list of cells, and where the cursor stands."""

    def __init__(self, text: str) -> None:
        self.lines: list[list[str]] = [[]]
        self.ends: list[str] = []
        self.row = self.column = 0
        self.pending = ""
        self.is_returned = False
        for match in _TOKEN.finditer(text):
            token = match[0]
            if token[0] == "\x1b":
                self._escape(token, match[1] or "", match[2] or "")
            elif token == "\x08":
                self.column = max(0, self.column - 1)
            elif token == "\r":
                self.column = 0
            elif token[-1] == "\n":
                self._newline("\r\n" if len(token) > 1 or self.is_returned else "\n")
            else:
                self._print(token)
            self.is_returned = token == "\r"

    def _print(self, token: str) -> None:
        line = self.lines[self.row]
        line.extend(" " * (self.column - len(line)))
        line[self.column : self.column + len(token)] = token
        if self.pending:
            line[self.column] = self.pending + line[self.column]
            self.pending = ""
        self.column += len(token)

    def _newline(self, end: str) -> None:
        if self.row == len(self.lines) - 1:
            self.ends.append(end)
            self.lines.append([])
        self.row += 1
        self.column = 0

    def _escape(self, token: str, argument: str, letter: str) -> None:
        line = self.lines[self.row]
        count = int(argument) if argument.isdigit() else 0
        if letter and letter in "ABCDG":
            self._move(letter, max(count, 1))
        elif letter == "K":
            _erase(line, self.column, count)
        elif letter == "J" and count == 0:
            _erase(line, self.column, 0)
            del self.lines[self.row + 1 :], self.ends[self.row :]
        elif letter == "J":
            self.lines, self.ends, self.row, self.column = [[]], [], 0, 0
        elif token in _RESETS and 0 < self.column <= len(line):
            line[self.column - 1] += self.pending + token
            self.pending = ""
        else:
            self.pending += token

    def _move(self, letter: str, count: int) -> None:
        if letter == "A":
            self.row = max(0, self.row - count)
        elif letter == "B":
            self.row = min(len(self.lines) - 1, self.row + count)
        elif letter == "C":
            self.column += count
        elif letter == "D":
            self.column = max(0, self.column - count)
        else:
            self.column = count - 1

    def text(self, start: int = 0, stop: int | None = None) -> str:
        """The lines from `start` to `stop`, with their ends."""
        pieces = []
        for index in range(start, len(self.lines) if stop is None else stop):
            pieces.extend(self.lines[index])
            pieces.extend(self.ends[index : index + 1])
        return "".join(pieces) + (self.pending if stop is None else "")

    def settled(self) -> tuple[str, str]:
        """The lines out of the cursor's reach, and text that gives the others and the cursor."""
        first = max(0, min(self.row, len(self.lines) - _REACH))
        pending, self.pending = self.pending, ""
        rest = self.text(first) + pending
        up = len(self.lines) - 1 - self.row
        column = len(self.lines[-1])
        if up:
            rest += f"\x1b[{up}A"
        if self.is_returned:
            rest += "\r"
        elif self.column < column:
            rest += f"\x1b[{column - self.column}D"
        elif self.column > column:
            rest += f"\x1b[{self.column - column}C"
        return self.text(0, first), rest


def _erase(line: list[str], column: int, mode: int) -> None:
    if mode == 0:
        del line[column:]
    elif mode == 1:
        line[:column] = " " * min(column, len(line))
    else:
        line.clear()
