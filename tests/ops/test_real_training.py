"""The project as learners get it: pushes that train in both frameworks, and kills meanwhile."""

from __future__ import annotations

import kills
import pytest

from lablib import ops

CONFIG = "learning_rate = 0.5\nsteps = 150\nhidden = 32\nseed = {seed}\n"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    with ops.Pipeline(tmp_path_factory.mktemp("p") / "pipeline") as pipeline:
        yield pipeline


def test_the_project_is_tested_trained_in_both_frameworks_and_promoted(pipeline):
    delivery = pipeline.push("first")
    assert (delivery.outcome, delivery.version) == ("promoted", 1), delivery
    versions = pipeline.versions()
    assert versions.loc[0, "commit"] == delivery.commit and versions.loc[0, "alias"] == "champion"
    images, labels = ops.traffic.stream()
    answer = pipeline.ask(images[:100])
    assert answer.version == 1 and sum(answer.digits == labels[:100]) > 90
    logs = {job.title: job.log for job in delivery.jobs}
    # The trainer forwards what the ranks print, and the run's summary, to the step.
    assert "[rank 0] torch: loss" in logs["train (torch)"]
    assert "Run of 2 ranks, tensorflow" in logs["train (tensorflow)"]


VICTIMS = ["run train_torch.py", "state torch", "local.zygote torch", "--no-cache-server"]


@pytest.mark.parametrize("text", VICTIMS, ids=["client", "trainer", "zygote", "runner"])
def test_a_kill_during_training_leaves_the_champion_serving(pipeline, text):
    is_training = kills.descendant(pipeline, "run train_torch.py")
    victim = kills.descendant(pipeline, text)
    (pipeline.work / "config.toml").write_text(CONFIG.format(seed=0) + f"# {text}\n")
    delivery, killed = kills.pushed(pipeline, lambda: is_training() and victim(), 0.8, seed=text)
    # A trainer that dies before the step has reached it is replaced, and the step waits or goes on.
    allowed = ("failed", "promoted") if text.endswith("torch") else ("failed",)
    assert killed and delivery.outcome in allowed and delivery.reason, delivery
    assert kills.complaints(pipeline) == []


def test_the_push_after_the_kills_is_promoted(pipeline):
    (pipeline.work / "config.toml").write_text(CONFIG.format(seed=0) + "# again\n")
    delivery = pipeline.push("again")
    assert delivery.outcome == "promoted", delivery
    assert kills.complaints(pipeline) == []


def test_a_pipeline_that_is_opened_again_answers_as_soon_as_it_is_asked(pipeline):
    """The server takes a few seconds to start, so the first question has to wait for it."""
    pipeline.close()
    images, _ = ops.traffic.stream()
    with ops.Pipeline(pipeline.folder) as again:
        assert again.ask(images[:1]).status == 200
