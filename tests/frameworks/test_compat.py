"""All private, patched and version-dependent names of a framework are listed in its compat.py.

No other file of the kit uses such a name. A version without one of them is refused when a rank
joins.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
import types
from functools import cache
from pathlib import Path

import pytest
from alone import printed_by

import lablib
from lablib import frameworks
from lablib.errors import LabError
from lablib.frameworks.listed_names import ListedNames

LABLIB = Path(lablib.__file__).parent
ROOT = LABLIB.parent
COMPATS = sorted(LABLIB.glob("frameworks/*/compat.py"))
PACKAGES = {package for framework in frameworks.EVERY for package in framework.packages}
PRIVATE = re.compile(
    r"[.:]_[a-zA-Z]|^tensorflow\.(python|core)\b|^keras\.src\b|\bdistributed_c10d\b"
)
OF_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}


def complaints(source: str) -> list[str]:
    """Return every place where a file uses a name that belongs into a compat.py."""
    tree = ast.parse(source)
    roots = framework_names(tree)
    return [
        f"line {node.lineno}: {ast.unparse(node).splitlines()[0]}"
        for node in ast.walk(tree)
        if imports_private(node)
        or reads_private(node, tree)
        or names_private(node)
        or overrides_private(node)
        or patches(node, roots)
    ]


def imports_private(node):
    if isinstance(node, ast.ImportFrom):
        modules = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    return any(is_private(module) for module in modules)


def is_private(dotted):
    return re.split("[.:]", dotted)[0] in PACKAGES and bool(PRIVATE.search(dotted))


def reads_private(node, tree):
    """Return True for an underscore attribute that the kit does not define.

    Also return True for torch's distributed_c10d.
    """
    if not isinstance(node, ast.Attribute):
        return False
    if node.attr == "distributed_c10d":
        return True
    single = node.attr.startswith("_") and not node.attr.startswith("__")
    return (
        single
        and node.attr not in defined_here() | OF_NAMED_TUPLES
        and root_of(node) not in {"self", "cls", "super", *standard_modules(tree)}
    )


def root_of(node):
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


@cache
def defined_here() -> set[str]:
    """Return the names with an underscore that files of the kit define, except compat.py."""
    found = set()
    for path in set(LABLIB.rglob("*.py")) - set(COMPATS):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.alias):
                found.add(node.asname or node.name)
    return {name for name in found if name.startswith("_")} - listed_privates()


@cache
def listed_strings() -> set[str]:
    nodes = (node for path in COMPATS for node in ast.walk(ast.parse(path.read_text())))
    return {node.value for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)}  # fmt: skip


@cache
def listed_privates() -> set[str]:
    """Return the names with an underscore in the lists, without the path before them."""
    return {
        name
        for text in listed_strings()
        if "\n" not in text
        for name in re.findall(r"(?<!\w)_[a-z]\w+", text)
    }


def standard_modules(tree):
    return {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.partition(".")[0] in sys.stdlib_module_names
    }


def names_private(node):
    """Return True for the name of a private module that no list has, also in a text."""
    text = node.value if isinstance(node, ast.Constant) else ""
    module = isinstance(text, str) and re.fullmatch(r"[a-z]+(\.\w+)+", text)
    return bool(module) and is_private(text) and text not in listed_strings()


def overrides_private(node):
    methods = node.body if isinstance(node, ast.ClassDef) and node.bases else []
    return any(getattr(method, "name", "") in listed_privates() for method in methods)


def framework_names(tree):
    """Return the names that a file gives to frameworks, to parts of them, and to compat.py."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            ours = [alias for alias in node.names if alias.name.partition(".")[0] in PACKAGES]
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in ours}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module.partition(".")[0] in PACKAGES or node.module.endswith(".compat")
            found |= {alias.asname or alias.name for alias in node.names
                      if whole or alias.name == "compat"}  # fmt: skip
    return found


