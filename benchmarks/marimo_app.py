"""A marimo notebook that keeps one value, run as a script runs it, and timed inside.

What it is to keep, and where, it finds in `builtins`: a name of another cell would be an input
that marimo hashes.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (marimo's notebooks have this shape, and what their cells take has no types.)

import marimo

app = marimo.App()


@app.cell
def _():
    import builtins
    from time import perf_counter as clock

    import marimo as mo
    from marimo._save.loaders import flush_active_caches

    return builtins, clock, flush_active_caches, mo


@app.cell
def _(builtins, clock, flush_active_caches, mo):
    began = clock()
    with mo.persistent_cache("big", save_path=builtins.kept, method=builtins.method):
        big = builtins.ready()
    # The lazy loader writes in the background: what is not on the disk yet is not kept.
    flush_active_caches()
    took = clock() - began
    exec(builtins.use, {"big": big})
    used = clock() - began
    return took, used
