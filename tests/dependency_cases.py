"""What one change of a notebook must run again, and what it must leave alone: the cases.

A case is a title and a small notebook. `a: ` begins the cell of step a; `a> ` its cell after the
edit; `-> b c` names the steps that must run again for it, besides those edited, and no other may.
`~ b` are steps that run whenever they are asked for. More lines of a cell stand three columns in.
"""

# The sources are those of notebooks: aliases, idle branches and wide names are what they are about.

from __future__ import annotations

from dataclasses import dataclass

NAMES = """
# a change goes down a chain, and past what does not read it
a: x = 0
b: y = x + 1
c: z = y * 2
d: w = 5
a> x = 4
-> b c

# a diamond runs each step once
a: x = 1
b: left = x + 1
c: right = x * 10
d: both = left + right
a> x = 2
-> b c d

# another spelling of the same value is no change
a: x = 4
b: y = x + 1
a> x = 2 + 2
->

# a comment, a blank line and other quotes are no change
a: s = "tea"
b: t = s.upper()
a> # what we drink

   s = 'tea'
->

# a step that comes out equal spares those below it
a: x = 3
b: is_big = x > 2
c: word = "big" if is_big else "small"
a> x = 4
-> b

# of two names made together only the one that changed counts
a: x = 1; y = 2
b: u = x + 1
c: v = y + 1
a> x = 1; y = 3
-> c

# a name made anew hides what stood above
a: x = 1
b: x = 7
c: y = x
a> x = 2
->

# a step that makes its name from the one above hands the change on
a: x = 1
b: x = x + 1
c: y = x
a> x = 5
-> b c

# a name that the step binds before it reads it is its own
a: x = 1
b: x = 5
   y = x
a> x = 2
->

# what a cell reads before it rebinds counts as it was above
a: x = 1
b: y = x
   x = 42
c: z = x
a> x = 2
-> b

# augmented assignment reads and binds
a: x = 1; k = 2
b: x += k
c: y = x
a> x = 1; k = 3
-> b c

# one, one point nought and true are three values
a: x = 1
b: y = x * 2
a> x = True
-> b

# a number that became a float is another one
a: x = 1
b: y = f"{x}"
a> x = 1.0
-> b

# not-a-number equals itself here
a: x = float("nan")
b: y = x != x
a> x = float("na" + "n")
->

# minus nought is not nought
a: x = 0.0
b: y = str(x)
a> x = -0.0
-> b

# names in one tuple assignment are apart
a: x, y = 0, 1
b: u, v = x + 2, 9
c: w = y + 3
a> x, y = 0, 43
-> c

# both sides swap
a: x, y = 1, 2
b: x, y = y, x
c: z = x
a> x, y = 1, 5
-> b c

# a chain of equal signs gives one object two names
a: xs = ys = [1]
b: xs.append(2)
c: n = len(ys)
a> xs, ys = [1], [1]
-> b c

# an annotation does not hide the value
a: x: int = 1
b: y: int = x + 1
a> x: int = 2
-> b

# a name with an underscore is the user's
a: _rate = 2; __deep = 3
b: y = _rate * __deep
a> _rate = 2; __deep = 4
-> b

# a name in another alphabet
a: größe = 2; 数 = 3
b: y = größe + 数
a> größe = 2; 数 = 4
-> b

# a constant expression below a condition that never holds still reads
a: x = 1; k = 2
b: y = 0
   if False:
       y = k
a> x = 1; k = 3
-> b

# a name that is only mentioned in a string is not read
a: x = 1
b: y = "x"
a> x = 2
->

# del takes a name away, and below it is made anew
a: x = 1
b: del x
c: x = 2
d: y = x
a> x = 1; k = 5
->

# a name that went is missed
a: x = 1; y = 2
b: z = 0
   try:
       z = x
   except NameError:
       z = "gone"
a> y = 2
-> b

# a name that came is seen
a: y = 2
b: z = 0
   try:
       z = x
   except NameError:
       z = "gone"
a> x = 1; y = 2
-> b

# a builtin that is hidden by a name of the notebook
a: k = 1
b: y = max([3, 1])
a> k = 1
   def max(xs): return "mine"
-> b

# a builtin that was hidden and no longer is
a: k = 1
   sum = lambda xs: -1
b: y = sum([3, 1])
a> k = 1
-> b

# a builtin hidden below the step is not its concern
a: x = 3
b: y = len([x])
c: len = lambda v: 0
c> len = lambda v: 1
->

# a semicolon does not join two steps' reads
a: p = 1; q = 2
b: u = p; v = 3
c: w = q
a> p = 1; q = 5
-> c

# a long chain is cut off where it comes out equal
a: n = 7
b: m = n % 2
c: k = m + 1
d: j = k + 1
e: i = j + n
a> n = 9
-> b e
"""

CONTAINERS = """
# one element is read, another one changes
a: xs = [0, 1, 2]
b: y = xs[0] + 5
a> xs = [0, 10, 2]
->

# the element that is read changes
a: xs = [0, 1, 2]
b: y = xs[0] + 5
a> xs = [3, 1, 2]
-> b

# an element from the end moves when the list grows
a: xs = [0, 1, 2]
b: y = xs[-1]
c: z = xs[1]
a> xs = [0, 1, 2, 3]
-> b

# a computed subscript reads the whole list
a: xs = [0, 1, 2]; i = 0
b: y = xs[i]
a> xs = [0, 1, 5]; i = 0
-> b

# a slice reads the whole list
a: xs = [0, 1, 2, 3]
b: y = xs[1:3]
a> xs = [0, 1, 2, 3, 4]
-> b

# a key that is read, one that changes, one that comes
a: d = {"p": 1, "q": 2}
b: y = d["p"] + 1
c: z = d["q"] + 1
e: n = len(d)
a> d = {"p": 1, "q": 3, "r": 4}
-> c e

# deep paths are as deep as they are written
a: d = {"m": {"p": [1, 2], "q": 3}}
b: y = d["m"]["p"][0] + 1
c: z = d["m"]["q"] + 1
e: w = len(d["m"]["p"])
a> d = {"m": {"p": [1, 5], "q": 3}}
-> e

# the key is missing before, and there afterwards
a: d = {"p": 1}
b: y = d.get("q", 0) + 1
a> d = {"p": 1, "q": 5}
-> b

# a key that is asked for and goes
a: d = {"p": 1, "q": 2}
b: y = 0
   try:
       y = d["q"] + 1
   except KeyError:
       y = "none"
a> d = {"p": 1}
-> b

# the order of keys counts for who goes over them, not for who takes one
a: d = {"p": 1, "q": 2}
b: y = list(d)
c: z = d["p"] + 0
a> d = {"q": 2, "p": 1}
-> b

# a key that is a number, and one that is its text
a: d = {1: "one", "1": "text"}
b: y = d[1] + "!"
c: z = d["1"] + "!"
a> d = {1: "one", "1": "words"}
-> c

# a set does not know an order
a: s = {"p", "q", "r"}
b: y = sorted(s)
a> s = {"r", "q", "p"}
->

# membership reads the whole
a: s = {1, 2}
b: y = 1 in s
a> s = {1, 2, 3}
-> b

# views of a dict read the whole
a: d = {"p": 1, "q": 2}
b: y = sum(d.values())
c: z = [k for k in d.keys()]
e: w = d["p"] + 1
a> d = {"p": 1, "q": 3}
-> b c

# items of a dict in a loop
a: d = {"p": 1, "q": 2}
b: y = ""
   for k, v in d.items():
       y += f"{k}{v}"
a> d = {"p": 1, "q": 4}
-> b

# two dicts merged
a: d = {"p": 1}; e = {"q": 2}
b: f = {**d, **e}
c: g = d | {"z": 0}
a> d = {"p": 1}; e = {"q": 3}
-> b

# lists added and spread
a: xs = [1]; ys = [2]
b: zs = [*xs, *ys, 3]
c: ws = xs + [4]
a> xs = [1]; ys = [5]
-> b

# starred assignment
a: xs = [1, 2, 3, 4]
b: first, *rest = xs
c: n = len(rest)
e: k = first + 1
a> xs = [1, 2, 9, 4]
-> b c

# starred in the middle: the ends are as they were
a: p, q, r, s = 1, 2, 3, 4
b: x, *mid, y = [p, q, r, s]
c: u = x + y
e: v = sum(mid)
a> p, q, r, s = 1, 2, 8, 4
-> b e

# nested unpacking
a: t = (1, (2, [3, 4]))
b: x, (y, (z, w)) = t
c: u = z
e: v = x
a> t = (1, (2, [5, 4]))
-> b c

# a tuple in a list in a tuple
a: t = ([1], ({"k": (2, 3)},))
b: y = t[1][0]["k"][0] + 1
c: z = t[0][0] + 1
a> t = ([1], ({"k": (7, 3)},))
-> b

# zip and enumerate over lists
a: xs = [1, 2]; ys = [3, 4]
b: zs = list(zip(xs, ys))
c: ws = [(i, x) for i, x in enumerate(xs)]
a> xs = [1, 2]; ys = [3, 5]
-> b

# map, filter and reversed
a: xs = [1, 2, 3]; k = 2
b: y = list(map(lambda v: v * k, xs))
c: z = list(filter(None, reversed(xs)))
a> xs = [1, 2, 3]; k = 3
-> b

# any, all, min and sorted look at the whole
a: xs = [3, 1, 2]
b: y = sorted(xs)
c: z = any(xs)
a> xs = [3, 2, 1]
-> b c

# text is read as a whole
a: s = "hello world"
b: words = s.split()
c: n = len(words)
a> s = "goodbye world"
-> b c

# bytes and bytearrays
a: raw = bytearray(b"abc")
b: raw[0] = 120
c: text = raw.decode()
a> raw = bytearray(b"abd")
-> b c

# a frozen set and a range are values
a: r = range(3); f = frozenset({1, 2})
b: y = sum(r)
c: z = len(f)
a> r = range(4); f = frozenset({2, 1})
-> b

# a nested list that is read by path, changed elsewhere
a: grid = [[1, 2], [3, 4]]
b: y = grid[0][1] + 1
c: z = sum(grid[1])
a> grid = [[1, 2], [3, 5]]
-> c

# a named tuple by its fields
a: from collections import namedtuple
   Point = namedtuple("Point", "x y")
b: p = Point(1, 2)
c: y = p.x + 1
e: z = p.y + 1
b> p = Point(1, 5)
-> e

# a deque, a counter and a defaultdict
a: from collections import Counter, defaultdict, deque
b: q = deque([1, 2]); n = Counter("aab"); d = defaultdict(list)
c: q.append(3); d["k"].append(1)
e: y = q[0], n["a"]
f: z = len(q), dict(d)
b> q = deque([1, 2]); n = Counter("aaab"); d = defaultdict(list)
-> e

# sharing inside a value is part of it
a: row = [0]
   grid = [row, row]
b: grid[0].append(1)
c: y = grid[1]
a> grid = [[0], [0]]
-> b c

# a literal that was built by a loop is equal
a: squares = [0, 1, 4]
b: y = sum(squares)
a> squares = []
   for i in range(3):
       squares.append(i * i)
   del i
->
"""

