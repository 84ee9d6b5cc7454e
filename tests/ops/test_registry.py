"""A version is registered with all of its tags and files, or not at all, whenever it is killed."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_models

from lablib.computer import processes
from lablib.errors import LabError
from lablib.ops import model_files
from lablib.ops.registry import TAGS, Registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    registry = Registry(tmp_path_factory.mktemp("state"))
    registry.serving()
    return registry


def register(registry):
    return small_models.register(registry, registry.state)


def incomplete(registry) -> list[int]:
    """The numbers of registered versions that lack a tag or a usable file."""
    found = []
    for version in registry.versions()["version"]:
        try:
            assert set(TAGS) <= registry.tags(version).keys()
            model_files.load_predict(registry.folder(version))
        except (AssertionError, LabError, OSError):
            found.append(int(version))
    return found


def test_a_version_has_its_tags_and_files(registry):
    version = register(registry)
    row = registry.versions().iloc[0]
    assert row["version"] == version and row["alias"] == ""
    assert row["commit"] == small_models.TAGS["commit"] and row["accuracy"] == 0.97
    assert len(row["environment"]) == 16
    assert {"python", "numpy"} <= registry.tags(version).keys()
    assert sorted(path.name for path in registry.folder(version).iterdir()) == [
        "model.py",
        "weights.npz",
    ]
    assert not list(registry.folder(version).parent.rglob("*.pkl"))
    assert incomplete(registry) == []


def test_a_new_registry_in_the_same_folder_has_nothing_of_the_deleted_one(tmp_path):
    state = tmp_path / "state"
    for _ in range(2):
        state.mkdir()
        registry = Registry(state)
        assert registry.versions().empty
        register(registry)
        assert len(registry.versions()) == 1
        shutil.rmtree(state)


def test_mlflow_itself_can_load_the_version(registry):
    mlflow = pytest.importorskip("mlflow.pyfunc")
    version = register(registry)
    x, _ = small_models.traffic.stream()
    loaded = mlflow.load_model(registry.folder(version).parent.as_uri())
    expected = model_files.load_predict(registry.folder(version))(x)
    assert abs(loaded.predict(x) - expected).max() < 1e-6


@pytest.mark.parametrize("missing", ["commit", "data_sha256", "seed", "accuracy"])
def test_a_missing_tag_registers_nothing(registry, missing):
    before = len(registry.versions())
    tags = {name: tag for name, tag in small_models.TAGS.items() if name != missing}
    with pytest.raises(LabError, match="all its tags"):
        registry.register(Path("no file"), Path("no file"), tags)
    assert len(registry.versions()) == before


def test_unusable_weights_register_nothing(registry, tmp_path):
    before = len(registry.versions())
    (tmp_path / "weights.npz").write_bytes(b"no archive")
    with pytest.raises(LabError, match="weights cannot be used"):
        registry.register(tmp_path / "weights.npz", small_models.MODEL, small_models.TAGS)
    assert len(registry.versions()) == before


def test_aliases_move_as_versions_are_promoted_and_rolled_back(tmp_path):
    registry = Registry(tmp_path)
    with pytest.raises(LabError, match="nothing to roll back"):
        registry.roll_back()
    first, second = register(registry), register(registry)
    registry.promote(first)
    registry.set_challenger(second, share=0.25)
    now = registry.serving()
    assert (now.champion, now.challenger, now.share) == (first, second, 0.25)
    registry.roll_back()
    assert registry.serving().challenger is None
    registry.promote(second)
    assert (registry.serving().champion, registry.serving().previous) == (second, first)
    registry.promote(second)  # again: the champion before is not forgotten
    registry.roll_back()
    assert registry.serving().champion == first
    with pytest.raises(LabError, match="nothing to roll back"):
        registry.roll_back()
    for wrong in (99, "x"):
        with pytest.raises(LabError, match="There is no version"):
            registry.promote(wrong)
    with pytest.raises(LabError, match="from 0 to 1"):
        registry.set_challenger(second, share=1.5)


REGISTER = """
import sys
from pathlib import Path
import small_models
from lablib.ops import mlflow_files
from lablib.ops.registry import Registry

registry = Registry(sys.argv[1])
registry.serving()
print("ready", flush=True)
while True:
    small_models.register(registry, Path(sys.argv[2]))
"""


def killed_while_registering(state, folder, after_s, program=REGISTER):
    """Let a child register versions, one after the other, and kill it some time later."""
    folder.mkdir(exist_ok=True)
    environment = processes.environment() | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", program, str(state), str(folder)]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    time.sleep(after_s)
    child.kill()
    child.wait()
    child.stdout.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_while_registering_leaves_no_half_of_a_version(registry, tmp_path, seed):
    after_s = random.Random(seed).uniform(0.05, 1.5)
    killed_while_registering(registry.state, tmp_path, after_s)
    assert incomplete(registry) == []
    assert incomplete_after(register(registry), registry) == []


def incomplete_after(version, registry):
    assert version == registry.versions()["version"].max()
    return incomplete(registry)


IN_TWO_STEPS = REGISTER.replace(
    "    small_models.register(registry, Path(sys.argv[2]))",
    "    registry._client.create_model_version('digits', 'file:///nowhere')",
)


def test_that_claim_can_fail(tmp_path):
    """The twin: a version that gets its tags and files later is seen when the process dies."""
    killed_while_registering(tmp_path, tmp_path, after_s=2, program=IN_TWO_STEPS)
    assert incomplete(Registry(tmp_path))


def test_a_kill_while_the_database_is_created_leaves_none(tmp_path):
    program = "import sys; from lablib.ops.registry import Registry; print('ready', flush=True)\n"
    program += "Registry(sys.argv[1]).serving()"
    killed_while_registering(tmp_path, tmp_path, after_s=1.5, program=program)
    registry = Registry(tmp_path)
    registry.serving()
    assert registry.versions().empty
