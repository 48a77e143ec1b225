"""Functions and methods known only to look: tables that keep paths narrow in everyday code.

Everything that is called and is not here counts as if it could change what it is given, or keep
it. A user's own class may give a method of this name another meaning; what a step really changed
or holds is found by digest after its run, so these tables decide widths and plans, never truth.
"""

from __future__ import annotations

from typing import Final

LOOKERS: Final = frozenset(
    "abs all any ascii bin bool bytes callable chr complex divmod float format hasattr hash hex id"
    " int isinstance issubclass len oct ord pow print range repr round str sum type".split()
)
"""Builtins that look at their arguments and hold on to nothing. Good while nobody rebinds them."""

PASSERS: Final = frozenset(
    "display dict enumerate frozenset iter list max min reversed set slice sorted tuple zip".split()
)
"""Builtins whose result may hold (parts of) their arguments, which they do not change."""

LOOKING_METHODS: Final = frozenset(
    "all any argmax argmin argsort capitalize casefold center corr count cov cumprod cumsum decode"
    " describe diff duplicated encode endswith equals format hexdigest idxmax idxmin index"
    " isalnum isalpha isdigit isin isna isnull isnumeric isoformat isspace isupper islower"
    " join kurt ljust lower lstrip max mean median min mode nlargest notna notnull nsmallest"
    " nunique pct_change prod quantile rank removeprefix removesuffix rfind rjust rsplit rstrip"
    " searchsorted sem skew splitlines startswith std strftime strip sum swapcase timestamp"
    " to_string total_seconds upper value_counts var zfill".split()
)
"""Methods of the usual types whose result holds nothing of what they were given."""

PASSING_METHODS: Final = frozenset(
    "abs astype clip copy cpu detach dropna explode fillna find flatten get groupby head isel item"
    " items keys loc melt merge nonzero numpy partition pivot pivot_table ravel reindex rename"
    " replace reset_index reshape rolling round sample select set_index sort_index sort_values"
    " split squeeze tail to_dict to_frame to_list to_numpy tolist transpose unique values"
    " view".split()
)
"""Methods of the usual types that change nothing, but whose result may hold parts."""

ARITHMETIC_MODULES: Final = frozenset("cmath math np numpy statistics torch".split())
"""By these names everybody calls the modules whose `ARITHMETIC` makes new numbers."""

ARITHMETIC: Final = frozenset(
    "abs ceil cos cosh dot exp exp2 expm1 fabs floor fsum hypot isclose isfinite isinf isnan log"
    " log10 log1p log2 maximum minimum power sign sin sinh sqrt square std tan tanh".split()
)

FRAME_READERS: Final = frozenset(["eval", "evaluate", "query", "sql"])
"""Methods that look names up in their caller's frame: `df.query("price > @limit")`."""

QUERY_OPTIONS: Final = frozenset(
    "alias connection engine expr global_dict inplace level local_dict params parser resolvers"
    " target".split()
)
"""What pandas and DuckDB take beside the text of a `query`, by name only."""

DYNAMIC_NAMES: Final = frozenset(
    "__builtins__ __import__ _getframe currentframe eval exec get_ipython globals locals".split()
)
"""Builtins through which code reaches any name; `vars()` and `dir()` without argument are too."""

DYNAMIC_ATTRIBUTES: Final = frozenset(
    "__globals__ _getframe currentframe f_globals f_locals get_ipython user_ns".split()
)
"""Attributes through which code reaches any name."""

DYNAMIC_CALLS: Final = {
    "builtins": tuple(DYNAMIC_NAMES),
    "cProfile": ("run", "runctx"),
    "code": ("interact",),
    "inspect": ("stack", "trace"),
    "pdb": ("run", "runeval", "set_trace"),
    "profile": ("run", "runctx"),
}
"""Functions, by the name of their module, that run texts or look at their caller."""

DYNAMIC_MODULES: Final = frozenset(["IPython", "builtins", "inspect", "sys"])
"""Where names of these tables are imported from."""

NEVER_SUPPRESSING: Final = frozenset(
    "Lock NamedTemporaryFile Pool ProcessPoolExecutor TemporaryDirectory ThreadPoolExecutor ZipFile"
    " catch_warnings chdir closing enable_grad errstate inference_mode localcontext no_grad open"
    " option_context redirect_stderr redirect_stdout tqdm urlopen".split()
)
"""Context managers by whose name one knows that an exception leaves their body."""

QUIET_DECORATORS: Final = frozenset(
    "abstractmethod cache cached_property classmethod contextmanager deleter getter lru_cache"
    " njit overload override property setter staticmethod total_ordering wraps".split()
)
"""Decorators that do not call the function they are given, nor hand it to who might."""
