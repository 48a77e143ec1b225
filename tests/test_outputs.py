"""What a cell shows is recorded as the page ended up, and shown again as what it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.manager import start_new_kernel

from pipestate.errors import FormatError
from pipestate.kernel.displays import (
    Page,
    as_text,
    collapse,
    from_bytes,
    settle,
    to_bytes,
)

ROOT = str(Path(__file__).parents[1])

DRIVER = """
import json
from pipestate.kernel import outputs

class Driver:
    '''Captures every cell whose first line is `# step`.'''

    def __init__(self, shell):
        self.shell, self.capture, self.shown = shell, None, None
        shell.events.register("pre_run_cell", self.before)
        shell.events.register("post_run_cell", self.after)

    def before(self, info):
        if info.raw_cell.startswith("# step"):
            self.capture = outputs.Capture()
            self.capture.start(self.shell)

    def after(self, result):
        if self.capture:
            self.shown, self.capture = self.capture.stop(), None

    def replay(self):
        outputs.replay(self.shell, self.shown.messages)

    def report(self):
        value = repr(self.shown.value) if self.shown.has_value else None
        return [list(self.shown.messages), value, self.shown.flaw]

def load_ipython_extension(shell):
    shell.user_ns["driver"] = Driver(shell)
"""


class Kernel:
    """A kernel whose cells answer with the outputs that a notebook would hold."""

    def __init__(self, folder: Path) -> None:
        (folder / "capture_driver.py").write_text(DRIVER)
        env = os.environ | {"PYTHONPATH": ROOT}
        env.pop(
            "PYTEST_CURRENT_TEST", None
        )  # in its presence ipykernel leaves the descriptors alone
        self.manager, self.client = start_new_kernel(
            kernel_name="python3", cwd=str(folder), env=env
        )
        self.run("import sys; sys.path.insert(0, '.')\n%load_ext capture_driver")

    def run(self, code: str) -> list[dict[str, Any]]:
        request = self.client.execute(code)
        shown = []
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != request:
                continue
            content = message["content"]
            if content.get("execution_state") == "idle":
                break
            if message["msg_type"] not in ("status", "execute_input"):
                shown.append({"type": message["msg_type"], **content})
        self.client.get_shell_msg(timeout=60)
        return shown

    def step(self, code: str) -> Captured:
        """Run a cell under a capture, and replay what it showed in a cell of its own."""
        live = self.run(f"# step\n{code}")
        report = self.run("import json; print(json.dumps(driver.report()))")
        messages, value, flaw = json.loads(report[0]["text"])
        assert not flaw
        return Captured(live, messages, value, self.run("driver.replay()"))

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


class Captured:
    def __init__(self, live: Any, messages: Any, value: str | None, replayed: Any) -> None:
        self.live, self.messages, self.value, self.replayed = live, messages, value, replayed

    @property
    def texts(self) -> list[str]:
        return [m.get("text") or m["data"]["text/plain"] for m in self.messages]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for all tests: a capture leaves nothing behind."""
    kernel = Kernel(tmp_path_factory.mktemp("kernel"))
    yield kernel
    kernel.stop()


def stream(text: str, name: str = "stdout") -> dict[str, str]:
    """The message of printed text."""
    return {"output_type": "stream", "name": name, "text": text}


# --- in a kernel ---------------------------------------------------------------------------------