MUTATION = """
# an alias sees the append
a: xs = [1]
b: ys = xs
c: xs.append(2)
d: n = len(ys)
a> xs = [5]
-> b c d

# a copy does not
a: xs = [1]
b: ys = list(xs)
c: xs.append(2)
d: n = len(ys)
c> xs.append(3)
->

# who reads above the change is not touched by it
a: xs = [1]
b: n = len(xs)
c: xs.append(2)
d: m = len(xs)
c> xs.append(2); xs.append(3)
-> d

# extend, insert, remove, pop, clear
a: xs = [3, 1, 2]
b: xs.extend([5, 4])
c: xs.insert(0, 9)
d: xs.remove(1)
e: last = xs.pop()
f: copy = xs[:]
g: xs.clear()
h: n = len(xs)
b> xs.extend([5, 6])
-> c d e

# sort and reverse
a: xs = [3, 1, 2]
b: xs.sort()
c: first = xs[0]
d: xs.reverse()
e: now = xs[0]
a> xs = [2, 3, 1]
-> b

# in-place plus keeps the alias
a: xs = [1]; ys = xs
b: xs += [2]
c: n = len(ys)
b> xs = xs + [2]
-> c

# in-place times keeps the alias
a: xs = [0]; ys = xs
b: xs *= 3
c: n = len(ys)
b> xs *= 4
-> c

# an element is set
a: xs = [0, 1]
b: xs[0] = 10
c: y = xs[0]
d: z = xs[1] + 1
b> xs[0] = 11
-> c

# a slice is set
a: xs = [0, 1, 2, 3]
b: xs[1:3] = [9]
c: n = len(xs)
d: z = xs[0] + 0
b> xs[1:3] = []
-> c

# an element is deleted
a: xs = [0, 1, 2]
b: del xs[0]
c: y = xs[0]
b> del xs[1]
-> c

# a key is set, updated, popped and set by default
a: d = {}
b: d["p"] = 1
c: d.update(q=2)
e: d.setdefault("r", []).append(3)
f: took = d.pop("q")
g: keys = sorted(d)
c> d.update(q=5)
-> e f

# in-place or of dicts and sets
a: d = {"p": 1}; s = {1}
b: d |= {"q": 2}
   s |= {2}
c: n = len(d) + len(s)
b> d |= {"q": 2}
   s |= {3}
-> c

# set methods
a: s = {1, 2}
b: s.add(3)
c: s.discard(1)
d: y = sorted(s)
b> s.add(4)
-> c d

# writing the value that is there already changes nothing below
a: xs = [7]
b: ys = xs + [3]
c: xs[0] = 7
d: n = ys[0] + xs[0]
c> xs[0] = 3 + 4
->

# a list in a list, changed through the outer one
a: inner = [1]
b: outer = [inner, 2]
c: outer[0].append(3)
d: n = len(inner)
c> outer[0].append(4); outer[0].append(5)
-> d

# a list in a list, changed through the inner one
a: inner = [1]
b: outer = [inner]
c: inner.append(3)
d: n = outer[0][-1]
c> inner.append(4)
-> d

# the outer one breaks away
a: inner = [1]; outer = [inner]
b: inner = [9]
c: inner.append(2)
d: n = len(outer[0])
c> inner.append(3)
->

# a list in a tuple
a: t = ([1], 2)
b: t[0].append(5)
c: y = t[0]
b> t[0].append(6)
-> c

# a list as a dict's value, under two keys
a: v = [1]
   d = {"p": v, "q": v}
b: d["p"].append(2)
c: n = len(d["q"])
b> d["p"].append(2); d["p"].append(3)
-> c

# a loop over lists changes each
a: xs = [[1], [2]]
b: for x in xs:
       x.append(0)
c: n = sum(len(x) for x in xs)
b> for x in xs:
       x.append(0); x.append(1)
-> c

# the loop's own name still means the last one
a: xs = [[1], [2]]
b: for x in xs:
       pass
c: x.append(9)
d: y = xs[1]
c> x.append(8)
-> d

# a comprehension that changes what it goes over
a: xs = [[1], [2]]
b: lens = [x.append(5) or len(x) for x in xs]
c: y = xs[0]
b> lens = [x.append(6) or len(x) for x in xs]
-> c

# a function that appends to its argument
a: xs = []
b: def put(items, v):
       items.append(v)
c: put(xs, 1)
d: n = len(xs)
c> put(xs, 1); put(xs, 2)
-> d

# a function that appends, edited
a: xs = []
b: def put(items, v):
       items.append(v)
c: put(xs, 1)
d: n = sum(xs)
b> def put(items, v):
       items.append(v + 1)
-> c d

# a function that only looks at its argument
a: xs = [1]
b: def look(items):
       return len(items)
c: n = look(xs)
d: m = xs[0]
c> n = look(xs) + 1
->

# a function that changes a global list
a: seen = []
b: def note(v):
       seen.append(v)
c: note(1)
d: n = len(seen)
c> note(1); note(2)
-> d

# an argument by keyword is changed
a: xs = []; ys = []
b: def fill(one=None, other=None):
       other.append(1)
c: fill(one=xs, other=ys)
d: n = len(xs)
e: m = len(ys)
c> fill(one=ys, other=xs)
-> d e

# arguments handed on by stars are changed
a: xs = []; ys = []
b: def fill(*lists, **named):
       for one in lists:
           one.append(0)
       named["k"].append(1)
c: fill(*[xs], **{"k": ys})
d: n = len(xs)
e: m = len(ys)
c> fill(*[xs, xs], **{"k": ys})
-> d

# append gives None, and the list changed
a: xs = [1]
b: got = []
   got.append(xs.append(2))
c: n = len(xs)
b> got = []
   got.append(xs.append(2)); xs.append(3)
-> c

# a bound method is called later
a: xs = []
b: put = xs.append
c: put(1)
d: n = len(xs)
c> put(1); put(2)
-> d

# a partial that holds a list
a: from functools import partial
   xs = []
b: put = partial(xs.append, 5)
c: put()
d: n = len(xs)
c> put(); put()
-> d

# setattr and setitem by function
a: import operator
   d = {}
b: operator.setitem(d, "p", 1)
c: y = d.get("p")
b> operator.setitem(d, "p", 2)
-> c

# a nested write
a: d = {"m": {"p": 1, "q": 2}}
b: d["m"]["p"] = 5
c: y = d["m"]["p"] + 1
e: z = d["m"]["q"] + 1
b> d["m"]["p"] = 6
-> c

# the change is made twice when the step above changes
a: xs = [0]; k = 1
b: xs.append(k)
c: xs.append(k * 2)
d: s = sum(xs)
a> xs = [0]; k = 2
-> b c d

# what is changed and bound in one cell
a: xs = [1]
b: xs.append(2)
   xs = xs[1:]
c: y = xs
a> xs = [1, 5]
-> b c

# a mutable default keeps what was put into it
a: def count(v, acc=[]):
       acc.append(v)
       return len(acc)
b: p = count(1)
c: q = count(2)
b> p = count(1) + count(1)
-> c

# a global counter
a: n = 0
b: def up():
       global n
       n += 1
c: up()
d: m = n
c> up(); up()
-> d

# a change that an exception interrupts, and is caught
a: xs = []
b: try:
       xs.append(1)
       xs.append(1 // 0)
   except ZeroDivisionError:
       pass
c: n = len(xs)
b> try:
       xs.append(1); xs.append(3)
       xs.append(1 // 0)
   except ZeroDivisionError:
       pass
-> c

# heapq and bisect change their argument
a: import bisect, heapq
   xs = [1, 5]; h = [1]
b: bisect.insort(xs, 3)
   heapq.heappush(h, 0)
c: y = xs[1]
d: z = h[0]
b> bisect.insort(xs, 4)
   heapq.heappush(h, 0)
-> c

# shuffling with a seed
a: import random
   xs = list(range(5))
b: random.seed(k := 3)
c: random.shuffle(xs)
d: y = xs[0]
b> random.seed(k := 1)
-> c d

# an iterator that two steps draw from
a: base = [1, 2, 3]
b: it = iter(base)
c: p = next(it)
d: q = next(it)
a> base = [1, 5, 3]
-> b c d

# a list that holds itself
a: xs = [1]
   xs.append(xs)
b: n = len(xs)
c: y = xs[1][0]
a> xs = [2]
   xs.append(xs)
-> b c
"""

