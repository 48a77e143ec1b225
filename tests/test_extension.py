"""Loading, unloading, reloading, configuring; help and completion."""

from __future__ import annotations

import pytest

HOOKS = """
import json
ip = get_ipython()
seen = {
    "events": {k: len(v) for k, v in ip.events.callbacks.items()},
    "cleanup": len(ip.input_transformer_manager.cleanup_transforms),
    "ast": len(ip.ast_transformers),
    "matchers": len(ip.Completer.custom_matchers),
    "configurables": sum(type(c).__name__ == "PipeState" for c in ip.configurables),
    "magics": sorted(n for k in ip.magics_manager.magics.values() for n in k),
}
print(json.dumps(seen))
"""


def test_unload_leaves_no_hook_behind(nb):
    """The shell is as it was before the extension was loaded; values stay."""
    before = nb.run(HOOKS).stdout
    nb.load("job")
    nb.run("%%step a\nx = 1")
    assert nb.run(HOOKS).stdout != before
    nb.run("%unload_ext pipestate")
    assert nb.run(HOOKS).stdout == before
    assert nb.run("x").value == "1"


def test_reload_doubles_no_hook(nb):
    """And the job is used as before."""
    nb.load("job")
    loaded = nb.run(HOOKS).stdout
    nb.run("%%step a\nx = 1")
    nb.run("%reload_ext pipestate")
    nb.run("%load_ext pipestate")
    nb.run("%pipe job job")
    assert nb.run(HOOKS).stdout == loaded
    done = nb.run("%%step a\nx = 1")
    assert done.states == [("a", "restored")]


def test_config_lists_the_traits_with_help(nb):
    """`%config PipeState` shows every setting."""
    nb.load("job")
    shown = nb.run("%config PipeState").text
    for trait in (
        "store",
        "job",
        "mode",
        "direction",
        "restore",
        "auto",
        "badge",
        "durable",
        "keep_runs",
        "max_bytes",
        "verification",
    ):
        assert f"PipeState.{trait}" in shown


@pytest.mark.parametrize(
    ("found", "words"),
    [("line_magic('pipe')", ("unload", "status")), ("cell_magic('step')", ("--no-save", "< STEP"))],
)
def test_help_says_what_may_be_written(nb, found, words):
    """What `%pipe?` and `%%step?` show."""
    nb.load("job")
    shown = nb.run(f"print(get_ipython().find_{found}.__doc__)").stdout
    assert all(word in shown for word in words)


def test_help_makes_no_step(nb):
    """`%%step?` is a question, not a step."""
    nb.load("job")
    nb.run("%%step?")
    assert "no steps yet" in nb.run("%pipe").text


def test_commands_steps_and_options_complete(nb):
    """Tab after `%pipe ` and `%%step x `."""
    nb.load("job")
    nb.run("%%step load_data\nx = 1")
    assert "status" in nb.complete("%pipe sta")
    assert "load_data" in nb.complete("%pipe why lo")
    assert "--always" in nb.complete("%%step x --al")


def test_a_badge_can_be_turned_off(nb):
    """`PipeState.badge = False` shows nothing under a step."""
    nb.load("job")
    nb.run("%config PipeState.badge = False")
    assert nb.run("%%step a\nx = 1").badges == []


def test_loading_makes_nothing_on_disk(nb, cwd):
    """A profile that loads pipestate everywhere leaves no folder where it is not used."""
    nb.run("%load_ext pipestate")
    nb.run("import math\nx = 1")
    nb.run("%pipe")
    assert not (cwd / ".pipestate").exists()


def test_step_can_be_called_as_a_magic(nb):
    """Callers of `run_cell_magic` get a step too."""
    nb.load("job")
    nb.run("get_ipython().run_cell_magic('step', 'a', 'x = 5')")
    assert "a" in nb.run("%pipe").text
    assert nb.run("x").value == "5"


ONE_SHOT = """
import ast
class Shot(ast.NodeTransformer):
    def visit_Constant(self, node):
        ip.ast_transformers = [one for one in ip.ast_transformers if one is not self]
        return ast.copy_location(ast.Constant(node.value + 1), node)
ip = get_ipython()
ip.ast_transformers = [Shot(), *ip.ast_transformers]
"""
WRAPPED = """
import ast
class Change(ast.NodeTransformer):
    def visit_Constant(self, node):
        return ast.copy_location(ast.Constant(node.value + 1), node)
ip, own = get_ipython(), get_ipython().transform_ast
ip.transform_ast = lambda tree: own(Change().visit(tree))
"""
REPLACED = """
ip, own = get_ipython(), get_ipython().compile.ast_parse
ip.compile.ast_parse = lambda source, **how: own(source.replace("1", "2"), **how)
"""


@pytest.mark.parametrize("changing", [ONE_SHOT, WRAPPED, REPLACED])
def test_a_step_is_what_its_text_says_though_another_changes_its_tree(nb, changing):
    """Whoever does so, and however: the same text is the same source in a kernel without it."""
    nb.load()
    nb.run(changing)
    assert nb.run("%%step a\nx = 1").states == [("a", "ran")]
    assert nb.run("x").value == "2"
    nb.kill()
    nb.load()
    assert nb.run("%%step a\nx = 1").states == [("a", "restored")]


def test_a_step_is_kept_though_no_transformer_is_left(nb):
    """One before it took all away."""
    nb.load()
    nb.run(ONE_SHOT.replace("[one for one in ip.ast_transformers if one is not self]", "[]"))
    assert nb.run("%%step a\nx = 1").states == [("a", "ran")]
