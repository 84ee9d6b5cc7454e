"""The folders of a pipeline."""

import fcntl

import pytest

from lablib.errors import LabError
from lablib.ops import repository, service_process


def test_a_removed_pipeline_can_be_created_again_and_other_files_stay(tmp_path):
    repository.create(tmp_path)
    (tmp_path / "work" / "config.toml").write_text("")
    (tmp_path / "notes.txt").write_text("mine")
    repository.remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    repository.create(tmp_path)
    assert (tmp_path / "work" / "config.toml").read_text() != ""


@pytest.mark.parametrize("hook", [None, "#!/bin/sh\nexit 0\n"])
def test_folders_that_are_not_those_of_a_pipeline_are_not_deleted(tmp_path, hook):
    (tmp_path / "state").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("mine")
    if hook:
        hooks = tmp_path / "remote.git" / "hooks"
        hooks.mkdir(parents=True)
        (hooks / "post-receive").write_text(hook)
    with pytest.raises(LabError, match="not a pipeline"):
        repository.remove(tmp_path)
    assert (tmp_path / "work" / "thesis.txt").read_text() == "mine" and (
        tmp_path / "state"
    ).is_dir()


def test_a_folder_that_another_notebook_has_open_is_not_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(service_process, "_LOCK_WITHIN_S", 0.3)
    (tmp_path / "state").mkdir()
    with open(tmp_path / "state" / "lock", "w") as others:
        fcntl.flock(others, fcntl.LOCK_EX)
        with pytest.raises(LabError, match="Another notebook"):
            service_process.closed(tmp_path)
    service_process.closed(tmp_path).close()
