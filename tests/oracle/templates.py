"""The statements that random notebooks are made of.

`<list>` is a list that is there, `<+list>` a name that becomes one, `<-list>` one that goes, `<c>` a
small number, `<i>` a number or a name that means one. A second mark of a kind may draw the same
name. What an edit takes away may be missing later: then cells raise, which is part of the game.
"""

# ruff: noqa: E501 - a statement of several lines is one template

from __future__ import annotations

import re

POOL = {
    "int": "k n m", "list": "xs ys ws", "lists": "zs qs", "dict": "d e", "box": "box",
    "class": "C D",
    "obj": "o p", "objs": "ps", "fn": "f g h", "add": "add", "make": "mk", "fns": "fs", "str": "s",
    "set": "st", "tup": "t", "iter": "it", "df": "df dg", "col": "col", "arr": "arr view",
    "math": "math", "random": "random", "max": "max",
}  # fmt: skip


_BASIC = """
<+int> = <c>
<+int> = <i> + <i>
<int> += <i>
<+int> = len(<list>)
<+int> = sum(<list>)
<+int> = <list>[-1]
<+int> = <dict>["a"]
<+int> = <dict>["b"] + <dict>["a"]
<+int> = <obj>.v
<+int> = <obj>.m()
<+int> = <obj>.n
<+int> = len(<obj>.tag)
<+int> = <fn>(<i>)
<+int> = max([<i>, <c>])
<+int> = <i> // <i>
<+list> = [<c>, <c>]
<+list> = [<i>]
<+list> = []
<+list> = <list>
<+list> = list(<list>)
<+list> = [x + <i> for x in <list>]
<+list> = <lists>[0]
<+list> = <box>["l"]
<list> += [<i>]
<list>.append(<i>)
<list>.append(<i>)
<list>[0] = <i>
<list>.reverse()
del <list>[0]
<+list>, <+list> = <list>, <list>
<+int>, <+list> = <i>, [<i>]
<+lists> = [<list>]
<+lists> = [<list>, <list>]
<+lists> = [[<c>], [<i>]]
<lists>.append(<list>)
<lists>[0].append(<i>)
<lists>[-1] = <list>
for z in <lists>:\n    z.append(<i>)
<+dict> = {"a": <i>, "b": <c>}
<+dict> = <dict>
<dict>["a"] = <i>
<dict>["b"] += <i>
<dict>.update(a=<i>)
<dict>["c"] = <list>
<+box> = {"l": <list>, "k": <i>}
<box>["l"].append(<i>)
<box>["k"] = <i>
<+tup> = (<list>, <i>)
<tup>[0].append(<i>)
<+str> = "s" + str(<i>)
<str> += "x"
<+set> = {<i>, <c>}
<set>.add(<i>)
-<int>
-<list>
-<dict>
-<obj>
-<fn>
-<lists>
if <i> > 3:\n    <list>.append(9)
if <i> > 3:\n    <int> = 7
if <int> > 3:\n    <+list> = [0]\nelse:\n    <+list> = [1, 2]
for i in range(2):\n    <list>.append(i)
for i in range(3):\n    <int> += i
for <+int> in <list>:\n    pass
for <+int> in range(<i>):\n    <list>.append(<c>)
for <+list> in <lists>:\n    pass
for <+list> in <lists>:\n    <list>.append(<c>)
if <i> > 3:\n    <+list> = <list>
try:\n    <+int> = 6 // <int>\nexcept ZeroDivisionError:\n    <+int> = -1
assert <int> < 6
import math
<+int> = <math>.floor(<i> / 2)
from math import floor as fl
def <+fn>(x):\n    return x + 1
def <+fn>(x):\n    return x * <int>
def <+fn>(x):\n    return x + <fn>(x - 1)
def <+fn>(x, n=<i>):\n    return x + n
def <+fn>(x, acc=[]):\n    acc.append(x)\n    return len(acc)
def <+fn>(x, acc=<list>):\n    acc.append(x)\n    return len(acc)
def <+fn>(x):\n    <list>.append(x)\n    return len(<list>)
def <+fn>(x):\n    return x + len(<list>)
def <+fn>(x):\n    return x + <dict>["a"]
def <+fn>(x):\n    return x + <obj>.v
def <+fn>(x):\n    global <int>\n    <int> += x\n    return <int>
def <+fn>(x):\n    global <list>\n    <list> = [x]\n    return x
<+fn> = lambda x: x + <int>
<+fn> = lambda x: x - <c>
<+fn> = <fn>
<+fn> = <make>(<i>)
<fn>(<i>)
def <+make>(n):\n    def inner(x):\n        return x + n\n    return inner
def <+make>(n):\n    def inner(x):\n        nonlocal n\n        n += x\n        return n\n    return inner
def <+make>(n):\n    held = <list>\n    def inner(x):\n        held.append(x)\n        return len(held)\n    return inner
def <+add>(l, x):\n    l.append(x)
def <+add>(l, x):\n    l[0] = x + <int>
<add>(<list>, <i>)
<add>(<list>, <i>)
<add>(<lists>[0], <i>)
<+fns> = [<fn>]
<+fns> = [<fn>, lambda x: x * <int>]
<+int> = <fns>[-1](<i>)
class <+class>:\n    n = 0\n    def __init__(self, v):\n        self.v = v\n    def m(self):\n        return self.v + <int>
class <+class>:\n    n = <i>\n    def __init__(self, v):\n        self.v = v\n    def m(self):\n        self.v += 1\n        return self.v
class <+class>:\n    held = []\n    def __init__(self, v):\n        self.v = v\n    def m(self):\n        self.held.append(self.v)\n        return len(self.held)
class <+class>:\n    def __init__(self, v):\n        self.v = v\n        self.l = <list>\n    def m(self):\n        self.l.append(self.v)\n        return <fn>(self.v)
class <+class>(<class>):\n    def m(self):\n        return -self.v
<class>.n = <i>
<class>.tag = <list>
<+class> = <class>
<+obj> = <class>(<i>)
<+obj> = <class>(<i>)
<+obj> = <obj>
<obj>.v = <i>
<obj>.v += <i>
<obj>.l = <list>
<obj>.o = <obj>
<obj>.m()
<+objs> = [<obj>, <class>(<i>)]
<objs>[0].v = <i>
<+obj> = <objs>[-1]
print(<int>)
print(<list>, <i>)
print(<fn>(<i>))
print(<lists>)
<list>
<int>
<dict>
<lists>
<obj>.v
<obj>.n
<list> is <list>
[<list>, <lists>]
isinstance(<obj>, <class>)
<fn>(<c>)
[x.v for x in <objs>]
sorted(<set>)
"""