def test_streams_and_result_are_recorded_in_the_order_of_the_page(kernel: Kernel) -> None:
    """Standard output, standard error and the result, as messages of their own."""
    step = kernel.step("import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
    assert step.messages == [
        stream("out\n"),
        stream("err\n", "stderr"),
        {"output_type": "execute_result", "data": {"text/plain": "42"}, "metadata": {}},
    ]


def test_a_replay_sends_what_was_sent(kernel: Kernel) -> None:
    """The same kinds, in the same order; the result bears the number of the replaying cell."""
    step = kernel.step(
        "import sys\nfrom IPython.display import HTML, display\n"
        "print('out')\ndisplay(HTML('<b>rich</b>'))\nprint('err', file=sys.stderr)\n'last'"
    )
    number = step.live[-1].pop("execution_count")
    assert step.replayed[-1].pop("execution_count") == number + 2
    assert step.replayed == step.live


def test_what_was_printed_before_the_start_is_not_recorded(kernel: Kernel) -> None:
    """Text still in the stream's buffer belongs to whoever printed it."""
    code = (
        "from pipestate.kernel.outputs import Capture\nprint('before')\ncapture = Capture()\n"
        "capture.start(get_ipython())\nprint('inside')\nshown = capture.stop()\nprint('after')\n"
    )
    kernel.run(code)
    assert kernel.run("shown.messages")[0]["data"]["text/plain"] == repr((stream("inside\n"),))


def test_the_value_is_the_object_displayed_last(kernel: Kernel) -> None:
    """A result, an object given to display, or an update: whichever came last."""
    assert kernel.step("display([1])\n[2]").value == "[2]"
    assert kernel.step("display([1])\nNone").value == "[1]"
    assert kernel.step("h = display([1], display_id=True)\nh.update([3])").value == "[3]"


def test_a_cell_that_displays_nothing_has_no_value(kernel: Kernel) -> None:
    """Printing is no display, nor is a result that a semicolon hides."""
    assert kernel.step("x = 1\nprint(x)").value is None
    assert kernel.step("x;").value is None


def test_an_object_that_displays_itself_is_a_value(kernel: Kernel) -> None:
    """`_ipython_display_` publishes other data than the object's own."""
    code = (
        "class Own:\n    def _ipython_display_(self): display('inner')\n"
        "    def __repr__(self): return 'an Own'\nOwn()"
    )
    assert kernel.step(code).value == "an Own"


def test_what_capture_magic_keeps_from_the_page_is_not_recorded(kernel: Kernel) -> None:
    """`%%capture` hides streams and displays, and its value is none of the cell's."""
    step = kernel.step("get_ipython().run_cell_magic('capture', 'c', 'print(1)\\n[2]')")
    assert (step.messages, step.value) == ([], None)


def test_cleared_output_is_gone(kernel: Kernel) -> None:
    """At once without `wait`; with it when the next output comes, and else not at all."""
    clear = "from IPython.display import clear_output\nprint('a')\nclear_output({})\n"
    assert kernel.step(clear.format("")).texts == []
    assert kernel.step(clear.format("wait=True")).texts == ["a\n"]
    assert kernel.step(clear.format("wait=True") + "print('b')").texts == ["b\n"]


def test_an_updated_display_shows_its_last_state_in_its_place(kernel: Kernel) -> None:
    """The id is kept, so that a later cell can still update it."""
    step = kernel.step("h = display(1, display_id='d1')\nprint('x')\nh.update(2)\nh.update(3)")
    assert step.texts == ["3", "x\n"]
    assert step.replayed[0]["transient"] == {"display_id": "d1"}


def test_an_update_of_an_earlier_cells_display_is_sent_again(kernel: Kernel) -> None:
    """Only its last state, as the update that it was."""
    kernel.run("h = display(1, display_id='d2')")
    step = kernel.step("h.update(2)\nh.update(3)")
    assert [m["type"] for m in step.replayed] == ["update_display_data"]
    assert step.texts == ["3"]


def test_a_progress_bar_is_its_last_line(kernel: Kernel) -> None:
    """Carriage returns overwrite, over many flushes of the stream."""
    code = "for i in range(3):\n    print(f'\\r{i}0%', end='', flush=True)\nprint()"
    assert kernel.step(code).texts == ["20%\n"]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            "import threading\nt = threading.Thread(target=print, args=(1,))\nt.start(); t.join()",
            "1\n",
        ),
        ("!echo shell", "shell\r\n"),
        ("import subprocess\nx = subprocess.run(['echo', 'program'])", "program\n"),
        ("import os\nos.system('echo a; sleep 0.1; echo b')\nNone", "a\nb\n"),
        ("import sys, time\nprint('a')\ntime.sleep(0.3)\nprint('b')", "a\nb\n"),
    ],
)
def test_output_of_threads_and_programs_is_recorded(kernel: Kernel, code: str, text: str) -> None:
    """Whatever way it comes to the page."""
    step = kernel.step(code)
    assert (step.texts, step.replayed[0]["text"]) == ([text], text)


