"""Record what a cell shows while it shows live, and show it again.

A `Capture` listens while a step runs, and at no other time; every hook is taken out again by
`stop`. In a kernel it listens where messages leave (`Session.send`), so what is recorded is what
the page got: the order in which streams were flushed, output of threads, of forked children and of
`!commands`, and nothing that `%%capture` or a redirected stream kept from the page. In a terminal
it listens to the streams, the display publisher and the display hook; there, what a subprocess
writes to the terminal itself does not pass through Python and is not recorded.

IPython 9 keeps outputs of its own (`history_manager.outputs`), but without metadata, updates,
clearing and display ids, so it is not used.

Badges carry metadata `{"pipestate": ...}`; nothing that does is ever recorded.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from .displays import Message, Page

_WIDGET: Final = "application/vnd.jupyter.widget-view+json"
_MISSING: Final = object()
_SLOW: Final = 0.005  # seconds; a body slower than this has time for a look into the pipes


class Shown(Struct, frozen=True):
    """What a cell showed: the messages as the page ended up, and the object displayed last.

    `has_value` tells an object from none; figures that the inline backend shows by itself after
    the body, and widgets, which live in one kernel only, are no value. `flaw` says why the record
    may be incomplete, "" if it is not. With `is_clearing` the next output empties the page.
    """

    messages: tuple[Message, ...] = ()
    value: object = None
    has_value: bool = False
    flaw: str = ""
    is_clearing: bool = False


class Capture:
    """Listens to one run: `start(shell)`, the body, `stop()`.

        start ─ _listen_in_kernel ── send ─────────── _sent ──┐
              └ _listen_in_terminal ─ write, publish, … ──────┴─ _displayed ─ Page
              └ _watch_formatter ──── format ─ _formatted     (which object it was)
        stop ── flush, undo the hooks, Shown

    Start it once the cell has begun (`pre_run_cell` or later), stop it after matplotlib's figures
    have arrived (`post_run_cell`). What belongs to the cell is decided by the message parent at
    the moment of `start`. Captures nest: the outer hears all, and stops last.
    """

    def __init__(self) -> None:
        self._page = Page()
        self._undo: list[Callable[[], None]] = []
        self._streams: tuple[Any, ...] = ()
        self._quiet: tuple[Any, ...] = ()
        self._is_on = False
        self._pid = os.getpid()
        self._started = 0.0
        self._children = _children()
        self._muted = 0
        self._depth = 1
        self._parent = ""
        self._takers: set[str] = set()
        self._formatted: deque[tuple[dict[str, Any], object]] = deque(maxlen=16)
        self._ndisplayed = 0
        self._value: object = None
        self._has_value = False
        self._flaw = ""

    def start(self, shell: Any) -> None:
        """Begin to listen. Never raises: a shell that cannot be listened to gives a flaw."""
        self._streams = (sys.stdout, sys.stderr)
        try:
            if getattr(shell.display_pub, "session", None) is not None:
                _flush_pending(self._streams)
                self._quiet = _buffers(self._streams)
                self._listen_in_kernel(shell)
            else:
                self._listen_in_terminal(shell)
            self._watch_formatter(shell)
            self._watch_the_end(shell)
        except Exception as error:  # noqa: BLE001 - an IPython with other insides: the cell runs anyway
            self._fail(error)
        self._started = time.monotonic()
        self._is_on = True

    def stop(self) -> Shown:
        """Stop listening; what was shown since `start`."""
        if self._parent:
            try:
                if time.monotonic() - self._started > _SLOW or _children() != self._children:
                    for stream in self._streams:
                        _drain_pipe(stream)
                _drain(self._streams, self._quiet)
            except Exception as error:  # noqa: BLE001 - the cell may have broken its streams
                self._fail(error)
        self._is_on = False
        while self._undo:
            try:
                self._undo.pop()()
            except Exception as error:  # noqa: BLE001 - the cell may have replaced what we hooked
                self._fail(error)
        self._formatted.clear()
        page = self._page
        found = page.messages()
        return Shown(found, self._value, self._has_value, self._flaw, page.is_clearing)

    def _hook(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        self._undo.append(_replace(owner, name, wrap))

    def _listen_in_kernel(self, shell: Any) -> None:
        publisher = shell.display_pub
        self._parent = _message_id(publisher.parent_header) or "?"
        sending = threading.local()

        def send(original: Any) -> Any:
            def heard(*args: Any, **options: Any) -> Any:
                sending.now = True
                try:
                    answer = original(*args, **options)
                finally:
                    sending.now = False
                self._guarded(self._sent, *args, **options)
                return answer

            return heard

        def relay(original: Any) -> Any:
            def heard(frames: Any, *args: Any, **options: Any) -> Any:
                if not getattr(sending, "now", False):
                    self._guarded(self._relayed, publisher.session, frames)
                return original(frames, *args, **options)

            return heard

        self._hook(publisher.session, "send", send)
        thread = getattr(self._streams[0], "pub_thread", None)
        if thread is not None:
            self._hook(thread, "send_multipart", relay)

    def _listen_in_terminal(self, shell: Any) -> None:
        for name, stream in zip(("stdout", "stderr"), self._streams, strict=True):
            self._hook(stream, "write", self._writer(name))
        self._hook(shell.display_pub, "publish", self._shower(is_result=False))
        self._hook(shell.display_pub, "clear_output", self._clearer)
        for name in ("write_output_prompt", "finish_displayhook"):
            self._hook(shell.displayhook, name, self._silent)
        self._hook(shell.displayhook, "write_format_data", self._shower(is_result=True))

    def _watch_formatter(self, shell: Any) -> None:
        """Notice which object each bundle of representations was made from."""

        def wrap(original: Any) -> Any:
            def formatted(obj: object, *args: Any, **options: Any) -> Any:
                ndisplayed = self._ndisplayed
                bundle = original(obj, *args, **options)
                if self._is_on and self._depth > 0 and isinstance(bundle, tuple):
                    self._formatted.append((bundle[0], obj))
                    if not bundle[0] and self._ndisplayed > ndisplayed:
                        self._value, self._has_value = (
                            obj,
                            True,
                        )  # it displayed itself (`_ipython_display_`)
                return bundle

            return formatted

        self._hook(shell.display_formatter, "format", wrap)

    def _watch_the_end(self, shell: Any) -> None:
        """Notice the end of the body: what is shown after it was not handed over by the cell."""

        def begin() -> None:
            self._depth += 1

        def end() -> None:
            self._depth -= 1

        for event, callback in (("pre_execute", begin), ("post_execute", end)):
            callbacks = shell.events.callbacks[event]
            callbacks.insert(0, callback)  # before matplotlib's, which shows the figures
            self._undo.append(functools.partial(callbacks.remove, callback))

    # --- what is heard in a kernel ---

    def _sent(
        self, _socket: Any, message: Any, content: Any = None, parent: Any = None, **_rest: Any
    ) -> None:
        if isinstance(message, dict):
            kind, content = message["header"]["msg_type"], message["content"]
            parent = message.get("parent_header")
        else:
            kind = message
        if _message_id(parent) in (self._parent, ""):
            self._heard(str(kind), content)

    def _heard(self, kind: str, content: Mapping[str, Any]) -> None:
        if kind == "comm_msg":
            self._redirect(content)
        elif self._takers:
            return  # a front end puts it into the widget, and clears the widget alone
        elif kind == "stream":
            self._page.stream(content["name"], content["text"])
        elif kind in ("display_data", "update_display_data", "execute_result"):
            is_update, is_result = kind == "update_display_data", kind == "execute_result"
            transient = content.get("transient")
            self._displayed(content, transient, is_update=is_update, is_result=is_result)
            self._quiet = _buffers(self._streams)
        elif kind == "clear_output":
            self._page.clear(wait=bool(content.get("wait")))
        elif kind == "error":
            self._page.error(content["ename"], content["evalue"], content["traceback"])

    def _relayed(self, session: Any, frames: Any) -> None:
        """A message that a forked child sent through this kernel."""
        _, parts = session.feed_identities(list(frames), copy=True)
        header, parent, _, content = (session.unpack(part) for part in parts[1:5])
        self._sent(None, header["msg_type"], content, parent)

    def _redirect(self, content: Mapping[str, Any]) -> None:
        """An `Output` widget takes what the cell shows for as long as it holds its message id."""
        state = content.get("data", {}).get("state") or {}
        if "msg_id" in state:
            taker = {content["comm_id"]}
            self._takers = self._takers | taker if state["msg_id"] else self._takers - taker

    # --- what is heard in a terminal ---

    def _writer(self, name: str) -> Callable[[Any], Any]:
        def wrap(original: Any) -> Any:
            def write(text: Any, *args: Any, **options: Any) -> Any:
                count = original(text, *args, **options)
                if not self._muted:
                    self._guarded(self._page.stream, name, text)
                return count

            return write

        return wrap

    def _shower(self, *, is_result: bool) -> Callable[[Any], Any]:
        def wrap(original: Any) -> Any:
            def show(data: Any, metadata: Any = None, *args: Any, **options: Any) -> Any:
                with self._silence():
                    answer = original(data, metadata, *args, **options)
                content = {"data": data, "metadata": metadata}
                about = {"is_update": bool(options.get("update")), "is_result": is_result}
                self._guarded(self._displayed, content, options.get("transient"), **about)
                return answer

            return show

        return wrap

    def _clearer(self, original: Any) -> Any:
        def clear_output(wait: bool = False) -> Any:
            with self._silence():
                answer = original(wait)
            self._guarded(self._page.clear, wait=wait)
            return answer

        return clear_output

    def _silent(self, original: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            with self._silence():
                return original(*args, **options)

        return call

    @contextlib.contextmanager
    def _silence(self) -> Iterator[None]:
        self._muted += 1
        try:
            yield
        finally:
            self._muted -= 1

    # --- what both come to ---

    def _displayed(
        self,
        content: Mapping[str, Any],
        transient: Mapping[str, Any] | None,
        *,
        is_update: bool = False,
        is_result: bool = False,
    ) -> None:
        data, metadata = content["data"], content.get("metadata") or {}
        if "pipestate" in metadata:
            return
        display_id = str((transient or {}).get("display_id") or "")
        if is_update:
            self._page.update(display_id, data, metadata)
        else:
            self._page.display(data, metadata, display_id=display_id, is_result=is_result)
        if _WIDGET in data:
            return
        self._ndisplayed += 1
        for bundle, obj in reversed(self._formatted):
            if bundle is data:
                self._value, self._has_value = obj, True
                break

    def _guarded(self, listen: Callable[..., None], *args: Any, **options: Any) -> None:
        if not self._is_on or os.getpid() != self._pid:
            return  # a forked child has its own copy of the page, and perhaps a lock held for ever
        try:
            listen(*args, **options)
        except Exception as error:  # noqa: BLE001 - what a display holds is the user's
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._flaw = self._flaw or f"what was shown was not all recorded ({error!r})"


def _replace(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Callable[[], None]:
    """Put a wrapper over a method of one object; gives what takes it off again."""
    before = vars(owner).get(name, _MISSING)
    wrapper = wrap(getattr(owner, name))
    setattr(owner, name, wrapper)

    def undo() -> None:
        if vars(owner).get(name) is not wrapper:
            return  # somebody put a wrapper over ours, which from now on only passes things on
        if before is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, before)

    return undo


def _message_id(parent: Any) -> str:
    """The id of the request that a message answers; `parent` is a message or its header."""
    parent = parent or {}
    return str(parent.get("msg_id") or (parent.get("header") or {}).get("msg_id") or "")


def _flush_pending(streams: Iterable[Any]) -> None:
    """Send what was printed before now. A flush is a round trip to a thread: only if needed."""
    for stream in streams:
        if getattr(stream, "_flush_pending", True):
            stream.flush()


def _buffers(streams: Iterable[Any]) -> tuple[Any, ...]:
    """What ipykernel's streams write into. Each flush puts new ones in their place."""
    return tuple(getattr(stream, "_buffers", None) for stream in streams)


