"""The folders of a pipeline."""

from lablib.ops import repository


def test_a_removed_pipeline_can_be_created_again_and_other_files_stay(tmp_path):
    repository.create(tmp_path)
    (tmp_path / "work" / "config.toml").write_text("")
    (tmp_path / "notes.txt").write_text("mine")
    repository.remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    repository.create(tmp_path)
    assert (tmp_path / "work" / "config.toml").read_text() != ""
