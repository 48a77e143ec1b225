"""`python -m tests.oracle --programs 1000 [--seed N] [--jobs N]`: a long run, and what differs."""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import sys

from .hunt import many
from .play import Count

SHARE = 50
"""Sessions that a process plays at a time: a run that is stopped has told most of what it found."""


def main() -> None:
    """See the top of the package."""
    parser = argparse.ArgumentParser(description="Judge random sessions by runs from the top.")
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--dynamic", action="store_true", help="also eval and globals()")
    parser.add_argument("--attributes", action="store_true", help="also attributes of functions")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.programs)
    shares = [seeds[first : first + SHARE] for first in range(0, len(seeds), SHARE)]
    also = [diet for diet in ("dynamic", "attributes") if vars(options)[diet]]
    play = functools.partial(many, limit=options.limit, also=also)
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        total, differing = Count(), 0
        for count, found in pool.imap(play, shares):
            total.add(count)
            differing += len(found)
            for one in found:
                sys.stdout.write(f"{one}\n")
            sys.stderr.write(f"{total}; {differing} differ\n")
            if differing >= options.limit:
                break
    sys.stdout.write(f"{total}; {differing} differ\n")
    for example in total.examples[:10]:
        sys.stdout.write(f"  needless: {example}\n")


if __name__ == "__main__":
    main()
