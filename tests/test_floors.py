"""A module imports only from rooms that come earlier in this list, and never in a cycle.

A room is a folder of lablib/, or a module that is directly in it. A new file in a room needs no
entry here. Imports inside functions count. The files are read with ast; nothing is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LABLIB = Path(__file__).resolve().parents[1] / "lablib"
ROOMS = """
    errors files units progress_bars computer datasets hardware record frameworks tasks cluster
    box strategies views training ops teach grading course doctor_report
    __init__ cli_run cli_teaching cli cli_warm __main__
""".split()
# Rooms on the same level, which may not import from one another.
SIBLINGS = [
    {"frameworks.torch", "frameworks.tensorflow"},
    {"strategies.torch", "strategies.tensorflow"},
]


def complaints(package: Path) -> list[str]:
    """Return every forbidden import, every cycle, and every module that is not in the list."""
    modules = {name_of(path, package): path for path in sorted(package.rglob("*.py"))}
    arrows = {name: set(imports(name, path, modules)) for name, path in modules.items()}
    unknown = sorted({top(name) for name in modules} - set(ROOMS))
    found = [f"{name} is no room: add it to the list in tests/test_floors.py" for name in unknown]
    for name, targets in sorted(arrows.items()):
        found += [f"{name} imports {target}" for target in sorted(targets) if down(name, target)]
    return found + [" -> ".join(circle) for circle in circles(arrows)]


def name_of(path, package):
    """Return a name such as "cluster.wire"; an __init__ has its package's name."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"


def imports(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield the names of this package's modules that the file imports, anywhere in it."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    if name == "__init__":
        package = ""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (inner(alias.name) for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node, package)
            if is_ours(source):
                for alias in node.names:
                    longer = inner(f"{source}.{alias.name}")
                    yield longer if longer in modules else inner(source)


def absolute(node, package):
    if not node.level:
        return node.module
    parents = package.split(".")[: -(node.level - 1) or None] if package else []
    return ".".join(["lablib", *parents, *([node.module] if node.module else [])])


def is_ours(dotted):
    return dotted.partition(".")[0] == "lablib"


def inner(dotted):
    return dotted.partition(".")[2] or "__init__"


def top(name):
    return name.partition(".")[0]


def down(name: str, target: str) -> bool:
    """Return True if this import goes down to a lower room, or across to a sibling."""
    if top(name) == top(target):
        is_own_package = target == top(name) and name != target
        return is_own_package or are_siblings(room(name), room(target))
    known = {top(name), top(target)} <= set(ROOMS)
    return known and ROOMS.index(top(target)) > ROOMS.index(top(name))


def are_siblings(here, there):
    return here != there and any({here, there} <= rooms for rooms in SIBLINGS)


def room(name):
    return ".".join(name.split(".")[:2])


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Return a path for each cycle of imports, without duplicates."""
    found, done = [], set()

    def walk(name, trail):
        if name in trail:
            found.append([*trail[trail.index(name) :], name])
        elif name not in done:
            for target in sorted(arrows.get(name, ())):
                walk(target, [*trail, name])
            done.add(name)

    for name in sorted(arrows):
        walk(name, [])
    return found


def test_no_arrow_runs_down():
    assert complaints(LABLIB) == []


CLEAN = {
    "__init__.py": "",
    "errors.py": "",
    "units.py": "from lablib.errors import LabError",
    "cluster/__init__.py": "from lablib.cluster.wire import pack",
    "cluster/wire.py": "from lablib import units\nimport torch",
    "cluster/meeting.py": "from . import wire\nfrom ..units import show_s",
    "cluster/zygote.py": "def f():\n    from lablib.cluster.meeting import start",
    "strategies/__init__.py": "",
    "strategies/torch/__init__.py": "",
    "strategies/torch/ddp.py": "from lablib.strategies.torch import groups",
    "strategies/torch/groups.py": "",
    "strategies/tensorflow/__init__.py": "",
    "strategies/tensorflow/mirrored.py": "",
    "views/plots.py": "import lablib.cluster\nfrom lablib.cluster import wire",
}


@pytest.mark.parametrize(
    "bad, source, complaint",
    [
        ("units.py", "import lablib.cluster.wire", "units imports cluster.wire"),
        ("units.py", "def f():\n  from lablib.views import plots", "units imports views.plots"),
        ("units.py", "class A:\n  from .views import plots", "units imports views.plots"),
        ("units.py", "import lablib as lab", "units imports __init__"),
        ("tasks.py", "from lablib import strategies", "tasks imports strategies"),
        (
            "strategies/torch/ddp.py",
            "from lablib.strategies.tensorflow import mirrored",
            "strategies.torch.ddp imports strategies.tensorflow.mirrored",
        ),
        (
            "cluster/wire.py",
            "from ..views.plots import p",
            "cluster.wire imports views.plots",
        ),
        ("cluster/meeting.py", "from . import wire, pack", "cluster.meeting imports cluster"),
        (
            "cluster/meeting.py",
            "from .zygote import f",
            "cluster.meeting -> cluster.zygote -> cluster.meeting",
        ),
        ("helpers.py", "", "helpers is no room: add it to the list in tests/test_floors.py"),
    ],
)
def test_that_claim_can_fail(tmp_path, bad, source, complaint):
    plant(tmp_path, CLEAN)
    assert complaints(tmp_path) == []
    plant(tmp_path, {bad: source})
    assert complaint in complaints(tmp_path)


def plant(folder, files):
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)