def test_output_of_forked_children_is_recorded(kernel: Kernel) -> None:
    """Their messages pass through this kernel."""
    code = (
        "import multiprocessing, time\nwith multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    x = pool.map(print, ['child'])\ntime.sleep(0.3)"
    )
    assert "".join(kernel.step(code).texts) == "child\n"


def test_warnings_and_logging_are_recorded_as_standard_error(kernel: Kernel) -> None:
    """They find the stream by themselves."""
    step = kernel.step("import warnings, logging\nwarnings.warn('careful')\nlogging.error('bad')")
    assert {m["name"] for m in step.messages} == {"stderr"}
    assert "careful" in step.texts[0]
    assert "bad" in step.texts[0]


def test_figures_of_the_inline_backend_are_recorded_as_images(kernel: Kernel) -> None:
    """They arrive after the body; the cell did not hand them over, so they are no value."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("matplotlib_inline")
    step = kernel.step("%matplotlib inline\nimport matplotlib.pyplot as plt\nl = plt.plot([1, 2])")
    assert step.messages[-1]["data"]["image/png"].startswith("iVBOR")
    assert step.replayed[-1]["data"] == step.live[-1]["data"]
    assert step.value is None


def test_binary_data_is_base64_text(kernel: Kernel) -> None:
    """As in a notebook file."""
    code = "from IPython.display import publish_display_data as p\np({'image/x': b'\\x00\\x01'})"
    assert kernel.step(code).messages[0]["data"] == {"image/x": "AAE="}


def test_a_badge_is_shown_and_never_recorded(kernel: Kernel) -> None:
    """Metadata and display id tell it from what the cell shows."""
    code = (
        "from pipestate.kernel.badges import show\nprint('mine')\n"
        "show(get_ipython(), {'seconds': 1}, 's ran', '<p>s ran</p>', 's', 'fresh', 's-1')"
    )
    step = kernel.step(code)
    assert step.messages == [stream("mine\n")]
    badge = step.live[-1]
    assert badge["metadata"] == {"pipestate": {"seconds": 1, "step": "s", "state": "fresh"}}
    assert badge["transient"] == {"display_id": "pipestate-s-1"}


def test_a_badge_is_updated_where_it_stands(kernel: Kernel) -> None:
    """With the same id and metadata of the same shape."""
    shown = kernel.run(
        "from pipestate.kernel.badges import show\n"
        "show(get_ipython(), {}, 't', 'h', 's', 'stale', 'pipestate-1', update=True)"
    )
    assert [m["type"] for m in shown] == ["update_display_data"]
    assert shown[0]["metadata"] == {"pipestate": {"step": "s", "state": "stale"}}


def test_a_widget_is_replayed_while_its_model_lives(kernel: Kernel) -> None:
    """Without the model, the text form is all that means something; a widget is no value."""
    view = "application/vnd.jupyter.widget-view+json"
    step = kernel.step(
        "import comm\nmodel = comm.create_comm(target_name='jupyter.widget')\n"
        "class Slider:\n    def _repr_mimebundle_(self, **k):\n"
        f"        return {{'{view}': {{'model_id': model.comm_id}}, 'text/plain': 'Slider()'}}\n"
        "Slider()"
    )
    assert view in step.replayed[-1]["data"]
    assert step.value is None
    kernel.run("model.close()")
    gone = kernel.run("driver.replay()")
    assert gone[-1]["data"] == {"text/plain": "Slider()"}


def test_what_an_output_widget_takes_is_no_part_of_the_page(kernel: Kernel) -> None:
    """The widget shows it; clearing clears the widget alone."""
    step = kernel.step(
        "import comm\nfrom IPython.display import clear_output\n"
        "box = comm.create_comm(target_name='jupyter.widget')\n"
        "def take(parent):\n    import sys; sys.stdout.flush()\n"
        "    box.send({'method': 'update', 'state': {'msg_id': parent}})\n"
        "print('before')\ntake('this')\nprint('inside')\nclear_output()\ntake('')\nprint('after')"
    )
    assert step.messages == [stream("before\nafter\n")]


def test_an_outer_capture_hears_what_an_inner_one_hears(kernel: Kernel) -> None:
    """And hears on when the inner one has ended."""
    kernel.step(
        "print('a')\nfrom pipestate.kernel.outputs import Capture\ninner = Capture()\n"
        "inner.start(get_ipython())\nprint('b')\nheard = inner.stop().messages\nprint('c')"
    )
    assert kernel.run("heard")[0]["data"]["text/plain"] == repr((stream("b\n"),))
    assert kernel.run("driver.report()[0]")[0]["data"]["text/plain"] == repr([stream("a\nb\nc\n")])


def test_a_display_that_fails_is_recorded_as_the_error_it_showed(kernel: Kernel) -> None:
    """A broken representation shows a traceback, and the cell goes on."""
    code = "class Bad:\n    def _repr_html_(self): raise ValueError('no')\ndisplay(Bad())"
    step = kernel.step(code)
    assert [m["output_type"] for m in step.messages] == ["error", "display_data"]
    assert [m["type"] for m in step.replayed] == ["error", "display_data"]


def test_a_capture_leaves_nothing_behind(kernel: Kernel) -> None:
    """Every hook is taken out again."""
    look = (
        "ip = get_ipython()\n"
        "[sorted(vars(ip.display_pub.session)), sorted(vars(ip.display_formatter)),"
        " sorted(vars(__import__('sys').stdout.pub_thread)),"
        " [len(c) for c in ip.events.callbacks.values()]]"
    )
    before = kernel.run(look)[0]["data"]
    kernel.step("print(1)\n2")
    assert kernel.run(look)[0]["data"] == before


def test_much_text_is_cut_in_the_middle_and_takes_bounded_memory(kernel: Kernel) -> None:
    """Head and tail are kept, with a line between that says how much is not."""
    step = kernel.step("for i in range(300):\n    print(str(i % 10) * 99_999)")
    (message,) = step.messages
    assert 9_000_000 < len(message["text"]) < 13_000_000
    assert "characters are left out here" in message["text"]
    assert message["text"].startswith("0" * 99_999)
    assert message["text"].endswith("9" * 99_999 + "\n")


# --- in a terminal -------------------------------------------------------------------------------

TERMINAL = """
import json, sys
sys.path.insert(0, ".")
from IPython.terminal.interactiveshell import TerminalInteractiveShell
shell = TerminalInteractiveShell.instance(simple_prompt=True)
shell.run_line_magic("load_ext", "capture_driver")
driver = shell.user_ns["driver"]
shell.run_cell("# step\\n" + sys.argv[1], store_history=True)
print("=" * 8)
shell.run_cell("driver.replay()", store_history=True)
print("=" * 8)
print(json.dumps(driver.report()))
"""


def terminal(folder: Path, code: str) -> tuple[str, str, list[Any]]:
    """What a terminal shows live and on replay, and what was recorded."""
    (folder / "capture_driver.py").write_text(DRIVER)
    (folder / "terminal.py").write_text(TERMINAL)
    done = subprocess.run(
        [sys.executable, "terminal.py", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"IPYTHONDIR": str(folder), "PATH": "", "PYTHONPATH": ROOT},
    )
    live, replayed, report = done.stdout.split("=" * 8 + "\n")
    return live, replayed, json.loads(report)


def test_a_terminal_records_and_replays_the_same(tmp_path: Path) -> None:
    """Streams, displays and the result, in order; a prompt is no output."""
    live, replayed, (messages, value, flaw) = terminal(
        tmp_path,
        "print('out')\nh = display([1], display_id='d')\nprint('more')\n{'a': 1}",
    )
    assert [m["output_type"] for m in messages] == [
        "stream",
        "display_data",
        "stream",
        "execute_result",
    ]
    assert as_text(messages) == "out\n[1]\nmore\n{'a': 1}\n"
    assert (value, flaw) == ("{'a': 1}", "")
    assert replayed == live.replace("Out[1]", "Out[2]")


def test_a_terminal_shows_a_badge_as_text_and_records_none(tmp_path: Path) -> None:
    """An update of it is not printed again."""
    live, _, (messages, _, flaw) = terminal(
        tmp_path,
        "from pipestate.kernel.badges import show\n"
        "b = (get_ipython(), {}, 'badge', '<p>badge</p>', 's', 'fresh', 'x')\n"
        "show(*b)\nshow(*b, update=True)\nprint('mine')",
    )
    assert live == "badge\nmine\n"
    assert (messages, flaw) == ([stream("mine\n")], "")


# --- the page ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("plain\ntext", "plain\ntext"),
        ("10%\r20%\r30%\n", "30%\n"),
        ("longer\rab", "abnger"),
        ("windows\r\nlines\r\n", "windows\r\nlines\r\n"),
        ("ab\x08c", "ac"),
        ("gone\x1b[2K\rnew", "new"),
        ("one\ntwo\x1b[A\rONE\n", "ONE\ntwo"),
        ("\x1b[31mred\x1b[0m\rRED", "RED"),
        ("\x1b[31mred\x1b[0m\n", "\x1b[31mred\x1b[0m\n"),
    ],
)
def test_text_is_what_a_terminal_would_show_in_the_end(written: str, seen: str) -> None:
    """One line a case: what was written, and what is seen of it."""
    assert collapse(written) == seen


PIECES = st.lists(
    st.sampled_from(
        ["a", "bc", "def\n", "\n", "\r", "\r\n", "\x08", "\x1b[A", "\x1b[K", "\x1b[2K", "\x1b[3C"]
    )
).map("".join)


@given(PIECES, PIECES)
def test_settling_a_beginning_changes_nothing(first: str, second: str) -> None:
    """However the text arrives, the end is the same."""
    done, rest = settle(first)
    assert done + collapse(rest + second) == collapse(first + second)


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.text(max_size=40))))
def test_a_page_keeps_head_and_tail_within_its_limit(writes: list[tuple[str, str]]) -> None:
    """Beyond the limit the middle goes, and nothing else: the ends are what was written."""
    page = Page(limit=4000)
    for name, text in writes * 40:
        page.stream(name, text.replace("\r", "").replace("\x08", "").replace("\x1b", ""))
    assert sum(len(m["text"]) for m in page.messages()) < 6000


def test_a_page_that_stays_small_is_kept_whole() -> None:
    """Adjacent text of one stream is one message."""
    page = Page()
    for text in ("a", "b\n", "c"):
        page.stream("stdout", text)
    page.stream("stderr", "e")
    assert page.messages() == (stream("ab\nc"), stream("e", "stderr"))


def test_displays_survive_where_text_is_cut() -> None:
    """A picture in the part of the text that is left out is kept."""
    page = Page(limit=1000)
    for number in range(50):
        page.stream("stdout", "x" * 99 + "\n")
        if number == 25:
            page.display({"text/plain": "picture"})
    kinds = [m["output_type"] for m in page.messages()]
    assert kinds == ["stream", "display_data", "stream"]


def test_one_endless_line_takes_bounded_memory() -> None:
    """Without a newline nothing settles by itself."""
    page = Page(limit=1_000_000)
    for _ in range(100):
        page.stream("stdout", "x" * 100_000)
    assert len(page.messages()[0]["text"]) < 2_500_000


# --- bytes ---------------------------------------------------------------------------------------


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(), JSON), st.text())
def test_messages_survive_their_bytes(data: dict[str, Any], text: str) -> None:
    """Any data that JSON can hold, lone surrogates too."""
    page = Page()
    page.display(data, {"m": data}, display_id="d", is_result=True)
    page.stream("stderr", text + "\ud800")
    assert from_bytes(to_bytes(page.messages())) == page.messages()


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\xff",
        b"{}",
        b"[1]",
        b'[{"output_type": "stream", "name": "stdout"}]',
        b'[{"output_type": "stream", "name": "x", "text": ""}]',
        b'[{"output_type": "display_data", "data": []}]',
        b'[{"output_type": "other", "data": {}, "metadata": {}}]',
        b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_messages_are_refused(stored: bytes) -> None:
    """By one error, whatever they are."""
    with pytest.raises(FormatError, match="not outputs that this pipestate can read"):
        from_bytes(stored)