def _drain(streams: Iterable[Any], quiet: tuple[Any, ...]) -> None:
    """Wait until all that was written to the streams has been sent.

    `quiet` are the buffers as they were when everything had been sent: the same ones and empty,
    there is nothing to wait for, which spares a quiet step a round trip to ipykernel's thread.
    """
    pairs = zip(_buffers(streams), quiet, strict=True)
    if all(now is then and now is not None and not now for now, then in pairs):
        return
    first, second = streams
    first.flush()  # pending or not: it also waits for a flush that a timer has begun
    _flush_pending((second,))


def _children() -> Any:
    """What ended children have used: it changes when a body has run another program."""
    if sys.platform == "win32":
        return None  # ipykernel watches no file descriptors there
    import resource  # Unix only

    return resource.getrusage(resource.RUSAGE_CHILDREN)


def _drain_pipe(stream: Any) -> None:
    """Wait until what subprocesses and C code wrote has gone through ipykernel's pipe.

    A thread of ipykernel's reads from the pipe and writes to the stream. A NUL sent the same way
    tells, when it arrives, that all that was before it has; it goes no further than to the log.
    What C code in this process writes in the last instant of a quick body may be missed.
    """
    pipe, target = getattr(stream, "_fid", None), getattr(stream, "_original_stdstream_fd", None)
    if pipe is None or target is None or os.fstat(pipe).st_ino != os.fstat(target).st_ino:
        return  # no pipe, or the cell has pointed the descriptor elsewhere
    has_arrived = threading.Event()

    def wrap(write: Any) -> Any:
        def until_mark(text: Any, *args: Any) -> Any:
            is_mark = isinstance(text, str) and "\0" in text
            rest = text.replace("\0", "", 1) if is_mark else text
            count = write(rest, *args) if rest else 0
            if is_mark:
                has_arrived.set()
            return count

        return until_mark

    undo = _replace(stream, "write", wrap)
    os.write(target, b"\0")
    has_arrived.wait(0.5)
    undo()


