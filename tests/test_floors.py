"""A module imports only what stands above it. The list is here, and nowhere else.

Imports inside functions count. Read with ast, nothing is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LABLIB = Path(__file__).resolve().parents[1] / "lablib"
FLOORS = """
    processes errors files units progress_bars machine datasets tasks hardware record cluster
    busy_computer calibration box strategies views training comparison teach grading checkup my_labs
    __init__ cli_teaching cli __main__
""".split()
# Inside a package. A module that is not named may import its siblings, if no circle results.
INSIDE = {
    "hardware": "device network all_reduce two_levels description hardware catalog".split(),
    "record": """
        wire_bytes event board recorder trace program metrics plans critical_path simulator
    """.split(),
    "cluster": """
        sendable wire definitions spawned_main said spec private_network logs failures deadlock
        hang_advice rank_errors no_keyboard clock_notes refusals relay_link torch_uncompiled
        torch_relay torch_memory torch_costs torch_futures torch_phases torch_init message_table
        torch_agreement torch_recorder
        tensorflow_costs tensorflow_graph tensorflow_peak tensorflow_memory
        tensorflow_seconds tensorflow_placement
        tensorflow_recorder rank ended_children import_watcher zygote launch execution run cluster
    """.split(),
    "box": """
        limits bounded namespaces system_calls trials contents bubblewrap by_namespaces watch apart
        rank_set keeper boards printed outcome relayed_collectives relay boxed_execution box
    """.split(),
    "teach": """
        telling release site execute claims tanh_chain
        exercise seen quizzes_file standing predictions quizzes result_shown checks
    """.split(),
    "grading": """
        page notebook_file python_cells answers similarity written_code reading stand_ins on_rank
        notebook_run found_answers places hidden_cases scrubbing secret_seed graded kept_results
        grading_worker workers naming submissions spreadsheet overrides lateness gradebook
        feedback class_report grading
        handing_in authoring leaks package
    """.split(),
}


def complaints(package: Path) -> list[str]:
    """Every arrow that runs down, every circle, every module that the list does not know."""
    modules = {name_of(path, package): path for path in sorted(package.rglob("*.py"))}
    arrows = {name: set(imports(name, path, modules)) for name, path in modules.items()}
    unknown = sorted({top(name) for name in modules} - set(FLOORS))
    found = [f"{name} has no floor: give it one in tests/test_floors.py" for name in unknown]
    for name, targets in sorted(arrows.items()):
        found += [f"{name} imports {target}" for target in sorted(targets) if down(name, target)]
    return found + [" -> ".join(circle) for circle in circles(arrows)]


def name_of(path, package):
    """ "cluster.wire"; a package's __init__ bears the package's name, lablib's own "__init__"."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"


def imports(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Names of this package's modules that the file imports, anywhere in it."""
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
    """Whether the arrow from a module to what it imports runs down."""
    if top(name) != top(target):
        known = {top(name), top(target)} <= set(FLOORS)
        return known and FLOORS.index(top(target)) > FLOORS.index(top(name))
    if target == top(name) and name != target:
        return True  # a package's __init__ stands below its modules
    order = INSIDE.get(top(name), [])
    here, there = (which.partition(".")[2] for which in (name, target))
    return here in order and there in order and order.index(there) > order.index(here)


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """A way round for each circle of imports, told once."""
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
    "views/plots.py": "import lablib.cluster\nfrom lablib.cluster import wire",
}


@pytest.mark.parametrize(
    "bad, source, complaint",
    [
        ("units.py", "import lablib.cluster.wire", "units imports cluster.wire"),
        ("units.py", "def f():\n  from lablib.views import plots", "units imports views.plots"),
        ("units.py", "class A:\n  from .views import plots", "units imports views.plots"),
        ("units.py", "import lablib as lab", "units imports __init__"),
        ("cluster/wire.py", "from .zygote import f", "cluster.wire imports cluster.zygote"),
        ("cluster/wire.py", "from ..views.plots import p", "cluster.wire imports views.plots"),
        ("cluster/meeting.py", "from . import wire, pack", "cluster.meeting imports cluster"),
        (
            "cluster/meeting.py",
            "from .zygote import f",
            "cluster.meeting -> cluster.zygote -> cluster.meeting",
        ),
        ("helpers.py", "", "helpers has no floor: give it one in tests/test_floors.py"),
    ],
)
def test_that_claim_can_fail(tmp_path, bad, source, complaint):
    plant(tmp_path, CLEAN)
    assert complaints(tmp_path) == []
    plant(tmp_path, {bad: source})
    assert complaint in complaints(tmp_path)


def plant(folder, files):
    for name, source in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(source)
