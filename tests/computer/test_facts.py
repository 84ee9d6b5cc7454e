"""Facts are true for this computer, and right for computers that are only described."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import lablib as lab
from lablib.computer import facts
from lablib.computer.facts import Finding, Report

FOUND = Finding("memory", "ok", "16 GB", needed=True)
LACKED = Finding("torch", "missing", "not installed", "make lab", needed=True)
WISHED = Finding("browser", "missing", "no chromium", "sudo apt install chromium")
STRANGE = Finding("GPUs", "ok", "<script>alert('&')</script>")


def test_the_report_names_every_package_that_the_kit_depends_on():
    names = {finding.name for finding in lab.doctor().findings}
    assert names >= {"Python", "torch", "tensorflow", "jupyterlab", "nbval", "cores", "memory"}
    assert names >= {"GPUs", "private network", "containment", "browser for tests"}


@pytest.mark.needs("bubblewrap")
def test_doctor_tries_each_limit_of_the_box():
    limits = [one for one in lab.doctor().findings if one.name.startswith("limit: ")]
    assert len(limits) == 10 and {one.state for one in limits} == {"ok"}
    assert not any(one.name.startswith("limit: ") for one in facts.report().findings)


def test_every_lack_has_a_cure():
    for finding in lab.doctor().findings:
        assert finding.state in ("ok", "limited", "missing")
        assert finding.cure or finding.state == "ok", finding


def test_doctor_imports_no_framework():
    code = "import sys, lablib; lablib.doctor(); print({'torch', 'tensorflow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stderr


def test_doctor_answers_where_nothing_is_installed():
    code = "from lablib.doctor_report import doctor; r = doctor(); print(r.ok); print(r)"
    path = {"PYTHONPATH": str(facts.ROOT)}
    base = [str(Path(sys.executable).resolve()), "-S", "-c", code]
    done = subprocess.run(base, env=path, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("False\n") and "missing  torch" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "findings, ok", [([FOUND], True), ([FOUND, WISHED], True), ([FOUND, LACKED], False)]
)
def test_a_report_is_ok_unless_something_needed_is_missing(findings, ok):
    assert Report(tuple(findings)).ok is ok


def test_a_report_shows_itself_in_a_line_a_table_and_plain_data():
    report = Report((FOUND, LACKED, STRANGE))
    assert repr(report) == "Report(2 ok, 0 limited, 1 missing; not ready)"
    assert "missing  torch" in str(report) and "-> make lab" in str(report)
    assert "<script>" not in report._repr_html_() and "&lt;script&gt;" in report._repr_html_()
    assert json.loads(json.dumps(report.to_dict()))["findings"][1]["cure"] == "make lab"


@pytest.mark.parametrize(
    "version, wanted, suits",
    [
        ("2.13.0+cpu", ">=2.13", True),
        ("2.13", ">=2.13.0", True),
        ("2.9.1", ">=2.13", False),
        ("3.11.0rc1", ">=3.11,<3.14", True),
        ("3.14.0", ">=3.11,<3.14", False),
        ("3.10.13", ">=3.11,<3.14", False),
    ],
)
def test_a_version_is_compared_number_by_number(version, wanted, suits):
    assert facts._satisfies(version, wanted) is suits


@pytest.mark.parametrize(
    "installed, state, says",
    [
        ("2.13.0+cpu", "ok", "2.13.0+cpu"),
        ("2.14.0", "limited", "tested with 2.13.0"),
        ("2.12.1", "missing", "needs >=2.13"),
        (None, "missing", "not installed"),
    ],
)
def test_a_package_is_compared_with_what_is_wanted(monkeypatch, installed, state, says):
    monkeypatch.setattr(importlib.metadata, "version", partial(looked_up, installed))
    finding = facts._package("torch", ">=2.13", "2.13.0")
    assert finding.state == state and says in finding.found


def looked_up(installed, name):
    if installed is None:
        raise importlib.metadata.PackageNotFoundError(name)
    return installed


@pytest.mark.parametrize("installed, told", [("3.7.0", 1), (None, 0)])
def test_triton_is_told_where_it_is(monkeypatch, installed, told):
    monkeypatch.setattr(importlib.metadata, "version", partial(looked_up, installed))
    findings = list(facts._both_frameworks())
    assert len(findings) == told
    assert all(f.state == "limited" and "import triton" in f.cure for f in findings)


# {files of a control group, as the kernel shows them: (quota in cores, bytes of memory)}.
GROUPS = {
    "version 2, no limit": (
        "0::/a/b",
        {"a/b/cpu.max": "max 100000", "a/b/memory.max": "max"},
        [],
        [],
    ),
    "version 2, the parent's limit binds too": (
        "0::/a/b",
        {"a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000", "a/memory.max": "1000"},
        [4.0, 1.5],
        [1000],
    ),
    "version 2, a container sees its group as the root": (
        "0::/docker/0123",
        {"cpu.max": "50000 100000", "memory.max": "2000"},
        [0.5],
        [2000],
    ),
    "version 1": (
        "3:memory:/x\n2:cpu,cpuacct:/x\n1:name=systemd:/x",
        {
            "cpu,cpuacct/x/cpu.cfs_quota_us": "300000",
            "cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            "memory/x/memory.limit_in_bytes": "3000",
        },
        [3.0],
        [3000],
    ),
    "version 1, no limit": (
        "2:cpu:/",
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        [],
        [],
    ),
}


@pytest.mark.parametrize("membership, files, quotas, limits", GROUPS.values(), ids=GROUPS)
def test_control_groups_limit_cores_and_memory(tmp_path, membership, files, quotas, limits):
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        (tmp_path / "mount" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mount" / name).write_text(text + "\n")
    read = partial(
        facts._cgroup_files, membership=tmp_path / "membership", mount=tmp_path / "mount"
    )
    assert facts._cpu_quotas(read) == quotas
    assert facts._memory_limits(read) == limits


def test_a_quota_leaves_whole_cores_and_at_least_one(monkeypatch):
    monkeypatch.setattr(facts, "_cpu_quotas", lambda files: [0.5])
    assert facts.cores() == 1
    assert {finding.name: finding for finding in facts.report().findings}[
        "cores"
    ].state == "limited"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_cores_follow_the_affinity_of_the_process():
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{one}])\nfrom lablib.computer.facts import cores\n"
    output = subprocess.check_output([sys.executable, "-c", code + "print(cores())"], timeout=60)
    assert output == b"1\n"


@pytest.mark.parametrize(
    "command, failure",
    [
        (["true"], ""),
        (["no-such-command-at-all"], "no-such-command-at-all is not installed"),
        (["sh", "-c", "echo so it is >&2; exit 3"], "so it is"),
        (["sh", "-c", "exit 3"], "exit status 3"),
    ],
)
def test_a_probe_that_fails_says_why(command, failure):
    assert facts._attempt(command)[0] == failure


def test_a_probe_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(facts, "_PROBE_S", 0.2)
    assert facts._attempt(["sleep", "60"])[0] == "sleep did not answer within 0.2 s"


GPU_TEXT = "NVIDIA H200, 143771 MiB\nNVIDIA H200, 143771 MiB\n"


@pytest.mark.parametrize(
    "script, state, says",
    [
        (f"printf '{GPU_TEXT}'", "ok", "NVIDIA H200, 143771 MiB; NVIDIA H200, 143771 MiB"),
        ("echo 'NVIDIA-SMI has failed'; exit 9", "limited", "none (NVIDIA-SMI has failed)"),
    ],
)
def test_gpus_are_what_nvidia_smi_lists(monkeypatch, tmp_path, script, state, says):
    stand_in(tmp_path / "nvidia-smi", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    finding = facts._gpus()
    assert (finding.state, finding.found) == (state, says)


def test_a_command_is_found_under_each_of_its_names_and_not_where_there_is_none(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert facts.find_command("chromium") == ""
    stand_in(tmp_path / "google-chrome", "")
    assert facts.find_command("chromium") == str(tmp_path / "google-chrome")
    stand_in(tmp_path / "chromium", "")
    assert facts.find_command("chromium") == str(tmp_path / "chromium")


def test_containment_without_bubblewrap_is_said_with_its_cure(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = facts._containment()
    assert finding.state in ("limited", "missing")
    assert finding.cure == "sudo apt install bubblewrap"


def test_a_bubblewrap_that_fails_is_not_called_containment(monkeypatch, tmp_path):
    stand_in(tmp_path / "bwrap", "echo 'bwrap: No permissions to create a namespace' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    finding = facts._containment()
    assert finding.state != "ok" and "No permissions" in finding.cure


def stand_in(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