def patches(node, roots):
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "delattr"):
        return root_of(node.args[0]) in roots
    changed = isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del))
    return changed and root_of(node) in roots


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(LABLIB.rglob("*.py")) if path not in COMPATS],
    ids=lambda path: str(path.relative_to(LABLIB)),
)
def test_a_file_touches_no_private_name_of_a_framework(path):
    assert complaints(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from torch._C import Future",
        "from torch.utils._pytree import tree_leaves",
        "from torch.distributed import _functional_collectives",
        "def f():\n  import torch._dynamo",
        "from tensorflow.python.ops import collective_ops",
        "from tensorflow.core.framework import attr_value_pb2",
        "from keras.src import backend",
        "import torch.distributed as dist\nc10d = dist.distributed_c10d",
        "import torch\ntorch._C._collect_all([])",
        "def f(storage): return storage._cdata",
        "def f(model): model._set_unshard_async_op(True)",
        "def f(work): return work.inner._source_rank()",
        "import torch.distributed as dist\nclass W(dist.Work):\n  def _source_rank(self): pass",
        "importlib.import_module('torch._inductor')",
        "import torch\ntorch.compile = None",
        "import torch.distributed as dist\ndist.get_backend = dist.rendezvous = None",
        "import tensorflow as tf\ntf.distribute.Server.__init__ = None",
        "from tensorflow.experimental import dtensor\nsetattr(dtensor, 'pack', None)",
        "from lablib.frameworks.torch.compat import Future\nFuture.wait = None",
        "from lablib.frameworks.torch import compat\ncompat.Future.wait = None",
    ],
)
def test_that_claim_can_fail(source):
    assert complaints(source)


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos._exit(1)",
        "import torch.distributed as dist\ndist.all_reduce(x)",
        "import torch\nweight.data = torch.ones(2)",
        "class A:\n  def f(self): return self._anything",
        "from lablib.frameworks.torch import compat\ncompat.replace('torch:compile', make)",
        "row._replace(rank=1)",
        "imports = ('torch._dynamo',)",  # a list has it
    ],
)
def test_what_is_public_or_the_kits_own_is_nobodys_complaint(source):
    assert complaints(source) == []


# For each framework, names that a later version may not have.
GONE = {
    "torch": ["torch._C:_collect_all", "torch.distributed:ProcessGroup._register_backend"],
    "tensorflow": [
        "tensorflow.python.ops.while_v2:_build_while_op",
        "tensorflow.python.ops.collective_ops:all_gather_v2",
    ],
}


@pytest.mark.parametrize("framework", GONE)
def test_the_installed_version_has_every_listed_name(framework):
    assert printed_by("frameworks/listed_names.py", framework, "check") == ""


@pytest.mark.parametrize("framework", GONE)
def test_a_rank_does_not_join_without_one_and_the_error_says_which_versions(framework):
    told = printed_by("frameworks/listed_names.py", framework, "join", *GONE[framework])
    assert f"This version of {framework} lacks names that the kit relies on." in told
    assert all(path.replace(":", ".") in told for path in GONE[framework])
    tested = version_tested(framework)
    assert re.search(rf"saw: {framework} {tested}\S*; the kit was tested with {tested}\n", told)
    assert f"do:  install the tested version: pip install {framework}=={tested}" in told


def version_tested(framework):
    source = (LABLIB / "frameworks" / framework / "compat.py").read_text()
    return re.search(r'^TESTED = "(.*)"$', source, re.MULTILINE)[1]


@pytest.mark.parametrize("framework", frameworks.NAMES)
def test_the_version_tested_is_the_pinned_one_and_the_next_minor_one_is_excluded(framework):
    tested = version_tested(framework)
    assert f"\n{framework}=={tested}\n" in (ROOT / "constraints.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    major, minor, _ = map(int, tested.split("."))
    bounds = f"{framework}>={major}.{minor},<{major}.{minor + 1}"
    assert bounds in project["dependencies"]


@pytest.fixture
def imaginary(monkeypatch):
    """Make a framework with a package that re-exports a function of its module."""
    package, module = types.ModuleType("imaginary"), types.ModuleType("imaginary.inner")
    package.__version__, package.inner = "9.1", module
    package._double = module._double = lambda x: 2 * x
    monkeypatch.setitem(sys.modules, "imaginary", package)
    monkeypatch.setitem(sys.modules, "imaginary.inner", module)
    return ListedNames("imaginary", "9.0", {"imaginary.inner:_double": "doubles"})


def test_a_replaced_function_is_replaced_wherever_the_framework_offers_it(imaginary):
    imaginary.replace("imaginary.inner:_double", lambda double: lambda x: 10 * double(x))
    module = sys.modules["imaginary.inner"]
    assert module._double(1) == sys.modules["imaginary"]._double(1) == 20


def test_only_listed_names_can_be_had(imaginary):
    assert imaginary.find("imaginary.inner:_double")(2) == 4
    with pytest.raises(KeyError):
        imaginary.find("imaginary:_double")


def test_a_missing_name_is_an_error_as_soon_as_it_is_used(imaginary):
    imaginary.check()
    del sys.modules["imaginary.inner"]._double
    for use in (imaginary.check, lambda: imaginary.find("imaginary.inner:_double")):
        with pytest.raises(LabError, match="imaginary lacks names") as caught:
            use()
        assert caught.value.saw == (
            "imaginary 9.1; the kit was tested with 9.0\nimaginary.inner._double: doubles"
        )


def test_a_module_that_nobody_has_loaded_is_not_loaded_by_the_check():
    names = ListedNames("imaginary", "9.0", {"imaginary.later:_f": "is used by one strategy only"})
    names.check()