FUNCTIONS = """
# a function's body is read by who calls it
a: def f(): return 1
b: y = f()
c: z = 2
a> def f(): return 3
-> b

# a function's comment and layout are not
a: def f(): return 1
b: y = f()
a> def f():
       return 1  # it is
->

# a function reads a global when it is called
a: k = 1
b: def f(): return k
c: y = f()
a> k = 2
-> c

# functions that call functions
a: k = 1
b: def f(): return k
c: def g(): return f() + 1
d: def h(): return g() + 1
e: y = h()
a> k = 2
-> e

# the innermost of them is edited
b: def f(): return 1
c: def g(): return f() + 1
d: y = g()
b> def f(): return 5
-> d

# mutual recursion
a: def even(n): return n == 0 or odd(n - 1)
b: def odd(n): return n != 0 and even(n - 1)
c: y = even(4)
b> def odd(n): return n != 0 and not even(n)
-> c

# recursion
a: def fact(n): return 1 if n < 2 else n * fact(n - 1)
b: y = fact(4)
a> def fact(n): return 1 if n < 2 else 1 + n * fact(n - 1)
-> b

# a parameter hides a global
a: y = 1
b: def f(y): return y + 7
c: z = f(5)
a> y = 2
->

# a local name hides a global
a: y = 1
b: def f():
       y = 9
       return y
c: z = f()
a> y = 2
->

# a default is taken when the function is defined
a: k = 1
b: def f(n=k): return n
c: y = f()
a> k = 2
-> b c

# a default that is not used is still part of the function
a: k = 1
b: def f(n=k): return n
c: y = f(5)
a> k = 2
-> b c

# keyword-only defaults and annotations
a: k = 1; t = int
b: def f(*, n: t = k) -> t: return n
c: y = f()
a> k = 2; t = int
-> b c

# a closure holds the value of its time
a: k = 1
b: def make(n):
       def inner(x):
           return x + n
       return inner
c: f = make(k)
d: y = f(1)
e: z = make(5)(1)
a> k = 2
-> c d

# a closure that counts by nonlocal
a: def counter():
       n = 0
       def up():
           nonlocal n
           n += 1
           return n
       return up
b: up = counter()
c: p = up()
d: q = up()
c> p = up() + up()
-> d

# two closures over one cell
a: def make():
       xs = []
       return xs.append, lambda: len(xs)
b: put, size = make()
c: put(1)
d: n = size()
c> put(1); put(2)
-> d

# a lambda reads a global late
a: k = 1
b: f = lambda x: x + k
c: y = f(1)
a> k = 2
-> c

# a lambda's parameter is its own
a: y = 1
b: f = lambda y: y * 2
c: z = f(3)
a> y = 2
->

# a lambda's default is early
a: k = 1
b: f = lambda x, n=k: x + n
c: y = f(1)
a> k = 2
-> b c

# lambdas in a loop share its variable
a: fs = [lambda: i for i in range(3)]
b: y = [f() for f in fs]
a> fs = [lambda i=i: i for i in range(3)]
-> b

# a lambda in a list reads a global
a: x = 1
b: fs = []
   fs.append(lambda e: e + x)
c: y = fs[0](7)
a> x = 2
-> b c

# a lambda in a dict that calls a function that reads a global
a: z = 1
b: def f(): return z
c: table = {"go": lambda: f()}
d: y = table["go"]()
a> z = 2
-> d

# functions in a list, one of them edited
a: def f(): return 5
b: def g(): return 7
c: todo = [f, g]
d: total = sum(one() for one in todo)
a> def f(): return 10
-> c d

# functions in a dict, chosen by the best
a: def one(): return 0.5
b: def two(): return 0.8
c: models = {"one": one, "two": two}
d: best = max((f(), name) for name, f in models.items())[1]
e: print(best)
a> def one(): return 0.9
-> c d e

# another name for a function
a: def f(): return 1
b: g = f
c: y = g()
a> def f(): return 2
-> b c

# a function handed to a function
a: k = 1
b: def add(x): return x + k
c: def twice(f, x): return f(f(x))
d: y = twice(add, 0)
a> k = 2
-> d

# sorted by a key that reads a global
a: sign = 1
b: ys = sorted([3, 1, 2], key=lambda v: v * sign)
a> sign = -1
-> b

# a decorator without arguments
a: def deco(f):
       return lambda x: f(x) + 1
b: @deco
   def f(x): return x
c: y = f(1)
a> def deco(f):
       return lambda x: f(x) + 2
-> b c

# a decorator with arguments that are read
a: k = 1
b: def times(n):
       def deco(f):
           return lambda x: f(x) * n
       return deco
c: @times(k)
   def f(x): return x
d: y = f(3)
a> k = 2
-> c d

# a decorator that registers
a: table = {}
b: def register(f):
       table[f.__name__] = f
       return f
c: @register
   def hello(): return "hi"
d: y = table["hello"]()
c> @register
   def hello(): return "ho"
-> d

# a cache forgets what its function made of the old value
a: import functools
   k = 1
b: @functools.lru_cache
   def f(x): return x + k
c: y = f(1)
a> import functools
   k = 2
-> c

# a cache of a function that calls another one
a: import functools
b: def g(x): return x + 1
c: @functools.cache
   def f(x): return g(x)
d: y = f(1)
b> def g(x): return x + 2
-> d

# a cached method
a: import functools
   k = 1
b: class P:
       @staticmethod
       @functools.cache
       def f(x): return x + k
c: y = P.f(1)
a> import functools
   k = 2
-> c

# a cached function, its body edited
a: import functools
b: @functools.cache
   def f(x): return x + 1
c: y = f(1)
b> @functools.cache
   def f(x): return x + 2
-> c

# a partial
a: from functools import partial
b: def f(x, n): return x * n
c: double = partial(f, n=2)
d: y = double(4)
b> def f(x, n): return x * n + 1
-> c d

# star-args are read
a: args = (1, 2); kw = {"sep": "-"}
b: print(*args, **kw)
c: y = args[0] + 1
a> args = (1, 3); kw = {"sep": "-"}
-> b

# arguments by keyword, under the parameter's own name
a: x = 7
b: def f(x): return 2 * x
c: y = f(x=x)
a> x = 8
-> c

# nested calls, positional and by keyword
a: x = 1; y = 2
b: def f(p, q=0): return p + q
c: z = f(f(f(x, q=y), q=7), q=f(1))
d: w = f(y)
a> x = 3; y = 2
-> c

# which branch of a function reads a global is not known beforehand
a: p = 1; q = 2
b: def f(flag):
       if flag:
           return p
       return q
c: y = f(True)
a> p = 5; q = 2
-> c

# a global that a function binds
a: def f():
       global made
       made = 4
b: f()
c: y = made + 1
a> def f():
       global made
       made = 5
-> b c

# a global that a function deletes
a: x = 1
b: def f():
       global x
       del x
c: f()
d: y = "x" in dir.__self__.__dict__ or 0
c> f(); k = 1
->

# a generator function
a: k = 2
b: def gen():
       for i in range(3):
           yield i * k
c: ys = list(gen())
a> k = 3
-> c

# yield from
b: def inner():
       yield 1
       yield 2
c: def outer():
       yield from inner()
d: ys = list(outer())
b> def inner():
       yield 1
       yield 3
-> d

# a coroutine
a: import asyncio
   k = 1
b: async def f():
       await asyncio.sleep(0)
       return k
c: y = asyncio.run(f())
a> import asyncio
   k = 2
-> c

# an async generator in an async comprehension
a: import asyncio
b: async def gen():
       for i in range(3):
           yield i
c: async def total():
       return sum([i async for i in gen()])
d: y = asyncio.run(total())
b> async def gen():
       for i in range(4):
           yield i
-> d

# an async context manager
a: import asyncio, contextlib
b: @contextlib.asynccontextmanager
   async def room():
       yield 3
c: async def go():
       async with room() as r:
           return r
d: y = asyncio.run(go())
b> @contextlib.asynccontextmanager
   async def room():
       yield 4
-> d

# a function that imports when it is called
a: x = 0
b: def f():
       import math
       return math.floor(x + 1.5)
c: y = f()
a> x = 4
-> c

# an attribute that a function carries
a: def f(): return f.step
b: f.step = 1
c: y = f()
b> f.step = 2
-> c

# a function in a function reads a global
a: x = 3
b: def f():
       def g():
           return x
       return g
c: y = f()()
a> x = 4
-> c

# a global that only an idle branch would print
a: x = 3; noise = 1
b: def f(loud):
       if loud:
           print(noise)
       return x
c: y = f(False)
a> x = 4; noise = 1
-> c

# a scope of a function does not leak
a: z = 1
b: def f():
       z = 0
       return z
c: f()
d: y = z
b> def f():
       z = 5
       return z
-> c

# a positional-only parameter and one of the same name in stars
a: k = 1
b: def f(k, /, **more): return k + more["k"]
c: y = f(1, k=2)
a> k = 9
->

# a function that is made again alike is no other
a: def f(x):
       return x + 1
b: y = f(1)
a> def f( x ):
       return (x + 1)
->

# operator.methodcaller and itemgetter
a: from operator import itemgetter
   d = {"p": 1, "q": 2}
b: get = itemgetter("p")
c: y = get(d)
a> from operator import itemgetter
   d = {"p": 5, "q": 2}
-> c

# a chain of calls on what a function gives
a: k = 1
b: class Step:
       def __init__(self, n): self.n = n
       def add(self, m): return Step(self.n + m)
c: y = Step(0).add(k).add(1).n
a> k = 2
-> c

# a string of code is a string
a: code = "k + 1"; k = 1
b: y = len(code)
a> code = "k + 1"; k = 2
->

# eval reads every name
a: x = 1
b: y = eval("x + 1")
a> x = 2
-> b
~ b
"""

