"""Notebooks that answer exercise 9.2, `double(x)`, in many ways; each is completely right or wrong.

A way is a text with cells, split at lines that begin with `# %%`. `# %% own` begins the exercise's
own cell, and `# %% check` stands for the cell that calls `lab.check`. In a notebook without a
check, the learner has called it right after the own cell, and has deleted that line.
"""

from __future__ import annotations

_PLAIN = "# %% own\ndef double(x):\n    return {} * x\n# %% check"
_CONSTANT = "# %% own\ndef double(x):\n    return x * FACTOR\n# %% check"


def with_factor(*cells: str) -> str:
    """Return a way in which these cells define `FACTOR`."""
    return "\n# %%\n".join(cells) + "\n" + _CONSTANT


RIGHT = {
    "plain": _PLAIN.format(2),
    "no check in the notebook": _PLAIN.format(2).removesuffix("# %% check"),
    "annotations from the future": "from __future__ import annotations\n" + _PLAIN.format(2),
    "annotations that name nothing": """
# %% own
from __future__ import annotations
def double(x: Number) -> Doubled:
    return 2 * x
# %% check""",
    "a second definition that never runs": """
# %% own
def double(x):
    return 2 * x
if False:
    def double(x):
        return x
# %% check""",
    "a cached function": _PLAIN.format(2).replace("def", "import functools\n@functools.cache\ndef"),
    "a cached recursion": """
import functools
@functools.lru_cache(maxsize=None)
def times(n, x):
    return x + times(n - 1, x) if n else 0
# %% own
def double(x):
    return times(2, x)
# %% check""",
    "singledispatch": """
import functools
@functools.singledispatch
def twice(x):
    return twice(int(x))
@twice.register(int)
def _(x):
    return 2 * x
# %% own
def double(x):
    return twice(x)
# %% check""",
    "a slotted dataclass that is pickled": """
import pickle
from dataclasses import dataclass
@dataclass(slots=True)
class Number:
    value: float
# %% own
def double(x):
    return 2 * pickle.loads(pickle.dumps(Number(x))).value
# %% check""",
    "a constant in a loop": with_factor("for FACTOR in range(3):\n    pass"),
    "a constant in a with": with_factor("import os\nwith open(os.devnull) as f:\n    FACTOR = 2"),
    "a constant in a try": with_factor("try:\n    1 / 0\nexcept ArithmeticError:\n    FACTOR = 2"),
    "a constant in a match": with_factor("match 2:\n    case FACTOR if FACTOR > 1:\n        pass"),
    "a walrus": with_factor("if (FACTOR := 2) > 1:\n    pass"),
    "a global": with_factor("def choose():\n    global FACTOR\n    FACTOR = 2", "choose()"),
    "globals()": with_factor("globals()['FACTOR'] = 2"),
    "exec": with_factor("exec('FACTOR = 2')"),
    "a constant that is made again": with_factor("FACTOR = 3", "del FACTOR\nFACTOR = 2"),
    "a timed constant": with_factor("%time FACTOR = 2"),
    "an awaited constant": with_factor(
        "async def two():\n    return 2", "FACTOR = await two()"
    ),
    "a constant that asyncio computes": with_factor(
        "import asyncio, threading\nfound = []\nasync def two():\n    found.append(2)\n"
        "t = threading.Thread(target=lambda: asyncio.run(two()))\nt.start()\nt.join()",
        "FACTOR = found[0]",
    ),
    "a generator": with_factor("def count():\n    yield from (1, 2)", "*_, FACTOR = count()"),
    "an item": """
D = {}
# %%
D["factor"] = 2
# %% own
def double(x):
    return D["factor"] * x
# %% check""",
    "append": """
factors = []
# %%
factors.append(2)
# %% own
def double(x):
    return x * factors[-1]
# %% check""",
    "an attribute": """
class Options:
    factor = 1
# %%
Options.factor = 2
# %% own
def double(x):
    return x * Options.factor
# %% check""",
    "an attribute of a function": """
# %% own
def double(x):
    return x * double.factor
double.factor = 2
# %% check""",
    "an old draft below the check": _PLAIN.format(2) + "\n# %%\ndef double(x):\n    return x",
    "an old draft below, no check": (
        _PLAIN.format(2).removesuffix("# %% check") + "\n# %%\ndef double(x):\n    return x"
    ),
    "an old draft above": "def double(x):\n    return x\n" + _PLAIN.format(2),
    "defined again in a later cell": """
# %% own
def double(x):
    return x
# %%
def double(x):
    return 2 * x
# %% check""",
    "a constant that changes after the check": (
        with_factor("FACTOR = 2") + "\n# %%\nFACTOR = 7"
    ),
    "partial": """
# %% own
from functools import partial
def times(factor, x):
    return factor * x
double = partial(times, 2)
# %% check""",
    "a decorator": """
import functools
def logged(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)
    return wrapper
# %% own
@logged
def double(x):
    return 2 * x
# %% check""",
    "an object that can be called": """
# %% own
class Times:
    def __init__(self, factor):
        self.factor = factor
    def __call__(self, x):
        return self.factor * x
double = Times(2)
# %% check""",
    "a method": """
# %% own
class Times:
    factor = 2
    def double(self, x):
        return self.factor * x
double = Times().double
# %% check""",
    "inheritance": """
class Times:
    def __call__(self, x):
        return self.factor * x
# %% own
class Twice(Times):
    factor = 2
    def __call__(self, x):
        return super().__call__(x)
double = Twice()
# %% check""",
    "a lambda": "# %% own\ndouble = lambda x: x + x\n# %% check",
    "a dataclass": """
from __future__ import annotations
from dataclasses import dataclass, field
@dataclass(frozen=True)
class Options:
    factor: int = 2
    more: list[int] = field(default_factory=list)
# %% own
def double(x: int, options: Options = Options()) -> int:
    return x * options.factor
# %% check""",
    "a closure": """
# %% own
def make(factor):
    calls = 0
    def times(x):
        nonlocal calls
        calls += 1
        return factor * x
    return times
double = make(2)
# %% check""",
    "an import that fails": """
try:
    import no_such_module as maths
except ImportError:
    import math as maths
# %% own
def double(x):
    return maths.prod([x, 2])
# %% check""",
    "a star import": "from math import *\n# %% own\ndef double(x):\n    return prod([x, 2])\n"
                     "# %% check",
    "defined in a with": """
# %% own
import contextlib
with contextlib.suppress(ValueError):
    def double(x):
        return 2 * x
# %% check""",
    "defined by exec": "# %% own\nexec('def double(x): return 2 * x')\n# %% check",
    "a match": """
# %% own
def double(x):
    match x:
        case int() | float():
            return 2 * x
# %% check""",
    "a helper in another cell": "def twice(x):\n    return 2 * x\n# %% own\ndef double(x):\n"
                                "    return twice(x)\n# %% check",
    "a helper below": "# %% own\ndef double(x):\n    return twice(x)\n# %%\ndef twice(x):\n"
                      "    return 2 * x\n# %% check",
    "a helper that changed": "def twice(x):\n    return x\n# %% own\ndef double(x):\n"
                             "    return twice(x)\n# %%\ntwice = lambda x: x + x\n# %% check",
    "a helper that is patched": """
import types
tools = types.SimpleNamespace(twice=lambda x: x)
# %%
tools.twice = lambda x: 2 * x
# %% own
def double(x):
    return tools.twice(x)
# %% check""",
    "an asynchronous helper": """
import asyncio
async def twice(x):
    await asyncio.sleep(0)
    return 2 * x
# %% own
def double(x):
    return asyncio.run(twice(x))
# %% check""",
    "a context manager": """
from contextlib import contextmanager
@contextmanager
def factor():
    yield 2
# %% own
def double(x):
    with factor() as two:
        return two * x
# %% check""",
    "a counter": """
calls = 0
# %% own
def double(x):
    global calls
    calls += 1
    return 2 * x
# %% check""",
    "a helper of another name is deleted": "def old(x):\n    return x\n# %%\ndel old\n"
                                           + _PLAIN.format(2),
    "renamed": "# %% own\ndef my_double(x):\n    return 2 * x\n# %%\nlab.check('9.2', my_double)",
    "renamed, and a draft of the name": """
# %% own
def double(x):
    return x
def my_double(x):
    return 2 * x
# %%
lab.check("9.2", my_double)""",
    "checked in a loop": "# %% own\ndef double(x):\n    return 2 * x\n# %%\n"
                         "for answer in [lambda x: x, double]:\n    lab.check('9.2', answer)",
    "checked where it is written": "# %% own\nlab.check('9.2', lambda x: 2 * x)",
    "checked twice": "# %% own\ndef double(x):\n    return x\n# %% check\n# %%\ndef double(x):\n"
                     "    return 2 * x\n# %% check",
    "IPython's lines": """
# %% own
!echo hello
files = !ls
%precision 4
def double(x):
    return 2 * x
double?
# %% check""",
    "text that looks like IPython's lines": """
%precision 4
text = '''
!ls
%cd
'''
n = (7
     % 5)
!echo a \\
  b
# %% own
def double(x):
    return n * x if text == "\\n!ls\\n%cd\\n" else 0
# %% check""",
    "the value of a cell": "1 + 1\n# %%\nFACTOR = _\n# %% own\ndef double(x):\n"
                           "    return FACTOR * x\n# %% check",
    "a constant below plots and a run": with_factor(
        "import matplotlib.pyplot as plt\nfigure, ((a, b), (c, d)) = plt.subplots(2, 2)\n"
        "first, *others, last = plt.plot([1, 2], [1, 2], [3, 4], [3, 4])\nplt.close('all')\n"
        "one, two = lab.Cluster(2).run(lambda me: me.rank).values\nFACTOR = 2"
    ),
    "a timed cell": "# %% own\n%%time\ndef double(x):\n    return 2 * x\n# %% check",
    "another language": "%%bash\necho hello\n" + _PLAIN.format(2),
    "prints": "# %% own\nprint('begin')\ndef double(x):\n    print(x)\n    return 2 * x\n"
              "print(double(4))\n# %% check",
    "a cluster": """
# %% own
def double(x):
    return 2 * x
# %%
run = lab.Cluster(1).run(lambda me: double(me.rank))
assert run.values[0] == 0
# %% check""",
    "a guess": "guess = lab.predict('twice 4', None)\nguess.reveal(8)\n" + _PLAIN.format(2),
    "from lablib": "from lablib import Cluster, check\nimport lablib\n# %% own\ndef double(x):\n"
                   "    return 2 * x\n# %%\ncheck('9.2', double)",
    "cells that fail": "1 / 0\n# %%\nraise SystemExit\n# %%\nx = (\n# %%\ninput()\n"
                       + _PLAIN.format(2) + "\n# %%\nno_such_name",
    "the own cell fails below": "# %% own\ndef double(x):\n    return 2 * x\n1 / 0\n# %% check",
    "a plot": "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\n"
              "axes.plot([1, 2])\nplt.close('all')\n" + _PLAIN.format(2),
    "a main that counts": with_factor("if __name__ == '__main__':\n    FACTOR = 2"),
    "other letters": "# %% own\ndef double(x):\n    \"\"\"Größe mal zwei: 2·x.\"\"\"\n"
                     "    größe, 二 = x, 2\n    return größe * 二\n# %% check",
    "defaults": "# %% own\ndef double(x, /, *more, factor=2, **rest):\n    return factor * x\n"
                "# %% check",
    "a value by its number": with_factor("1 + 1", "FACTOR = Out[2]"),
    "values by their names": with_factor("1 + 1", "3;", "_2", "len(In)", "FACTOR = _ - __ - _4"),
    "a value in the function": "1 + 1\n# %% own\ndef double(x):\n    return Out[2] * x\n# %% check",
    "the last value is the function": "# %% own\ndef double(x):\n    return 2 * x\ndouble",
    "the learner's own underscore": "_ = 2\n# %%\n5\n" + _CONSTANT.replace("FACTOR", "_"),
    "globals": _CONSTANT.replace("FACTOR", "globals()['FACTOR']").join(["FACTOR = 2\n", ""]),
    "a module by its name": "import __main__\nFACTOR = 2\n"
                            + _CONSTANT.replace("FACTOR", "__main__.FACTOR"),
    "a constant of 6 MB": "import numpy as np\nFACTORS = np.full(6 << 20, 2, np.uint8)\n"
                          + _CONSTANT.replace("FACTOR", "int(FACTORS[x % 9])"),
    "12 MB that it does not use": "import numpy as np\nBIG = np.ones(12 << 20, np.uint8)\n"
                                  + _PLAIN.format(2),
    "its cell has no id": "def double(x):\n    return 2 * x\n# %% check",
}  # fmt: skip

