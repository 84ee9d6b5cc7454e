"""26 kills with stubbed training: the champion serves, no version is half, the next push works."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import kills
import pytest
import stub_project

from lablib import ops
from lablib.ops import service_process, workflow_file

# The real gate and deployment, on weights that were trained beforehand.
JOBS = {
    "test": "pass",
    "train": "import time; time.sleep(0.3)",
    "gate": """
import json, os, sys
import digits
from lablib.ops import gate
runs = json.load(open("runs.json"))
sys.exit(gate.main(runs, *digits.load("held_out")))
""",
    "deploy": """
import sys
import canary_rule
from lablib.ops import deploy
sys.exit(deploy.main(sys.argv[1:], canary_rule.decide))
""",
}
PARTS = {
    "hook": ("lablib.ops.hook", 6.0, 6),
    "runner": ("--no-cache-server", 6.0, 6),
    "training": ("job_train.py", 0.3, 4),
    "gate": ("job_gate.py", 2.5, 6),
    "server": ("lablib.ops.server", 6.0, 4),
}
ENDS = {True: ("failed",), False: ("failed", "promoted")}
CASES = [(part, number) for part, (_, _, count) in PARTS.items() for number in range(count)]


# Trains without a framework, and logs the result as that of both.
TRAINING = """
import json
import digits, model, numpy as np, track

images, labels = digits.load("train")
x, y, w = model.scale(images), np.eye(10)[labels], model.initial_weights(hidden=32, seed=0)
for _ in range(120):
    hidden = np.maximum(x @ w["w1"] + w["b1"], 0)
    error = (model.probabilities(w, images) - y) / len(x)
    back = (error @ w["w2"].T) * (hidden > 0)
    slopes = {"w1": x.T @ back, "b1": back.sum(0), "w2": hidden.T @ error, "b2": error.sum(0)}
    w = {name: (w[name] - 0.5 * slopes[name]).astype(np.float32) for name in w}
for framework in ("torch", "tensorflow"):
    track.save(framework, w, 0.0)
json.dump(track.runs("trained"), open("runs.json", "w"))
"""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service_process, "SERVICE", "real_service")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        with ops.Pipeline(tmp_path_factory.mktemp("p") / "pipeline") as pipeline:
            write_jobs(pipeline)
            assert pipeline.push("first").outcome == "promoted"
            yield pipeline


def write_jobs(pipeline):
    for job, code in JOBS.items():
        (pipeline.work / f"job_{job}.py").write_text(code)
    workflow = re.sub(r"job\.py (\w+)", r"job_\1.py", stub_project.WORKFLOW)
    (pipeline.work / workflow_file.PATH).write_text(workflow)
    kills.wait_for((pipeline.state / "server.json").exists)  # it has created the database
    variables = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{pipeline.state / 'mlflow.db'}",
        "GITHUB_SHA": "trained",
    }
    command = [sys.executable, "-c", TRAINING]
    subprocess.run(command, cwd=pipeline.work, env=os.environ | variables, check=True, timeout=100)


@pytest.mark.parametrize("part, number", CASES)
def test_a_kill_leaves_the_champion_serving(pipeline, part, number):
    text, within_s, _ = PARTS[part]
    victim = kills.descendant(pipeline, text)
    delivery, killed = kills.pushed(pipeline, victim, within_s, seed=f"{part} {number}")
    assert delivery.outcome in (("failed", "promoted") if part == "server" else ENDS[killed])
    assert kills.complaints(pipeline) == []


def test_the_push_after_all_kills_is_promoted(pipeline):
    (pipeline.work / "seed.txt").write_text("no kill")
    delivery = pipeline.push("no kill")
    assert delivery.outcome == "promoted", delivery.reason
    assert kills.complaints(pipeline) == []
    assert pipeline.serving().champion == delivery.version
    reasons = [each.reason for each in pipeline.deliveries if each.outcome == "failed"]
    assert len(reasons) >= len(CASES) / 2 and all(reasons)


def test_a_deployment_that_is_killed_during_the_canary_leaves_no_challenger(pipeline):
    rule = pipeline.work / "canary_rule.py"
    before = rule.read_text()
    rule.write_text("import os\n\ndef decide(champion, challenger):\n    os.kill(os.getpid(), 9)\n")
    delivery = pipeline.push("the rule kills")
    rule.write_text(before)
    assert (delivery.outcome, delivery.jobs[-1].name) == ("failed", "deploy")
    assert "SIGKILL" in delivery.reason
    assert pipeline.serving().challenger is None and pipeline.serving().champion


def test_half_a_version_would_be_found(pipeline, tmp_path):
    shutil.copy(pipeline.state / "mlflow.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("delete from model_version_tags where key = 'seed' and version = 1")
        connection.commit()
    assert kills.half_versions(tmp_path / "mlflow.db") == ["version 1 has no tag seed"]