CLASSES = """
# an attribute that is read, and one beside it
a: class P: pass
b: p = P(); p.x = 1; p.y = 2
c: u = p.x + 1
d: v = p.y + 1
b> p = P(); p.x = 1; p.y = 3
-> d

# an attribute is set by a later step
a: class P:
       def __init__(self, x): self.x = x
b: p = P(5)
c: p.x = 8
d: y = p.x + 5
c> p.x = 9
-> d

# attributes of two objects are apart
a: class P:
       def __init__(self, x): self.x = x
b: p = P(1); q = P(2)
c: y = q.x + 1
d: p.x = 7
d> p.x = 8
->

# two attributes unpacked at once
a: class P: pass
b: p = P(); q = P()
c: p.x, q.x = 1, 2
d: y = p.x + 1
e: z = q.x + 1
c> p.x, q.x = 1, 3
-> e

# augmented assignment of an attribute
a: class P: n = 0
b: p = P()
c: p.n += 1
d: y = p.n
c> p.n += 2
-> d

# one object in another
a: class P: pass
b: p = P(); q = P()
   p.child = q
c: q.v = 1
d: y = p.child.v + 1
c> q.v = 2
-> d

# a method changes its object
a: class Box:
       def __init__(self): self.items = []
       def put(self, v): self.items.append(v)
b: box = Box()
c: box.put(1)
d: n = len(box.items)
c> box.put(1); box.put(2)
-> d

# a method that gives its object back
a: class Box:
       def __init__(self): self.v = 0
       def set(self, v):
           self.v = v
           return self
b: box = Box()
c: box.set(1).set(2)
d: y = box.v
c> box.set(1).set(3)
-> d

# a method is edited
a: class P:
       def m(self): return 1
b: p = P()
c: y = p.m()
a> class P:
       def m(self): return 2
-> b c

# a method that is added touches no attribute
a: class P:
       def __init__(self): self.x = 1
b: p = P()
c: n = 5
a> class P:
       def __init__(self): self.x = 1
       def m(self): return 2
-> b

# a method reads a global
a: k = 1
b: class P:
       def m(self): return k
c: p = P()
d: y = p.m()
a> k = 2
-> c d

# a class attribute is read through an instance
a: class P: shared = 1
b: p = P()
c: y = p.shared + 1
a> class P: shared = 2
-> b c

# a class attribute is set later
a: class P:
       shared = 1
       def __init__(self): self.x = 5
b: p = P()
c: P.shared = 2
d: y = p.shared
c> P.shared = 3
-> d

# an instance's own attribute hides the class's
a: class P: shared = 1
b: p = P()
   p.shared = 9
c: y = p.shared + 1
d: P.shared = 2
d> P.shared = 3
->

# a list in the class is everybody's
a: class P: held = []
b: p = P(); q = P()
c: p.held.append(1)
d: n = len(q.held)
c> p.held.append(1); p.held.append(2)
-> d

# a name in a class body is not global
a: x = 7
b: class P:
       x = 42
c: y = x
b> class P:
       x = 43
->

# a class body reads a global
a: k = 1
b: class P:
       n = k + 1
c: y = P.n
a> k = 2
-> b c

# a class body's names are not seen by its methods
a: y = 1
b: class P:
       y = 10
       def m(self): return y
c: z = P().m()
a> y = 2
-> c

# inheritance: the base is edited
a: class A:
       def m(self): return 1
b: class B(A): pass
c: y = B().m()
a> class A:
       def m(self): return 2
-> b c

# inheritance: super()
a: class A:
       def m(self): return 1
b: class B(A):
       def m(self): return super().m() + 10
c: y = B().m()
a> class A:
       def m(self): return 2
-> b c

# a diamond of classes
a: class A:
       def m(self): return "a"
b: class B(A): pass
c: class C(A):
       def m(self): return "c"
d: class D(B, C): pass
e: y = D().m()
c> class C(A):
       def m(self): return "C"
-> d e

# a property
a: k = 1
b: class P:
       @property
       def v(self): return k
c: p = P()
d: y = p.v
a> k = 2
-> c d

# a property with a local of the same name
a: v = 1
b: class P:
       @property
       def get(self):
           v = 5
           return v
c: y = P().get
a> v = 2
->

# a setter that binds a global
a: z = 1
b: class P:
       @property
       def v(self): return z
       @v.setter
       def v(self, new):
           global z
           z = new
c: p = P()
d: p.v = 84
e: y = p.v
d> p.v = 85
-> e

# static and class methods
a: k = 1
b: class P:
       @staticmethod
       def s(): return k
       @classmethod
       def c(cls): return cls.s() + 1
c: y = P.c()
a> k = 2
-> c

# a dataclass
a: from dataclasses import dataclass, field
b: @dataclass
   class P:
       x: int
       tags: list = field(default_factory=list)
c: p = P(1)
d: p.tags.append("t")
e: y = p.x + 1
f: n = len(p.tags)
d> p.tags.append("t"); p.tags.append("u")
-> f

# a frozen dataclass is a value
a: from dataclasses import dataclass, replace
b: @dataclass(frozen=True)
   class P:
       x: int
       y: int = 0
c: p = P(1)
d: q = replace(p, y=2)
e: z = q.x + 1
c> p = P(5)
-> d e

# an enum
a: from enum import Enum
b: class Colour(Enum):
       RED = 1
       BLUE = 2
c: y = Colour.RED.value
b> class Colour(Enum):
       RED = 3
       BLUE = 2
-> c

# equality, hash and repr are code of the class
a: class P:
       def __init__(self, v): self.v = v
       def __eq__(self, other): return self.v == other.v
       def __hash__(self): return 1
b: p = P(1); q = P(2)
c: same = p == q
a> class P:
       def __init__(self, v): self.v = v
       def __eq__(self, other): return True
       def __hash__(self): return 1
-> b c

# getitem of the user's own
a: k = 1
b: class Table:
       def __getitem__(self, i): return i + k
c: t = Table()
d: y = t[0]
a> k = 2
-> c d

# getattr of the user's own
a: k = 1
b: class Any_:
       def __getattr__(self, name):
           if name.startswith("__"):
               raise AttributeError(name)
           return k
c: t = Any_()
d: y = t.what
a> k = 2
-> c d

# call, len and iteration of the user's own
a: k = 2
b: class Bag:
       def __call__(self): return k
       def __len__(self): return k
       def __iter__(self): return iter(range(k))
c: bag = Bag()
d: y = bag(), len(bag), list(bag)
a> k = 3
-> c d

# operators of the user's own
a: class V:
       def __init__(self, x): self.x = x
       def __add__(self, other): return V(self.x + other.x)
b: p = V(1); q = V(2)
c: y = (p + q).x
a> class V:
       def __init__(self, x): self.x = x
       def __add__(self, other): return V(self.x - other.x)
-> b c

# an in-place operator of the user's own
a: class Log:
       def __init__(self): self.rows = []
       def __iadd__(self, row):
           self.rows.append(row)
           return self
b: log = Log(); same = log
c: log += "one"
d: n = len(same.rows)
c> log += "one"; log += "two"
-> d

# a context manager of the user's own
a: class Room:
       def __enter__(self): return 1
       def __exit__(self, *exc): return True
b: with Room() as r:
       y = r + 1
c: z = y
a> class Room:
       def __enter__(self): return 2
       def __exit__(self, *exc): return True
-> b c

# a metaclass
a: class Meta(type):
       def __new__(mcls, name, bases, space):
           space["tag"] = 1
           return super().__new__(mcls, name, bases, space)
b: class P(metaclass=Meta): pass
c: y = P.tag
a> class Meta(type):
       def __new__(mcls, name, bases, space):
           space["tag"] = 2
           return super().__new__(mcls, name, bases, space)
-> b c

# a class is made by a function
a: def make(n):
       class P:
           v = n
       return P
b: P = make(1)
c: y = P().v
b> P = make(2)
-> c

# another name for a class
a: class P:
       def __init__(self): self.y = 99
b: Q = P
c: q = Q()
d: y = q.y
a> class P:
       def __init__(self): self.y = 98
-> b c d

# a class inside a class
a: class Outer:
       class Inner:
           v = 1
b: i = Outer.Inner()
c: y = i.v + 1
a> class Outer:
       class Inner:
           v = 2
-> b c

# isinstance holds after the class was made again alike
a: class P:
       v = 1
b: p = P()
c: y = isinstance(p, P)
a> class P:
       "A point."
       v = 1
->

# slots
a: class P:
       __slots__ = ("x", "y")
       def __init__(self): self.x, self.y = 1, 2
b: p = P()
c: p.x = 5
d: u = p.x
e: v = p.y + 1
c> p.x = 6
-> d

# private names are mangled
a: class P:
       def __init__(self): self.__v = 1
       def get(self): return self.__v
b: p = P()
c: y = p.get()
a> class P:
       def __init__(self): self.__v = 2
       def get(self): return self.__v
-> b c

# a method is set on the class from outside
a: class P: pass
b: p = P()
c: P.m = lambda self: 1
d: y = p.m()
c> P.m = lambda self: 2
-> d

# setattr, getattr and delattr by name
a: class P: pass
b: p = P(); name = "v"
c: setattr(p, name, 1)
d: y = getattr(p, name, None)
c> setattr(p, name, 2)
-> d

# a list of objects, one of them changed
a: class P:
       def __init__(self, v): self.v = v
b: ps = [P(i) for i in range(3)]
c: ps[1].v = 10
d: total = sum(p.v for p in ps)
e: first = ps[0].v + 1
c> ps[1].v = 11
-> d

# objects that know each other
a: class Node:
       def __init__(self): self.next = None; self.v = 0
b: p = Node(); q = Node()
   p.next = q; q.next = p
c: p.next.next.v = 5
d: y = p.v
c> p.next.next.v = 6
-> d

# a descriptor
a: k = 1
b: class D:
       def __get__(self, obj, kind): return k
   class P:
       v = D()
c: p = P()
d: y = p.v
a> k = 2
-> b c d

# a cached property
a: from functools import cached_property
b: class P:
       @cached_property
       def v(self): return 3
c: p = P()
d: y = p.v
e: z = p.v + 1
b> class P:
       @cached_property
       def v(self): return 4
-> c d e

# an exception class of one's own
a: class Oops(ValueError):
       code = 1
b: try:
       raise Oops("no")
   except ValueError as error:
       y = error.code
c: z = y
a> class Oops(ValueError):
       code = 2
-> b c

# an abstract base
a: from abc import ABC, abstractmethod
b: class A(ABC):
       @abstractmethod
       def m(self): ...
       def twice(self): return self.m() * 2
c: class B(A):
       def m(self): return 4
d: y = B().twice()
b> class A(ABC):
       @abstractmethod
       def m(self): ...
       def twice(self): return self.m() * 3
-> c d

# a protocol of a generic class
a: from typing import Generic, TypeVar
   T = TypeVar("T")
b: class Stack(Generic[T]):
       def __init__(self): self.items: list[T] = []
       def push(self, v: T): self.items.append(v)
c: s = Stack()
d: s.push(1)
e: n = len(s.items)
d> s.push(1); s.push(2)
-> e
"""

