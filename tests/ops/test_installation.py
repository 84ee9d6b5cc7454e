"""The packages of lab 06 are installed when they are missing, and only then."""

from __future__ import annotations

import sys

import pytest

from lablib import ops
from lablib.errors import LabError
from lablib.files import ROOT
from lablib.ops import installation


@pytest.fixture(autouse=True)
def kits_own_environment(monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(ROOT / ".venv"))


def test_nothing_happens_when_everything_is_there(monkeypatch, capsys):
    monkeypatch.setattr(installation, "_run", lambda command: pytest.fail("it ran"))
    ops.install()
    assert capsys.readouterr().out == ""


def test_a_missing_package_is_named_with_the_size_and_installed(monkeypatch, capsys):
    seen, absent = [], ["mlflow"]
    monkeypatch.setattr(installation, "missing", lambda: list(absent))
    monkeypatch.setattr(
        installation, "_run", lambda command: seen.append(command) or absent.clear()
    )
    ops.install()
    assert seen[0][-2].endswith("setup_env.py") and seen[0][-1] == "ops"
    assert "mlflow" in (out := capsys.readouterr().out) and "GB" in out


def test_in_another_environment_nothing_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(installation, "missing", lambda: ["mlflow"])
    monkeypatch.setattr(installation, "_run", lambda command: pytest.fail("it ran"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(LabError, match="own environment") as caught:
        ops.install()
    assert "pip install" in caught.value.do and "[ops]" in caught.value.do


def test_a_failed_installation_says_what_to_do(monkeypatch):
    monkeypatch.setattr(installation, "missing", lambda: ["mlflow"])
    monkeypatch.setattr(installation, "_run", lambda command: 1)
    with pytest.raises(LabError, match="could not be installed"):
        ops.install()


def test_a_pipeline_without_the_packages_names_the_call_that_installs_them(monkeypatch, tmp_path):
    monkeypatch.setattr(installation, "missing", lambda: ["mlflow"])
    with pytest.raises(LabError) as caught:
        ops.Pipeline(tmp_path / "pipeline")
    assert caught.value.do == "lab.ops.install()" and not (tmp_path / "pipeline").exists()


def test_its_output_is_shown(capsys):
    assert installation._run([sys.executable, "-c", "print('hello'); raise SystemExit(3)"]) == 3
    assert capsys.readouterr().out == "hello\n"
