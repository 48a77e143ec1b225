"""Trial by fire: processes are killed, and disks fill up, at every instant and at any.

    python -m tests.trial --kills 1000        at random instants: scripts, shells, kernels
    python -m tests.trial --every             at each write, rename, sync of a row of commits

Whatever stands in the store afterwards must be whole, and hold each step that was reported done.
`actors` are those who are killed, `instants` the system calls at which they are, `referee` what is
checked. The suite runs a little of both.
"""
