"""An oracle: random notebooks and sessions over them, judged by runs from the top.

What `%%step X` binds and shows, run or restored, is what a run of all steps down to X in an empty
namespace would bind and show. Here that sentence is checked without asking pipestate anything:

    generate ── a random notebook (cells of a few typed statements, with edited variants) and a
                random session over it: run, edit, run again, restart, undo an edit, jump, run all
    kernel ──── the session in one IPython shell
    top ─────── after every run: the cells above X and X, executed in an empty namespace
    canon ───── both namespaces in a form that shows structure and which mutable objects are shared
    play ────── the two held against each other, action by action
    shrink ──── a session that differs, made as small as it can be while it differs in the same way

    python -m tests.oracle --programs 1000 [--seed N] [--jobs N] [--dynamic] [--attributes]
"""