SYNTAX = """
# if and else bind one name
a: k = 5
b: if k > 3:
       y = "big"
   else:
       y = "small"
c: z = y + "!"
a> k = 6
-> b

# a name that is bound on one branch only
a: k = 1; y = "old"
b: if k > 3:
       y = "new"
c: z = y
a> k = 5; y = "old"
-> b c

# the branch that is not taken does not bind
a: y = 7
b: if True:
       k = 5
   else:
       y = 9
c: x = y + 3
b> if True:
       k = 6
   else:
       y = 9
->

# a conditional expression reads both sides
a: p = 1; q = 2; flag = True
b: y = p if flag else q
a> p = 1; q = 3; flag = True
-> b

# and, or, not
a: p = 0; q = 2
b: y = p or q
c: z = not p
a> p = 0; q = 3
-> b

# a loop's name lives on
a: n = 3
b: for i in range(n):
       pass
c: y = i
a> n = 4
-> b c

# a loop over nothing leaves the name as it was
a: i = "old"; xs = []
b: for i in xs:
       pass
c: y = i
a> i = "older"; xs = []
-> b c

# while with else and break
a: limit = 3
b: n = 0
   while n < limit:
       n += 1
       if n == 10:
           break
   else:
       done = True
c: y = n
a> limit = 4
-> b c

# a comprehension's variable is its own
a: i = 0
b: xs = [i for i in range(3)]
c: y = i
a> i = 1
-> c

# the first source of a comprehension is read outside
a: xs = [1, 2]
b: xs = [x for x in xs if x > 1]
c: y = xs
a> xs = [1, 3]
-> b c

# nested comprehensions
a: xs = [[1], [2]]; k = 1
b: ys = [y + k for x in xs for y in x]
a> xs = [[1], [2]]; k = 2
-> b

# a comprehension in a class body
a: k = 2
b: class P:
       vals = [i for i in range(k)]
c: y = P.vals
a> k = 3
-> b c

# dict and set comprehensions
a: xs = "ab"; n = 2
b: d = {x: n for x in xs}
c: s = {x * 2 for x in xs}
a> xs = "ab"; n = 3
-> b

# a generator expression is drawn at once
a: xs = [1, 2]; k = 3
b: y = sum(x * k for x in xs)
a> xs = [1, 2]; k = 4
-> b

# a walrus in a condition
a: n = 5
b: if (m := n * 2) > 5:
       y = m
c: z = m
a> n = 6
-> b c

# a walrus in a comprehension leaks
a: xs = [1, 2]
b: ys = [last := x for x in xs]
c: z = last
a> xs = [1, 3]
-> b c

# walruses inside walruses
a: k = 1
b: if (x := (y := (z := k) + 1) + 1) > 0:
       w = x + 1
c: u = z, y, x, w
a> k = 2
-> b c

# a walrus in a while
a: xs = [1, 2, 0, 4]
b: it = list(xs)
   total = 0
   while v := it.pop():
       total += v
c: y = total
a> xs = [1, 2, 0, 5]
-> b c

# match on a sequence
a: command = ["go", "north"]
b: match command:
       case ["go", where]:
           y = where
       case _:
           y = "stay"
c: z = y
a> command = ["go", "south"]
-> b c

# match on a mapping with the rest
a: d = {"kind": "p", "v": 1}
b: match d:
       case {"kind": "p", **rest}:
           y = rest
c: z = len(y)
a> d = {"kind": "p", "v": 2}
-> b c

# match on a class
a: class P:
       __match_args__ = ("x",)
       def __init__(self, x): self.x = x
b: p = P(1)
c: match p:
       case P(0):
           y = "nought"
       case P(x=v):
           y = v
d: z = y
b> p = P(2)
-> c d

# match on a dotted constant and a guard
a: from enum import Enum
   class C(Enum):
       A = 1
       B = 2
b: limit = 1; c = C.A
c: match c:
       case C.A if limit > 0:
           y = "a"
       case _:
           y = "other"
b> limit = 0; c = C.A
-> c

# with binds its target
a: import contextlib
b: @contextlib.contextmanager
   def room(n):
       yield n + 1
c: with room(1) as r, room(r) as s:
       y = r + s
d: z = y
c> with room(2) as r, room(r) as s:
       y = r + s
-> d

# with suppress, the binding may not happen
a: import contextlib
   k = 0; y = "old"
b: with contextlib.suppress(ZeroDivisionError):
       y = 1 // k
c: z = y
a> import contextlib
   k = 1; y = "old"
-> b c

# try, except, else, finally
a: k = 0
b: trace = []
   try:
       trace.append(1 // k)
   except ZeroDivisionError:
       trace.append("zero")
   else:
       trace.append("fine")
   finally:
       trace.append("end")
c: n = trace[0]
a> k = 1
-> b c

# the name of an exception goes at the end of its clause
a: error = "mine"; k = 0
b: try:
       1 // k
   except ZeroDivisionError as error:
       y = str(error)
c: z = y
a> error = "ours"; k = 0
-> b

# except with a tuple of types that is read
a: kinds = (ZeroDivisionError, KeyError); k = 0
b: try:
       1 // k
   except kinds:
       y = "caught"
a> kinds = (ZeroDivisionError, ValueError); k = 0
-> b

# an exception group
a: k = 1
b: try:
       raise ExceptionGroup("g", [ValueError(k), TypeError(2)])
   except* ValueError as group:
       y = group.exceptions[0].args[0]
   except* TypeError:
       z = 0
c: w = y
a> k = 2
-> b c

# an assert reads
a: k = 1
b: assert k < 5, f"{k} is too big"
   y = 0
a> k = 2
-> b

# f-strings read what is in their braces, formats included
a: x = 3.14159; width = 8; other = 1
b: s = f"{x:{width}.2f}"
c: t = f"{other!r:>4}"
a> x = 3.14159; width = 9; other = 1
-> b

# the debugging form of f-strings
a: x = 1
b: s = f"{x + 1 = }"
a> x = 2
-> b

# format and the percent sign
a: p = 1; q = 2
b: s = "{} and {}".format(p, q)
c: t = "%d" % p
d: u = "{v}".format(v=q)
a> p = 1; q = 3
-> b d

# chained comparison
a: lo, v, hi = 1, 2, 3
b: y = lo < v < hi
a> lo, v, hi = 1, 2, 4
-> b

# a global statement at the top of a cell
a: x = 1
b: global y
   y = x + 1
c: z = y
a> x = 2
-> b c

# nested functions and classes in one cell
a: k = 1
b: def outer():
       class Inner:
           def m(self):
               return [k for _ in range(2)]
       return Inner().m()
   y = outer()
c: z = y
a> k = 2
-> b c

# print is what a step shows
a: x = 1
b: print("x is", x)
c: print("hello")
a> x = 2
-> b

# the last expression is what a step shows
a: x = [1]
b: x
c: len(x) > 0
a> x = [2]
-> b c

# what a step shows does not depend on what a later one changed
a: x = [1]
b: x
c: x.append(2)
d: x
c> x.append(3)
-> d

# unpacking in a for
a: pairs = [(1, [2, 3]), (4, [5])]
b: total = 0
   for n, (first, *rest) in pairs:
       total += n + first
c: y = total
a> pairs = [(1, [2, 3]), (4, [6])]
-> b c

# a for that binds an element of a list
a: xs = [0]
b: for xs[0] in range(3):
       pass
c: y = xs[0]
b> for xs[0] in range(4):
       pass
-> c

# a for that binds an attribute
a: class P: pass
b: p = P()
c: for p.v in range(3):
       pass
d: y = p.v
c> for p.v in range(4):
       pass
-> d

# with that binds an element
a: import io
   d = {}
b: with io.StringIO("text") as f:
       d["t"] = f.read()
c: y = d["t"]
b> with io.StringIO("words") as f:
       d["t"] = f.read()
-> c

# several targets and a subscript
a: d = {}; k = 1
b: d["p"] = q = [k]
c: q.append(2)
e: n = len(d["p"])
c> q.append(2); q.append(3)
-> e

# del of several kinds at once
a: d = {"p": 1, "q": 2}; x = 1; xs = [1, 2]
b: del d["p"], xs[0], x
c: n = len(d) + len(xs)
a> d = {"p": 1, "q": 2}; x = 1; xs = [1, 2, 3]
-> b c

# an ellipsis, a complex number and long integers
a: x = ..., 2j, 10**30
b: y = x[2] + 1
a> x = ..., 3j, 10**30
->

# a lambda called at once
a: k = 1
b: y = (lambda n: n + k)(1)
a> k = 2
-> b

# an annotation in quotes may be looked at
a: k = 1
b: def f(x: "k") -> "nothing":
       v: "k" = x
       return v
c: y = f(1)
a> k = 2
-> b
"""

