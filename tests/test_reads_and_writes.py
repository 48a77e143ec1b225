"""What cells read, bind and change: one line a case, in IPython's own spelling."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from pipestate.cell.definitions import ImportLine
from pipestate.cell.names import Names, analyse, is_hidden

to_cell = TransformerManager().transform_cell


def said(names: Names, *fields: str) -> dict[str, Any]:
    """Some fields of an analysis as a line of text each; sets sorted, empty ones left out."""
    found = {field: getattr(names, field) for field in fields}
    return {field: " ".join(sorted(map(str, value))) for field, value in found.items() if value}


READS = [
    ("x = x + 1", "x"),
    ("x = 1; x", ""),
    ("x += 1", "x"),
    ("x: int = y", "int y"),
    ("del x", "x"),
    # how deep
    ('df["price"].mean()', 'df["price"]'),
    ("cfg.lr", "cfg.lr"),
    ('d["a"][0].b', 'd["a"][0].b'),
    ("d[-1]", "d[-1]"),
    ("d[k]", "d k"),
    ("d[1:2]", "d"),
    ('d["a", 1]', "d"),
    ("d[None].x; d[1]; d[b'k']; d[0.5]", "d[0.5] d[1] d[None].x d[b'k']"),
    ("d[True]", "d"),
    ("d[1.0]", "d"),
    ('d[k]["a"]', "d k"),
    ("x.__dict__", "x"),
    ("x.__dict__.y", "x"),
    ("df.head()", "df.head"),
    ("np.mean(x)", "np.mean x"),
    ("import numpy as np; np.mean(x)", "x"),
    ('df["tax"] = df["price"] * 0.2', 'df df["price"]'),
    ('f"{d["a"]!r:>{w}}"'.replace('"a"', "'a'"), 'd["a"] w'),
    # branches
    ("if c: x = 1\nx", "c x"),
    ("if c: x = 1\nelse: x = 2\nx", "c"),
    ("a and (x := 1); x", "a x"),
    ("a < (x := 1) < (y := 2); x; y", "a y"),
    ("for x in xs: pass\nx", "x xs"),
    ("for x in (1, 2): pass\nx", ""),
    ("while c:\n  x = 1\nx", "c x"),
    ("while True:\n  x = 1\n  if c: break\nx", "c"),
    ("while (x := f()): pass\nx", "f"),
    ("for i in xs:\n  if i: break\nelse: x = 1\nx", "x xs"),
    ("for i in (1,):\n  if c: continue\n  x = 1\nx", "c x"),
    ("try: x = 1\nexcept E: pass\nx", "E x"),
    ("try: f()\nexcept E: raise\nelse: x = 1\nx", "E f"),
    ("try: x = 1\nfinally: x", "x"),
    ("try: pass\nexcept E as e: pass\ne", "E e"),
    ("try: x = 1\nexcept* E as e: pass\nx; e", "E e x"),
    ("with suppress(E): x = 1\nx", "E suppress x"),
    ("with open(p) as f: x = f.read()\nx", "open p"),
    ("match s:\n  case [a, *b]: pass\n  case _: a = b = 1\na; b", "s"),
    ("match s:\n  case C(k=x): pass\nx", "C s x"),
    ("assert (x := f())\nx", "f x"),
    # scopes
    ("[x for x in xs if x > t]", "t xs"),
    ("[(y := x) for x in xs]; y", "xs y"),
    ("{k: v for k, v in d.items()}", "d.items"),
    ("lambda x: x + y", "y"),
    ("def f(): return k", ""),
    ("def f(): return k\nf()", "k"),
    ("k = 1\ndef f(): return k\nf()", ""),
    ("def f(): return k\nf()\nk = 1", "k"),
    ("def f(): return g()\ndef g(): return k\nf()", "k"),
    ("f = lambda: k", ""),
    ("f = lambda: k\nmap(f, [])", "k map"),
    ("fs = [lambda: k, {'a': (lambda: j, x)}]", "x"),
    ("fs = [lambda: k]\nfs[0]()", "k"),
    ("fs = {'a': lambda: k, **d}\ng = fs", "d k"),
    ("fs = list([lambda: k])", "k list"),
    ("def f(n=k): pass", "k"),
    ("def f(n: t) -> u: pass", "t u"),
    ("@register\ndef f(): return k", "k register"),
    ("class C:\n  def m(self): return k", ""),
    ("class C:\n  def m(self): return k\nC().m()", "k"),
    ("class C:\n  x = 1\n  y = x", ""),
    ("class C:\n  y = x\n  x = 1", "x"),
    ("class C:\n  x = 1\n  def m(self): return x\nC", "x"),
    ("class C:\n  def m(self): return __p\nC", "_C__p"),
    ("class C(B):\n  def m(self): return k", "B k"),
    ("def f():\n  x = 1\n  def g():\n    nonlocal x\n    x += y\n  g()\nf()", "y"),
    ("def f():\n  global x\n  x += 1\nf()", "x"),
    ("def f():\n  class C:\n    x = x\n  return C\nf()", "x"),
    ("x: 'Foo' = 1", "Foo"),
    # magics
    ("%time x = f(y)", "f y"),
    ("x = %time f(y)\nx", "f y"),
    ("%%time\nx = y\n%time z = x\n!ls {q}", "q y"),
    ("%%time\n\n%%capture out\nx = y", "y"),
    ("%timeit -n 3 -r 1 f(y); z = 1", "f y"),
    ("%%timeit k = 1\nk + j", "j k"),
    ("%prun -s cum f(x)", "f x"),
    ("%%capture out\nx = y", "y"),
    ("!ls {d['a']} $x {n:>{w}}", 'd["a"] n w x'),
    ("files = !ls {d[1:2]} *.csv", "d"),
    ("%cd {p}", "p"),
    ("%matplotlib inline", ""),
    ("%%bash\necho $x", "echo x"),
    ("%%html\n<b>x</b>", ""),
    ("f?", "f"),
    ("%mine x", "mine x"),
    ("for i in xs:\n    %time f(i)", "f xs"),
    ('df.query("p > @limit")', "df.query limit p"),
]


@pytest.mark.parametrize(("cell", "expected"), READS)
def test_a_cell_reads(cell: str, expected: str) -> None:
    """Paths looked up before the cell has surely bound their name, as deep as surely narrow."""
    assert said(analyse(to_cell(cell)), "reads") == ({"reads": expected} if expected else {})


BINDS = [
    ("x = y = 1", {"binds": "x y"}),
    ("a, *b = c; d.e = 1", {"binds": "a b"}),
    ("if c: x = 1", {"may_bind": "x"}),
    ("for i in xs: pass", {"may_bind": "i"}),
    ("import a.b, c as d\nfrom e import f as g", {"binds": "a d g"}),
    ("def f(): pass\nclass C: pass", {"binds": "C f"}),
    ("x = 1; del x", {"deletes": "x"}),
    ("del x; x = 1", {"binds": "x"}),
    ("if c: del x", {"may_bind": "x"}),
    ("try: f()\nexcept E as e: pass", {"may_bind": "e"}),
    ("while 1:\n  try: x = 1; break\n  finally: del x", {"may_bind": "x"}),
    ("x = 1\ndef f():\n  global x\n  del x\nf()", {"binds": "f", "may_bind": "x"}),
    ("def f():\n  global x\n  x = 1", {"binds": "f"}),
    ("def f():\n  global x\n  x = 1\nf()", {"binds": "f", "may_bind": "x"}),
    ("[y := x for x in xs]", {"may_bind": "y"}),
    ("class C:\n  global z\n  z = 1\n  w = 2", {"binds": "C z"}),
    ("x: int", {}),
    ("%time x = 1", {"binds": "x"}),
    ("%time --no-raise-error x = f()", {"may_bind": "x"}),
    ("%timeit x = 1", {}),
    ("%%capture out\nx = 1", {"may_bind": "out x"}),
    ("files = !ls", {"binds": "files"}),
    ("%%sql res << select 1", {"may_bind": "res"}),
    ("%%bash --out text\nls", {"may_bind": "text"}),
]


@pytest.mark.parametrize(("cell", "expected"), BINDS)
def test_a_cell_binds(cell: str, expected: dict[str, str]) -> None:
    """What is surely bound or gone at the end, and what may be."""
    assert said(analyse(to_cell(cell)), "binds", "may_bind", "deletes") == expected


QUERIES = [
    ("df.query(text)", True),
    ("df.query(expr=text, inplace=True)", True),
    ("con.query(text, alias='t')", True),
    ("df.query(text, **options)", True),
    ("df.query('a > 1')", False),
    ("tree.query(points, k=2)", False),
    ("tree.query(points, 2)", False),
]


@pytest.mark.parametrize(("cell", "expected"), QUERIES)
def test_a_query_may_read_any_name_where_its_text_is_not_there(cell: str, expected: bool) -> None:
    """Not where it is given what no frame takes: a tree is asked for neighbours."""
    assert analyse(cell).is_dynamic is expected


DELETES = [
    ("if c: del x", "x"),
    ("for i in xs:\n  try: f()\n  except E as e: pass\n  x = 1", "e"),
    ("def f():\n  global x\n  del x\nfor i in xs: f()", "x"),
    ("x = 1; del x; x = 2", "x"),
    ("if c: x = 1", ""),
]


@pytest.mark.parametrize(("cell", "expected"), DELETES)
def test_a_cell_may_delete(cell: str, expected: str) -> None:
    """What is gone somewhere on the way, whatever is bound again."""
    assert said(analyse(to_cell(cell)), "may_delete") == (
        {"may_delete": expected} if expected else {}
    )


USES = [
    ("d[0] = 1", {"writes": "d", "kept": "d"}),
    ("d.a.b += 1", {"writes": "d", "kept": "d"}),
    ("del d[0]", {"writes": "d", "kept": "d"}),
    ("xs.append(1)", {"writes": "xs", "kept": "xs"}),
    ('d["a"].pop()', {"writes": "d", "kept": "d"}),
    ("n = f(x)", {"writes": "x", "kept": "x"}),
    ("n = len(x)", {}),
    ('n = df["a"].mean()', {}),
    ('n = d["a"] + 1', {}),
    ('n = np.sqrt(d["a"])', {}),
    ('n = sum(v for v in d["a"])', {}),
    ('n = [v.pop() for v in d["a"]]', {"writes": "d", "kept": "d"}),
    ('n = [v for v in d["a"]]', {"kept": "d"}),
    ('x = d["a"]', {"kept": "d"}),
    ('x = [d["a"]]', {"kept": "d"}),
    ('x = [1] + d["a"]', {"kept": "d"}),
    ('x = c and d["a"]', {"kept": "c d"}),
    ('x = sorted(d["a"])', {"kept": "d"}),
    ('x = sorted(d["a"], key=f)', {"writes": "d f", "kept": "d f"}),
    ('df["a"].fillna(0, inplace=True)', {"writes": "df", "kept": "df"}),
    ("xs = []; xs.append(y)", {"writes": "y", "kept": "y"}),
    ("print(x, file=f)", {"writes": "f", "kept": "f"}),
    ("if x > 1: pass", {}),
]


@pytest.mark.parametrize(("cell", "expected"), USES)
def test_a_cell_changes_or_keeps(cell: str, expected: dict[str, str]) -> None:
    """What may be changed in place, and what may outlive the expression that reads a part of it."""
    assert said(analyse(to_cell(cell)), "writes", "kept") == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("np.mean(x)", "np.mean"),
        ("f(x).g()", "f"),
        ("a.b.c(1)", "a.b.c"),
        ('d["a"].m()', ""),
        ("len(x)", ""),
        ("import numpy as np; np.mean(x)", ""),
    ],
)
def test_what_is_called_is_told_apart(cell: str, expected: str) -> None:
    """A called attribute is a path only of a module; whoever has the values can tell."""
    assert said(analyse(cell), "called") == ({"called": expected} if expected else {})


@pytest.mark.parametrize(
    "cell",
    [
        *("eval(s)", "exec(s)", "globals()", "locals()", "vars()", "dir()", "%who", "%run a.py"),
        *("%pylab", "%store -r", 'get_ipython().user_ns["x"]', "ip = get_ipython()"),
        *("from IPython import get_ipython as g; g()", "import __main__", "f.__globals__"),
        *('sys.modules["__main__"].x', "sys.modules[__name__].x", "sys._getframe()"),
        *("inspect.stack()", 'cProfile.run("f()")', "df.query(text)", "%%time\nx = = 1"),
        "def f(): return eval(s)\nf()",
    ],
)
def test_a_way_to_every_name_makes_a_cell_dynamic(cell: str) -> None:
    """Such a cell depends on every name."""
    assert analyse(to_cell(cell)).is_dynamic


@pytest.mark.parametrize(
    "cell",
    [
        *("vars(x)", "dir(x)", "model.eval()", "def eval(): pass\neval()", "np.stack(xs)"),
        *('if __name__ == "__main__": f()', "def f(): return eval(s)", "from m import *"),
        *("%matplotlib inline", "!ls", "x?", 'df.query("a > 1")'),
    ],
)
def test_what_only_looks_like_one_does_not(cell: str) -> None:
    """Names alike, and code that is only defined."""
    assert not analyse(to_cell(cell)).is_dynamic


@pytest.mark.parametrize(
    ("cell", "is_async"),
    [
        ("await f()", True),
        ("async for x in xs: pass", True),
        ("[x async for x in xs]", True),
        ("async with a: pass", True),
        ("async def f():\n  await g()\n  async for x in xs: pass", False),
    ],
)
def test_only_the_top_level_makes_a_cell_async(cell: str, is_async: bool) -> None:
    """A coroutine that is only defined awaits nothing."""
    assert analyse(cell).is_async is is_async


@pytest.mark.parametrize(
    ("cell", "seeds"),
    [
        ("np.random.seed(0)", True),
        ("seed_everything(1)", True),
        ("rng.set_state(s)", True),
        ("torch.cuda.set_rng_state_all(s)", True),
        ("def f(): random.seed(0)", False),
        ("def f(): random.seed(0)\nf()", True),
        ("np.random.rand(3)", False),
    ],
)
def test_a_cell_that_seeds_says_so(cell: str, seeds: bool) -> None:
    """By the name of what it calls, itself or through its functions."""
    assert analyse(cell).seeds is seeds


def test_session_lines_are_kept_as_statements() -> None:
    """Only those of the top level, and future imports, which later cells are compiled with."""
    cell = "%matplotlib inline\nfrom __future__ import annotations\n%time f()\n%load_ext autoreload"
    assert analyse(to_cell(cell)).session == (
        "get_ipython().run_line_magic('matplotlib', 'inline')",
        "from __future__ import annotations",
        "get_ipython().run_line_magic('load_ext', 'autoreload')",
    )


def test_each_imported_name_has_its_smallest_statement() -> None:
    """Also in branches; not in functions."""
    names = analyse(
        "import a.b, c.d as e\nfrom . import f\nfrom g import (h as i, j)\nfrom k import *\n"
        "try: import l\nexcept ImportError: l = None\ndef m(): import n"
    )
    assert names.imports == (
        ImportLine("a", "import a.b"),
        ImportLine("e", "import c.d as e"),
        ImportLine("f", "from . import f"),
        ImportLine("i", "from g import h as i"),
        ImportLine("j", "from g import j"),
        ImportLine("l", "import l"),
    )
    assert names.stars == ("k",)


def test_a_definition_has_its_exact_source_and_what_it_needs() -> None:
    """Decorators included, comments inside kept; what only its body reads is no need."""
    names = analyse("x = 1\n@deco(1)\n# why\ndef f(a=k) -> t:\n    return z  # so\ny = 2\n")
    (line,) = names.definitions
    assert line.source == "@deco(1)\n# why\ndef f(a=k) -> t:\n    return z  # so\n"
    assert (line.lineno, line.needs) == (2, {"deco", "k", "t"})


@pytest.mark.parametrize(
    ("cell", "is_plain"),
    [
        ("def f(a=k, *, b=(1, -x.y)): return g()", True),
        ("@cache(maxsize=None)\ndef f(): pass", True),
        ("class C(Base, metaclass=M):\n  'text'\n  n = 0\n  x: int = field(default=0)", True),
        ("def f(a=g()): pass", False),
        ("class C:\n  n = g()", False),
        ("class C:\n  for i in xs: pass", False),
        ("def f(): pass\ndef f(): pass", False),
        ("def f(): pass\nif c: del f", False),
        ("@deco(g())\ndef f(): pass", False),
    ],
)
def test_a_plain_definition_only_defines(cell: str, is_plain: bool) -> None:
    """Bound once, and nothing is called but decorators and bases."""
    assert analyse(cell).definitions[0].is_plain is is_plain


def test_mentions_are_all_names_that_any_function_may_look_up() -> None:
    """Whether or not the cell uses it; names hidden by then are none."""
    names = analyse("x = 1\nprint(x)\ndef f(): return y + g(lambda: z)\nclass C:\n  m = w")
    assert names.mentions == {"print", "y", "g", "z", "w"}


def test_the_notebooks_own_furniture_is_hidden() -> None:
    """IPython's names and Python's; users' names with underscores are not."""
    assert all(map(is_hidden, ["_", "__", "_i", "_12", "_i3", "Out", "get_ipython", "__name__"]))
    assert not any(map(is_hidden, ["x", "_mine", "__x", "_i_", "_1a"]))


def test_wrong_source_is_refused_as_python_refuses_it() -> None:
    """The front end shows Python's own error."""
    with pytest.raises(SyntaxError):
        analyse("x = = 1")


def test_source_too_deep_to_walk_depends_on_every_name() -> None:
    """Rather no answer than a narrow one that is wrong."""
    names = analyse("x = " + "f(" * 90 + "y" + ")" * 90 + "".join(["[0]"] * 20))
    assert {path.name for path in names.reads} >= {"f", "y"}
    deep = "x = " + "-" * 900 + "y"
    assert analyse(deep).is_dynamic or "y" in {path.name for path in analyse(deep).reads}


def test_long_sums_and_chains_of_elif_are_no_problem() -> None:
    """Machine-written cells are long in one direction."""
    text = "x = " + " + ".join(f"a{n}" for n in range(800))
    assert len(analyse(text).reads) == 800
    branches = "if a: x = 1\n" + "".join(f"elif b{n}: x = 2\n" for n in range(200)) + "else: x = 3"
    assert analyse(branches).binds == {"x"}
