"""The box shows the interpreter's files, independent of where Python was installed."""

import sys

import pytest

from lablib.box import contents


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Make a Python in a shared prefix, as distributions install it, and its venv."""
    usr, venv = tmp_path / "usr", tmp_path / "venv"
    (usr / "bin").mkdir(parents=True)
    (venv / "bin").mkdir(parents=True)
    (usr / "bin/python3.13").write_bytes(b"")
    (usr / "bin/python3").symlink_to("python3.13")
    (venv / "bin/python3").symlink_to(usr / "bin/python3")
    (venv / "bin/python").symlink_to("python3")
    monkeypatch.setattr(contents, "_PREFIXES_OF_MANY", (str(usr),))
    monkeypatch.setattr(sys, "base_prefix", str(usr))
    monkeypatch.setattr(sys, "base_exec_prefix", str(usr))
    monkeypatch.setattr(sys, "prefix", str(venv))
    monkeypatch.setattr(sys, "executable", str(venv / "bin/python"))
    return usr, venv


def test_of_a_shared_prefix_every_link_to_the_interpreter_is_shown_and_nothing_more(installed):
    usr, venv = installed
    shown = {path for path in contents._of_python() if path.startswith(str(usr))}
    assert shown == {str(usr / part) for part in ("lib", "bin/python3", "bin/python3.13")}
    assert str(venv) in contents._of_python()


def test_a_prefix_of_its_own_is_shown_whole(installed, monkeypatch):
    usr, _ = installed
    monkeypatch.setattr(contents, "_PREFIXES_OF_MANY", ("/usr",))
    assert str(usr) in contents._of_python()


def test_without_a_venv_the_interpreter_is_shown_by_the_name_it_was_run_by(installed, monkeypatch):
    usr, _ = installed
    monkeypatch.setattr(sys, "prefix", str(usr))
    monkeypatch.setattr(sys, "executable", str(usr / "bin/python3"))
    assert {str(usr / "bin/python3"), str(usr / "bin/python3.13")} < contents._of_python()