IMPORTS = """
# import, import as, from, from as
a: import math
   import os.path as osp
   from math import floor
   from math import ceil as up
b: y = math.pi > 3
c: z = floor(1.5) + up(1.5)
d: w = osp.join("p", "q")
a> import math
   import os.path as osp
   from math import floor
   from math import floor as up
-> c

# a module under another name is the same module
a: import json as j
b: s = j.dumps({"p": 1})
a> import json
   import json as j
->

# what a name stands for changes from one module's to another's
a: from math import sin as f
b: y = f(0.5) > 0.5
a> from math import tan as f
-> b

# a step's own import is not another's business
a: import math
b: import math
   y = math.floor(2.5)
a> import math
   k = 1
->

# a module that is not used any more
a: import math, json
b: y = math.floor(2.5)
a> import math
->

# an import in a try
a: try:
       import no_such_module_here as fast
   except ImportError:
       fast = None
b: y = fast is None
a> try:
       import math as fast
   except ImportError:
       fast = None
-> b

# a star import
a: from math import *
b: y = floor(2.5)
c: z = 1
a> from math import *
   def floor(x): return -1
-> b

# a module handed over as a value
a: import math
b: def use(m): return m.floor(2.5)
c: y = use(math)
a> import math
   k = 0
->

# a submodule is imported by another step
a: import xml
b: import xml.dom
c: y = hasattr(xml, "dom")
b> import xml.dom
   k = 1
->

# type checking imports that never happen
a: from typing import TYPE_CHECKING
   if TYPE_CHECKING:
       from nowhere import Nothing
b: def f(x: "Nothing"): return x
c: y = f(1)
a> from typing import TYPE_CHECKING
   if TYPE_CHECKING:
       from nowhere import Something as Nothing
->

# a function of a module kept under a name of one's own
a: import math
   root = math.sqrt
b: y = root(16)
a> import math
   root = math.cbrt
-> b
"""

FRAMES = """
# a column that is read, a column that comes
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2], "q": [3, 4]})
b: y = int(df["p"].sum())
c: z = int(df["q"].sum())
d: n = df.shape
a> import pandas as pd
   df = pd.DataFrame({"p": [1, 2], "q": [3, 5], "r": [0, 0]})
-> c d

# a column that a later step adds
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2]})
b: y = int(df["p"].max())
c: df["q"] = df["p"] * 2
d: z = int(df["q"].sum())
c> df["q"] = df["p"] * 3
-> d

# a column as an attribute
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2], "q": [3, 4]})
b: y = int(df.p.sum())
a> import pandas as pd
   df = pd.DataFrame({"p": [1, 5], "q": [3, 4]})
-> b

# several columns at once
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2], "q": [3, 4], "r": [5, 6]})
b: sub = df[["p", "q"]]
c: y = int(sub["p"].sum())
a> import pandas as pd
   df = pd.DataFrame({"p": [1, 2], "q": [3, 9], "r": [5, 6]})
-> b

# loc and iloc write into the frame
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2], "q": [3, 4]})
b: df.loc[0, "q"] = 9
c: df.iloc[1, 0] = 7
d: y = int(df["q"].sum())
e: z = int(df["p"].sum())
b> df.loc[0, "q"] = 8
-> c d

# in place, and not in place
a: import pandas as pd
   df = pd.DataFrame({"p": [1.0, None]})
b: whole = df.dropna()
c: df.fillna(0, inplace=True)
d: n = len(whole)
e: m = float(df["p"].sum())
c> df.fillna(5, inplace=True)
-> e

# assign makes another frame
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2]})
b: dg = df.assign(q=lambda t: t["p"] * 2)
c: y = int(dg["q"].sum())
d: z = len(df.columns)
b> dg = df.assign(q=lambda t: t["p"] * 3)
-> c

# a column deleted, renamed and inserted in place
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2], "q": [3, 4]})
b: del df["q"]
c: df.columns = ["x"]
d: df.insert(0, "z", 0)
e: y = list(df.columns)
c> df.columns = ["w"]
-> d e

# a column popped
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2], "q": [3, 4]})
b: q = df.pop("q")
c: n = len(df.columns)
d: s = int(q.sum())
a> import pandas as pd
   df = pd.DataFrame({"p": [1, 2], "q": [3, 5]})
-> b d

# a group and its mean
a: import pandas as pd
   df = pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]})
b: means = df.groupby("k")["v"].mean()
c: y = float(means["a"])
a> import pandas as pd
   df = pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 5, 3]})
-> b c

# two frames merged
a: import pandas as pd
   left = pd.DataFrame({"k": [1, 2], "p": [3, 4]})
   right = pd.DataFrame({"k": [1, 2], "q": [5, 6]})
b: both = left.merge(right, on="k")
c: y = int(both["q"].sum())
d: z = int(left["p"].sum())
a> import pandas as pd
   left = pd.DataFrame({"k": [1, 2], "p": [3, 4]})
   right = pd.DataFrame({"k": [1, 2], "q": [5, 7]})
-> b c

# query with a name from outside
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2, 3]}); limit = 1
b: n = len(df.query("p > @limit"))
a> import pandas as pd
   df = pd.DataFrame({"p": [1, 2, 3]}); limit = 2
-> b

# apply with a function that reads a global
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2]}); k = 1
b: y = df["p"].apply(lambda v: v + k).tolist()
a> import pandas as pd
   df = pd.DataFrame({"p": [1, 2]}); k = 2
-> b

# a function that adds a column to its argument
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2]})
b: def add(table):
       table["q"] = table["p"] + 1
c: add(df)
d: y = int(df["q"].sum())
b> def add(table):
       table["q"] = table["p"] + 2
-> c d

# frames in a dict
a: import pandas as pd
   frames = {"p": pd.DataFrame({"v": [1]}), "q": pd.DataFrame({"v": [2]})}
b: y = int(frames["p"]["v"].sum())
c: z = int(frames["q"]["v"].sum())
a> import pandas as pd
   frames = {"p": pd.DataFrame({"v": [1]}), "q": pd.DataFrame({"v": [3]})}
-> c

# the index is part of the frame
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2]}, index=[0, 1])
b: y = df.index.tolist()
a> import pandas as pd
   df = pd.DataFrame({"p": [1, 2]}, index=[5, 6])
-> b

# a frame from a dict of lists
a: data = {"p": [1, 2], "q": [3, 4]}
b: import pandas as pd
   df = pd.DataFrame(data)
c: y = int(df["p"].sum())
a> data = {"p": [1, 2], "q": [3, 5]}
-> b

# a series is changed in place
a: import pandas as pd
   s = pd.Series([1, 2])
b: s[0] = 5
c: y = int(s.sum())
b> s[0] = 6
-> c

# a view of an array sees the write
a: import numpy as np
   arr = np.zeros(4)
b: view = arr[:2]
c: arr[0] = 9
d: y = float(view.sum())
c> arr[0] = 8
-> d

# a write into the view is one into the array
a: import numpy as np
   arr = np.zeros(4)
b: view = arr[2:]
c: view[:] = 3
d: y = float(arr.sum())
c> view[:] = 4
-> d

# a copy of an array is apart
a: import numpy as np
   arr = np.zeros(4)
b: other = arr.copy()
c: arr += 1
d: y = float(other.sum())
c> arr += 2
->

# reshape and transpose are views
a: import numpy as np
   arr = np.arange(4)
b: grid = arr.reshape(2, 2).T
c: grid[0, 0] = 50
d: y = int(arr[0])
c> grid[0, 0] = 60
-> d

# in-place operators and out= of numpy
a: import numpy as np
   arr = np.ones(3); out = np.zeros(3)
b: arr *= 2
   np.add(arr, 1, out=out)
c: y = float(out.sum())
b> arr *= 3
   np.add(arr, 1, out=out)
-> c

# sort and fill change the array
a: import numpy as np
   arr = np.array([3, 1, 2])
b: arr.sort()
c: y = int(arr[0])
d: arr.fill(7)
e: z = int(arr[0])
d> arr.fill(8)
-> e

# a mask and fancy indexing copy
a: import numpy as np
   arr = np.arange(4)
b: some = arr[arr > 1]
c: some[0] = 99
d: y = int(arr.sum())
c> some[0] = 98
->

# an equal array made in another way
a: import numpy as np
   arr = np.array([0, 1, 2])
b: y = int(arr.sum())
a> import numpy as np
   arr = np.arange(3)
->

# another dtype is another array
a: import numpy as np
   arr = np.array([0, 1, 2], dtype="int64")
b: y = int(arr.sum())
a> import numpy as np
   arr = np.array([0, 1, 2], dtype="int32")
-> b

# a generator of random numbers moves on
a: import numpy as np
   rng = np.random.default_rng(1)
b: p = int(rng.integers(100))
c: q = int(rng.integers(100))
a> import numpy as np
   rng = np.random.default_rng(2)
-> b c

# an array in a dict, by key and by index
a: import numpy as np
   d = {"x": np.arange(3), "y": np.ones(2)}
b: y = float(d["y"].sum())
c: d["x"][0] = 5
e: z = int(d["x"][0])
c> d["x"][0] = 6
-> e
"""

