"""Trial by fire: processes are killed, and disks fill up, at every instant and at any.

    python -m tests.trial --kills 1000        at random instants: scripts, shells, kernels
    python -m tests.trial --every             at each write, rename, sync of a row of commits
    python -m tests.trial --fuzz 300          bytes made up, for so many seconds (needs atheris)

Whatever stands in the store afterwards must be whole, and hold each step that was reported done.
`actors` are those who are killed, `instants` the system calls at which they are, `referee` what is
checked; `fuzz` feeds the decoders. The suite runs a little of the first two, and
`test_decoders.py` has its own.
"""