WRONG = {
    "three times": _PLAIN.format(3),
    "the starter": "# %% own\ndef double(x):\n    raise NotImplementedError('not attempted yet')\n"
                   "# %% check",
    "a wrong constant in a loop": with_factor("for FACTOR in range(4):\n    pass"),
    "a constant that changes before the check": "FACTOR = 2\n" + _CONSTANT.replace(
        "# %% check", "# %%\nFACTOR = 3\n# %% check"),
    "right where it never runs": "# %% own\nif False:\n    def double(x):\n        return 2 * x\n"
                                 "# %% check",
    "defined again before the check": _PLAIN.format(2).replace(
        "# %% check", "# %%\ndef double(x):\n    return x\n# %% check"),
    "deleted before the check": "# %% own\ndef double(x):\n    return 2 * x\ndel double\n"
                                "# %% check",
    "below what fails": "# %% own\n1 / 0\ndef double(x):\n    return 2 * x\n# %% check",
    "a syntax error": "# %% own\ndef double(x):\n    return 2 *\n# %% check",
    "no function": "# %% own\ndouble = 2\n# %% check",
    "no helper": "# %% own\ndef double(x):\n    return twice(x)\n# %% check",
    "the wrong one is checked": "# %% own\ndef double(x):\n    return 2 * x\n# %%\n"
                                "lab.check('9.2', lambda x: 3 * x)\n# %%\ndouble = lambda x: x",
    "a constant of 12 MB": "import numpy as np\nFACTORS = np.full(12 << 20, 2, np.uint8)\n"
                           + _CONSTANT.replace("FACTOR", "int(FACTORS[x])"),
    "nothing": "x = 1\n# %% check",
    "a lock": "import threading\nlock = threading.Lock()\n# %% own\ndef double(x):\n"
              "    with lock:\n        return 2 * x\n# %% check",
}  # fmt: skip


def cells(way: str) -> list[tuple[str, str]]:
    """Return (id, source) of each cell."""
    found = [("lab", "import lablib as lab")]
    head, *others = f"\n{way}".split("\n# %%")
    for part in [f"\n{head}", *others]:
        tag, _, source = part.partition("\n")
        if tag.strip() == "check":
            source = 'lab.check("9.2", double)\n' + source
        if source.strip():
            found.append(("exercise-9-2" if tag.strip() == "own" else "", source.strip("\n")))
    return found


def checked_cells(way: str) -> list[str]:
    """Return the sources as the learner has run them, with a check."""
    sources = [source for _, source in cells(way)]
    if "check" not in way:
        ids = [identity for identity, _ in cells(way)]
        sources.insert(ids.index("exercise-9-2") + 1, 'lab.check("9.2", double)')
    return sources