_RANDOM = """
import random
import random\nrandom.seed(<c>)
<random>.seed(<c>)
<+int> = <random>.randint(0, 99)
<list>.append(<random>.randint(0, 99))
<+list> = [<random>.randint(0, 9)]
"""

_FRAMES = """
import pandas as pd
import pandas as pd\n<+df> = pd.DataFrame({"p": [1, 2, 3], "q": [4, 5, <i>]})
import pandas as pd\n<+df> = pd.DataFrame({"p": [1, 2, 3], "q": [4, 5, <i>]})
<df>["t"] = <df>["p"] * <i>
<df>["p"] = <df>["p"] + 1
<df>.loc[0, "q"] = <i>
<+int> = int(<df>["p"].sum())
<+int> = int(<df>["q"].max())
<+df> = <df>
<+df> = <df>[<df>["p"] > 1]
<+df> = <df>.assign(z=<i>)
<+col> = <df>["p"]
<col>.iloc[0] = <i>
<df>
<df>["p"].sum()
"""

_ARRAYS = """
import numpy as np\n<+arr> = np.arange(4)
import numpy as np\n<+arr> = np.arange(4) + <i>
<+arr> = <arr>[:2]
<+arr> = <arr>
<arr>[0] = <i>
<arr> += <i>
<+int> = int(<arr>.sum())
<arr>
"""

_EXOTIC = """
<+iter> = (x for x in range(<c>, 9))
<+int> = next(<iter>)
<list>.append(next(<iter>))
<+max> = min
<+int> = max([<i>, <c>])
-<class>
-<box>
"""

# Diets of their own. A step that runs code at run time depends on every name and is never restored;
# attributes that a notebook sets on its functions say little about other values.
_DYNAMIC = """
print(eval("<int>"))
<+int> = globals()["<int>"]
"""

_ATTRIBUTES = """
<fn>.calls = <i>
<fn>.seen = <list>
"""


def _lines(text: str) -> tuple[str, ...]:
    found = (line.replace("\\n", "\n") for line in text.strip().splitlines())
    return tuple(f"del {line[1:]}".replace("<", "<-") if line[0] == "-" else line for line in found)


TEMPLATES = {
    "basic": _lines(_BASIC), "random": _lines(_RANDOM), "frames": _lines(_FRAMES),
    "arrays": _lines(_ARRAYS), "exotic": _lines(_EXOTIC),
    "dynamic": _lines(_DYNAMIC), "attributes": _lines(_ATTRIBUTES),
}  # fmt: skip
MARK = re.compile(r"<([+-]?)([a-z]+)>")
