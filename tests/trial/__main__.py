"""The long run; see the package."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.trial import actors, fuzz, instants, referee


def kills(count: int, seed: int, kernels: int) -> Counter[str]:
    """Kill so many actors at random instants, one in `kernels` of them a kernel; look each time."""
    chance, counts = random.Random(seed), Counter[str]()
    room = Path(tempfile.mkdtemp(prefix="trial-"))
    folder, done = room / "store", actors.Done()
    crowd = actors.Kernels(room) if kernels else None
    try:
        for number in range(count):
            first = 1000 * (number + 1)
            if crowd is not None and number % kernels == 0:
                name, actor = "kernel", crowd
            else:
                name, actor = chance.choice(
                    [("script", actors.script), ("burst", actors.burst), ("shell", actors.shell)]
                )
            reported = actor(folder, chance, first)
            done.update(reported)
            counts[name] += 1
            counts["steps reported done"] += len(reported)
            if done:
                referee.check(folder, done)
            if number % 50 == 49:
                referee.check_swept(folder)
                tell(f"{number + 1}: {dict(counts)}")
        referee.check_swept(folder)
    finally:
        if crowd is not None:
            crowd.close()
    shutil.rmtree(room)
    return counts


def every(calls: list[str], stride: int) -> Counter[str]:
    """Strike at each call of each kind: die there, and, where a disk may be full, be told so."""
    counts = Counter[str]()
    for call in calls:
        faults = ["signal=KILL"]
        if call in instants.MAY_BE_FULL:
            faults.append("error=ENOSPC")
        for fault in faults:
            for durable in (False, True) if call in instants.SYNCS else (False,):
                name = f"{call} {fault}{' durable' if durable else ''}"
                counts[name] = strike(call, fault, stride, durable)
                tell(str(dict(counts)))
    return counts


def strike(call: str, fault: str, stride: int, durable: bool) -> int:
    """Strike at each call of a kind; how many there were."""
    count, room = 0, Path(tempfile.mkdtemp(prefix="trial-"))
    for struck in instants.at_each(call, fault, room, stride=stride, durable=durable):
        if struck.done or struck.store.exists():
            referee.check(struck.store, struck.done)
            code, done, shown = instants.run(struck.store, "-e", "trace=none")
            assert code == 0, shown
            referee.check(struck.store, done)
            referee.check_swept(struck.store)
            shutil.rmtree(struck.store)
        count += 1
    shutil.rmtree(room)
    return count


def tell(line: str) -> None:
    """Show how far it is."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the words and go."""
    parser = argparse.ArgumentParser(prog="python -m tests.trial", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kernels", type=int, default=5, help="one in so many; 0: none")
    parser.add_argument("--every", nargs="*", metavar="CALL", help="strike at each; default: all")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--fuzz", type=int, default=0, metavar="SECONDS", help="needs atheris")
    asked = parser.parse_args()
    started = time.monotonic()
    os.environ.setdefault("PIPESTATE_KEYS", tempfile.mkdtemp(prefix="trial-keys-"))
    if asked.kills:
        tell(str(dict(kills(asked.kills, asked.seed, asked.kernels))))
    if asked.every is not None:
        tell(str(dict(every(asked.every or list(instants.CALLS), asked.stride))))
    if asked.fuzz:
        tell(fuzz.fuzz(asked.fuzz))
    tell(f"all of it stands, after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
