"""Those who are killed: scripts, the shell, and kernels, each at a random instant of its work.

Scripts and the shell are forked from this process, which has all modules and no store open; so a
kill costs milliseconds. Kernels are real ones. An actor gives what it had reported as done.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.trial.referee import value

Done = dict[str, int]


def script(folder: Path, chance: random.Random, first: int) -> Done:
    """A script that sets its steps to one value after the other."""

    def work(report: int) -> None:
        import pipestate

        job = pipestate.Job("trial", store=folder)
        for number in itertools.count(first):
            job[f"script_{number % 4}"] = value("script", number)
            os.write(report, b"%d\n" % number)

    numbers = _killed(work, chance.uniform(0, 0.06))
    return {f"script_{number % 4}": number for number in numbers}


def burst(folder: Path, chance: random.Random, first: int) -> Done:
    """A script that sets small values as fast as it can, and looks now and then."""

    def work(report: int) -> None:
        import pipestate

        job = pipestate.Job("trial", store=folder)
        for number in itertools.count(5 * first, 5):  # of these all are small
            job[_of_burst(number)] = value("burst", number)
            os.write(report, b"%d\n" % number)
            if chance.random() < 0.01:
                assert job[_of_burst(number)] == value("burst", number)

    numbers = _killed(work, chance.uniform(0, 0.3))
    return {_of_burst(number): number for number in numbers}


def _of_burst(number: int) -> str:
    return f"burst_{number // 5 % 4}"


def shell(folder: Path, chance: random.Random, _first: int) -> Done:
    """The command line, reclaiming space or looking."""
    words = chance.choice(
        (["gc", "--keep-runs", "1"], ["gc", "--dry-run"], ["status", "--job", "trial"], ["jobs"])
    )

    def work(_report: int) -> None:
        from pipestate import cli

        while True:
            code = cli.main([*words, "--store", str(folder)])
            assert code == 0 or not folder.exists() or words[0] == "status"

    _killed(work, chance.uniform(0, 0.04))
    return {}


class Kernels:
    """Kernels that run steps until they are killed."""

    def __init__(self, home: Path) -> None:
        sys.path.insert(0, str(Path(__file__).parent.parent))
        import conftest

        self._home = home
        self._kernels = conftest.Kernels(home)
        self._notebook = conftest.Notebook

    def __call__(self, folder: Path, chance: random.Random, first: int) -> Done:
        """A kernel whose cells are steps, sent without waiting for each other."""
        nb = self._notebook(self._kernels, self._home)
        try:
            nb.run(
                f"import sys; sys.path[:0] = {[str(Path(__file__).parents[2])]!r}\n"
                f"import os; os.environ['PIPESTATE_STORE'] = {str(folder)!r}\n"
                f"os.environ['PIPESTATE_KEYS'] = {os.environ['PIPESTATE_KEYS']!r}\n"
                "from tests.trial.referee import value"
            )
            nb.load("trial")
            sent = []
            for number in range(first, first + 6):
                step = f"kernel_{number % 4}"
                sent.append(
                    (step, number, nb.begin(f"%%step {step}\n{step} = value('kernel', {number})"))
                )
            until = time.monotonic() + chance.uniform(0, 0.25)
            try:
                nb.wait_for(lambda: sent[-1][2].is_done or time.monotonic() > until)
            finally:
                os.kill(nb.pid, signal.SIGKILL)
            return {step: n for step, n, shown in sent if (step, "ran") in shown.states}
        finally:
            nb.close()

    def close(self) -> None:
        self._kernels.close()


def _killed(work: Callable[[int], None], seconds: float) -> list[int]:
    """The numbers that a child reported before it was killed, so many seconds after its start."""
    read, report = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            work(report)
        finally:
            os._exit(1)  # it works until it is killed
    os.close(report)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read, "rb") as file:
        # The last line may have been cut by the kill.
        lines = file.read().split(b"\n")[:-1]
    assert os.WIFSIGNALED(status), "an actor failed before it was killed"
    return [int(line) for line in lines]
