"""What every test gets: a way to say what it needs, and the proof that no process is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import uuid

import psutil
import pytest

from lablib import machine

with contextlib.suppress(ImportError):
    # Some tests bring both frameworks into this process; a rank imports one. Loaded after
    # TensorFlow, the triton that comes with torch for CUDA ends it with a segmentation fault.
    import triton  # noqa: F401

NAME = "LABLIB_TEST_SESSION"
VANISH_WITHIN_S = 5
_session = pytest.StashKey[pytest.Session]()


def pytest_configure(config):
    config.addinivalue_line(
        "markers", 'needs(what): skip without it; "bubblewrap", "chromium" or "gpu"'
    )
    if not hasattr(config, "workerinput"):
        # Every process that a test starts inherits this name, whoever its parent becomes. A
        # session inside a session has a longer one, so that it answers for its own only.
        os.environ[NAME] = f"{os.environ.get(NAME, '')}/{uuid.uuid4()}"


# The files that take longest, longest first: the workers of pytest-xdist begin with them, so that
# none is left alone with a long one at the end.
LONGEST = """
    test_notebooks test_browser test_hostile test_dtensor test_restart test_whole_labs
    test_tensorflow test_exercises test_modelled test_comparison test_tensorflow_memory
""".split()


def pytest_collection_modifyitems(items):
    """Keep the tests of a file together: they share its fixtures. Notebooks share nothing."""
    for item in items:
        alone = getattr(item, "originalname", "") == "test_a_notebook_runs_whole"
        item.add_marker(pytest.mark.xdist_group(item.nodeid if alone else str(item.path)))
    items.sort(key=_place)


def _place(item):
    return LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)


def pytest_runtest_setup(item):
    for mark in item.iter_markers("needs"):
        lack = what_is_lacking(mark.args[0])
        if lack:
            pytest.skip(lack)


def what_is_lacking(need: str) -> str:
    """Why a test with this need cannot run here, with the command that would change it; or ""."""
    if need == "gpu":
        return "" if shutil.which("nvidia-smi") else "needs a GPU"
    if machine.find_command(need):
        return ""
    return f"needs {need}: {machine.install_command(need)}"


def pytest_sessionstart(session):
    session.config.stash[_session] = session


def pytest_terminal_summary(terminalreporter, config):
    if hasattr(config, "workerinput"):
        return  # a worker of pytest-xdist: its siblings live, and the whole session is judged once
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ())]
    if reasons:
        terminalreporter.section("skipped, and why")
        for reason in sorted(set(reasons)):
            terminalreporter.line(f"{reasons.count(reason)} x {reason.removeprefix('Skipped: ')}")
    if os.environ.get("LABLIB_STRICT_SKIPS") == "1":
        for reason in sorted({reason for reason in reasons if "needs a GPU" not in reason}):
            _fail(terminalreporter, config, "no_test_is_skipped", reason)
    for process in processes_left():
        _fail(terminalreporter, config, "no_process_is_left", process)


def _fail(reporter, config, claim, message):
    """One more error of the session: in its list, in its closing line and in its exit status."""
    where = ("tests/conftest.py", 0, claim)
    failure = pytest.TestReport(f"tests/conftest.py::{claim}", where, {}, "failed", message, "call")
    reporter.stats.setdefault("error", []).append(failure)
    config.stash[_session].exitstatus = pytest.ExitCode.TESTS_FAILED


def processes_left() -> list[str]:
    """Processes of this session that still live after a while, each in words."""
    if "lablib.cluster.launch" in sys.modules:
        sys.modules["lablib.cluster.launch"].close_all()  # a zygote lives as long as its kernel
    give_up_s = time.monotonic() + VANISH_WITHIN_S
    while (left := list(filter(None, map(_words, _ours())))) and time.monotonic() < give_up_s:
        time.sleep(0.05)
    return left


def _ours():
    ours = {process.pid: process for process in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter():
        try:
            if process.environ().get(NAME, "").startswith(os.environ[NAME]):
                ours[process.pid] = process
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or somebody else's
    ours.pop(os.getpid(), None)
    return ours.values()


def _words(process):
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return f"pid {process.pid} ({process.status()}): {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return ""