EXOTIC = """
# a single dispatch that a later step adds to
a: from functools import singledispatch
   @singledispatch
   def show(v): return "any"
b: @show.register
   def _(v: int): return "int"
c: y = show(1)
b> @show.register
   def _(v: int): return "whole number"
-> c

# a read-only view of a dict
a: from types import MappingProxyType
   d = {"p": 1}; view = MappingProxyType(d)
b: d["p"] = 2
c: y = view["p"]
b> d["p"] = 3
-> c

# a chain of dicts writes into its first
a: from collections import ChainMap
   top = {}; base = {"p": 1}
b: both = ChainMap(top, base)
c: both["p"] = 5
d: y = top["p"] + base["p"]
c> both["p"] = 6
-> d

# an ordered dict is turned round
a: from collections import OrderedDict
   d = OrderedDict(p=1, q=2)
b: d.move_to_end("p")
c: y = list(d)
b> d.move_to_end("q")
-> c

# a simple namespace
a: from types import SimpleNamespace
   cfg = SimpleNamespace(lr=0.1, steps=5)
b: y = cfg.lr * 10
c: z = cfg.steps + 1
a> from types import SimpleNamespace
   cfg = SimpleNamespace(lr=0.2, steps=5)
-> b

# a counter that counts on
a: import itertools
   ids = itertools.count(5)
b: p = next(ids)
c: q = next(ids)
a> import itertools
   ids = itertools.count(7)
-> b c

# a memoryview over a bytearray
a: raw = bytearray(b"abc")
b: view = memoryview(raw)
c: view[0] = 120
d: text = raw.decode()
c> view[0] = 121
-> d

# an array of the standard library
a: from array import array
   xs = array("i", [1, 2]); ys = xs
b: xs.append(3)
c: y = list(ys)
b> xs.append(4)
-> c

# a string buffer
a: import io
   out = io.StringIO()
b: out.write("one")
c: print("two", file=out)
d: y = out.getvalue()
b> out.write("three")
-> c d

# an object as a key
a: class P: pass
b: p = P(); d = {p: 1}
c: d[p] += 1
e: y = d[p], p in d
c> d[p] += 2
-> e

# objects in a set
a: class P:
       def __init__(self, v): self.v = v
b: p = P(1); s = {p, P(2)}
c: p.v = 5
d: y = sorted(one.v for one in s), p in s
c> p.v = 6
-> d

# a function as a key
a: def f(): return 1
b: names = {f: "f"}
c: f.calls = 3
d: y = names[f]
e: z = names[f], f.calls
c> f.calls = 4
-> d e

# a class as a key
a: class P: pass
b: d = {P: 1}
c: P.n = 1
e: y = d[P] + P.n
c> P.n = 2
-> e

# members of an enum are themselves
a: from enum import Enum
   class C(Enum):
       A = 1
       B = 2
b: c = C.A; table = {C.A: "a"}
d: y = c is C.A, table[C.A]
a> from enum import Enum
   class C(Enum):  # two of them
       A = 1
       B = 2
->

# aliases are swapped
a: xs = [1]; ys = [2]
b: xs, ys = ys, xs
c: xs.append(3)
d: y = ys, xs
a> xs = [1]; ys = [4]
-> b c d

# an equal list that is another object
a: xs = [1]; ys = xs
b: xs = xs + []
c: xs.append(2)
d: y = ys
b> xs = xs
-> c d

# an alias on a condition
a: flag = True; xs = [1]
b: ys = xs if flag else list(xs)
c: ys.append(2)
d: n = len(xs)
a> flag = False; xs = [1]
-> b c d

# a list that a class holds
a: xs = []
b: class P:
       held = xs
c: P.held.append(1)
d: n = len(xs)
c> P.held.append(1); P.held.append(2)
-> d

# a list that a default holds
a: xs = []
b: def put(v, to=xs): to.append(v)
c: put(1)
d: n = len(xs)
c> put(1); put(2)
-> d

# a list that a closure holds
a: xs = []
b: def make():
       held = xs
       return lambda v: held.append(v)
   put = make()
c: put(1)
d: n = len(xs)
c> put(1); put(2)
-> d

# a list that an exception holds
a: xs = [1]
b: try:
       raise ValueError(xs)
   except ValueError as error:
       kept = error
c: kept.args[0].append(2)
d: n = len(xs)
c> kept.args[0].append(2); kept.args[0].append(3)
-> d

# a class made by type()
a: k = 1
b: P = type("P", (), {"n": k, "m": lambda self: self.n})
c: y = P().m()
a> k = 2
-> b c

# a typed named tuple and a typed dict
a: from typing import NamedTuple, TypedDict
   class P(NamedTuple):
       x: int
       y: int = 0
   class D(TypedDict):
       k: int
b: p = P(1); d = D(k=2)
c: u = p.x + 1
e: v = d["k"] + p.y
b> p = P(1, 5); d = D(k=2)
-> e

# a property that is set later
a: class P: pass
b: p = P()
c: P.v = property(lambda self: 1)
d: y = p.v
c> P.v = property(lambda self: 2)
-> d

# a method taken out of a class
a: class P:
       def m(self): return 1
b: p = P()
c: del P.m
d: y = hasattr(p, "m")
c> P.m = None
-> d

# a subclass sees what its base is given later
a: class A: n = 1
b: class B(A): pass
c: o = B()
d: A.n = 2
e: y = o.n, B.n
d> A.n = 3
-> e

# an instance is made an instance of another class
a: class A: n = 1
   class B: n = 2
b: o = A()
c: o.__class__ = B
d: y = o.n
c> o.__class__ = A
-> d

# the dict of an instance
a: class P: pass
b: p = P()
c: p.__dict__["v"] = 1
   vars(p)["w"] = 2
d: y = p.v + p.w
c> p.__dict__["v"] = 3
   vars(p)["w"] = 2
-> d

# getstate and setstate
a: class P:
       def __init__(self): self.v = 1; self.cache = {}
       def __getstate__(self): return {"v": self.v}
       def __setstate__(self, state): self.__dict__.update(state, cache={})
b: p = P()
c: p.v = 2
d: y = p.v, len(p.cache)
c> p.v = 3
-> d

# a user's list
a: class Stack(list):
       def push(self, v): self.append(v)
b: s = Stack([1])
c: s.push(2)
d: y = list(s), s[-1]
c> s.push(3)
-> d

# a user's dict with what is missing
a: class D(dict):
       def __missing__(self, key): return key + "!"
b: d = D(p="q")
c: y = d["p"], d["z"]
e: n = len(d)
a> class D(dict):
       def __missing__(self, key): return key + "?"
-> b c e

# a generator that is sent to
a: def gen():
       total = 0
       while True:
           total += yield total
b: g = gen(); next(g)
c: p = g.send(5)
d: q = g.send(6)
c> p = g.send(7)
-> b d

# a function that gives a generator, twice
a: def gen():
       yield from (1, 2)
b: xs = list(gen())
c: ys = list(gen())
a> def gen():
       yield from (1, 3)
-> b c

# recursion through a lambda
a: fact = lambda n: 1 if n < 2 else n * fact(n - 1)
b: y = fact(4)
a> fact = lambda n: 1 if n < 2 else 2 * n * fact(n - 1)
-> b

# a name that hides a builtin type
a: list = [1, 2]
b: n = len(list)
c: m = isinstance((), tuple)
a> list = [1, 2, 3]
-> b

# a loop over an underscore
a: n = 3
b: total = 0
   for _ in range(n):
       total += 1
c: y = total
a> n = 4
-> b c

# a module's attribute by its name
a: import math, operator
   name = "floor"
b: y = getattr(math, name)(2.5)
a> import math, operator
   name = "ceil"
-> b

# a partial of a method
a: from functools import partialmethod
   class P:
       def add(self, n): return n + 1
       two = partialmethod(add, 2)
b: y = P().two()
a> from functools import partialmethod
   class P:
       def add(self, n): return n + 2
       two = partialmethod(add, 2)
-> b

# reduce with an operator
a: from functools import reduce
   import operator
   xs = [1, 2, 3]
b: y = reduce(operator.mul, xs)
a> from functools import reduce
   import operator
   xs = [1, 2, 4]
-> b

# total ordering
a: from functools import total_ordering
   @total_ordering
   class V:
       def __init__(self, n): self.n = n
       def __eq__(self, o): return self.n == o.n
       def __lt__(self, o): return self.n < o.n
b: p, q = V(1), V(2)
c: y = p >= q
a> from functools import total_ordering
   @total_ordering
   class V:
       def __init__(self, n): self.n = n
       def __eq__(self, o): return self.n == o.n
       def __lt__(self, o): return self.n > o.n
-> b c

# a decorator class that counts
a: class Counted:
       def __init__(self, f): self.f = f; self.n = 0
       def __call__(self, *a):
           self.n += 1
           return self.f(*a)
b: @Counted
   def f(x): return x + 1
c: p = f(1)
d: q = f(1)
e: n = f.n
d> q = f(1) + f(2)
-> e

# a decorator that keeps the name
a: from functools import wraps
   def loud(f):
       @wraps(f)
       def inner(*a): return f(*a) + "!"
       return inner
b: @loud
   def hi(n): return "hi " + n
c: y = hi("ann"), hi.__name__
b> @loud
   def hi(n): return "hello " + n
-> c

# an attribute of a module that was made by hand
a: import types
   mod = types.ModuleType("mod"); mod.rate = 2
b: y = mod.rate * 3
a> import types
   mod = types.ModuleType("mod"); mod.rate = 4
-> b

# a module that was made by hand is changed
a: import types
   mod = types.ModuleType("mod"); same = mod
b: mod.rate = 2
c: y = same.rate
b> mod.rate = 3
-> c

# text that is made from names by format_map
a: d = {"p": 1}
b: s = "{p}".format_map(d)
a> d = {"p": 2}
-> b

# dates and decimals
a: from datetime import date, timedelta
   from decimal import Decimal
   day = date(2024, 1, 1); price = Decimal("1.10")
b: later = day + timedelta(days=1)
c: cost = price * 2
a> from datetime import date, timedelta
   from decimal import Decimal
   day = date(2024, 1, 1); price = Decimal("1.1")
-> c

# fractions, paths, patterns
a: import re
   from fractions import Fraction
   from pathlib import Path
   f = Fraction(2, 4); p = Path("x") / "y"; r = re.compile("a+")
b: y = f + 1
c: z = str(p)
d: w = r.findall("aab")
a> import re
   from fractions import Fraction
   from pathlib import Path
   f = Fraction(1, 2); p = Path("x/y"); r = re.compile("a")
-> d

# a writable column of a frame
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2, 3], "q": [4, 5, 6]})
b: df.loc[df["p"] > 1, "q"] = 0
c: df.at[0, "p"] = 9
d: y = int(df["q"].sum())
e: z = int(df["p"].sum())
c> df.at[0, "p"] = 8
-> e

# a series taken from a frame is apart from it
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2]})
b: s = df["p"]
c: s.iloc[0] = 50
d: y = int(df["p"].sum())
e: z = int(s.sum())
c> s.iloc[0] = 60
-> e

# two frames over one array
a: import numpy as np, pandas as pd
   arr = np.zeros((2, 2))
b: df = pd.DataFrame(arr, columns=["p", "q"])
c: arr[0, 0] = 5
d: y = float(df["p"].sum())
c> arr[0, 0] = 6
->

# categories and the index
a: import pandas as pd
   s = pd.Series(["a", "b"], dtype="category")
b: s = s.cat.rename_categories({"a": "x"})
c: y = s.tolist()
b> s = s.cat.rename_categories({"a": "z"})
-> c

# rows in a loop
a: import pandas as pd
   df = pd.DataFrame({"p": [1, 2], "q": [3, 4]})
b: total = 0
   for i, row in df.iterrows():
       total += row["p"]
a> import pandas as pd
   df = pd.DataFrame({"p": [1, 2], "q": [3, 5]})
-> b

# a grouping that is kept
a: import pandas as pd
   df = pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]})
b: groups = df.groupby("k")
c: y = groups["v"].sum().tolist()
a> import pandas as pd
   df = pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 4]})
-> b c

# a structured array by its fields
a: import numpy as np
   arr = np.zeros(2, dtype=[("x", "f8"), ("y", "f8")])
b: arr["x"][0] = 5
c: u = float(arr["x"].sum())
d: v = float(arr["y"].sum())
b> arr["x"][0] = 6
-> c

# a broadcast view
a: import numpy as np
   arr = np.arange(3)
b: wide = np.broadcast_to(arr, (2, 3))
c: arr[0] = 7
d: y = int(wide.sum())
c> arr[0] = 8
-> d

# a masked array
a: import numpy as np
   arr = np.ma.masked_array([1, 2, 3], mask=[0, 1, 0])
b: arr[0] = 5
c: y = int(arr.sum())
b> arr[0] = 6
-> c

# a context variable
a: from contextvars import ContextVar
   user = ContextVar("user", default="none")
b: user.set("ann")
c: y = user.get()
b> user.set("bob")
-> a c

# print into another step's list
a: lines = []
b: import contextlib, io
   with contextlib.redirect_stdout(io.StringIO()) as out:
       print("hidden")
   lines.append(out.getvalue())
c: y = lines[0]
b> import contextlib, io
   with contextlib.redirect_stdout(io.StringIO()) as out:
       print("shown")
   lines.append(out.getvalue())
-> c
"""