# --- showing again -------------------------------------------------------------------------------


def replay(shell: Any, messages: Iterable[Message]) -> None:
    """Send the messages again, as what they were and in their order; no value is needed.

    A result gets the number of the cell that runs now. A widget's view is sent while its model
    lives in this kernel, else what it has in other forms.
    """
    for message in messages:
        kind = message["output_type"]
        if kind == "stream":
            stream = sys.stderr if message["name"] == "stderr" else sys.stdout
            stream.write(message["text"])
            stream.flush()
        elif kind == "error":
            _replay_error(shell, message)
        elif kind == "execute_result":
            _replay_result(shell, message)
        else:
            shell.display_pub.publish(
                data=_alive(message["data"]),
                metadata=dict(message["metadata"]),
                transient=dict(message.get("transient") or {}),
                update=kind == "update_display_data",
            )


def _replay_result(shell: Any, message: Message) -> None:
    """The life of a result in IPython's display hook, without the object."""
    hook, data = shell.displayhook, _alive(message["data"])
    hook.start_displayhook()
    hook.write_output_prompt()
    hook.write_format_data(data, dict(message["metadata"]))
    hook.log_output(data)
    hook.finish_displayhook()


def _replay_error(shell: Any, message: Message) -> None:
    hook = shell.displayhook
    session = getattr(hook, "session", None)
    if session is None:
        sys.stdout.write("\n".join(message["traceback"]) + "\n")
        return
    content = {key: message[key] for key in ("ename", "evalue", "traceback")}
    session.send(hook.pub_socket, "error", content, hook.parent_header, ident=b"error")


def _alive(data: Mapping[str, Any]) -> dict[str, Any]:
    """The representations that still mean something; a model is reached by the comm of its id."""
    view, comm = data.get(_WIDGET), sys.modules.get("comm")
    models = getattr(comm.get_comm_manager(), "comms", {}) if view and comm else {}
    if view is None or (isinstance(view, Mapping) and view.get("model_id") in models):
        return dict(data)
    rest = {mime: item for mime, item in data.items() if mime != _WIDGET}
    return rest or {"text/plain": "(a widget of an earlier kernel)"}