@dataclass(frozen=True)
class Case:
    """One notebook, its edit, and which steps run again for it."""

    topic: str
    title: str
    cells: dict[str, str]
    edits: dict[str, str]
    again: frozenset[str]
    always: frozenset[str] = frozenset()


def read(topic: str, text: str) -> list[Case]:
    """The cases of one block."""
    return [_case(topic, one) for one in text.strip().split("\n\n# ")]


def _case(topic: str, text: str) -> Case:
    title, *lines = text.removeprefix("# ").splitlines()
    blocks: dict[str, dict[str, list[str]]] = {":": {}, ">": {}}
    named: dict[str, frozenset[str]] = {"->": frozenset(), "~": frozenset()}
    current: list[str] = []
    for line in lines:
        mark, _, words = line.partition(" ")
        if mark in named:
            named[mark] = frozenset(words.split())
        elif line[1:3] in (": ", "> "):
            current = blocks[line[1]][line[0]] = [line[3:]]
        else:
            current.append(line[3:])
    sources = [{step: "\n".join(body) for step, body in blocks[mark].items()} for mark in ":>"]
    return Case(topic, title, *sources, named["->"], named["~"])


CASES = [
    case
    for topic, text in {
        "names": NAMES, "containers": CONTAINERS, "mutation": MUTATION, "functions": FUNCTIONS,
        "classes": CLASSES, "syntax": SYNTAX, "imports": IMPORTS, "frames": FRAMES,
        "exotic": EXOTIC,
    }.items()
    for case in read(topic, text)
]  # fmt: skip
