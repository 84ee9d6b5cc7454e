"""A project whose jobs take a moment: they do what the file `plan.json` says, without training.

`bare_service` runs it without trainers and, unless the test asks for it, with a server that does
nothing. So a delivery takes a second, and a test sees the service, the runner and the hook alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from lablib import ops
from lablib.ops import service_process

WORKFLOW = """
on: {push: {branches: [main]}}
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: python job.py test
  train:
    needs: test
    runs-on: ubuntu-latest
    strategy:
      matrix:
        framework: [torch, tensorflow]
    steps:
      - uses: actions/checkout@v4
      - run: python job.py train
  gate:
    needs: train
    runs-on: ubuntu-latest
    outputs:
      version: ${{ steps.gate.outputs.version }}
    steps:
      - uses: actions/checkout@v4
      - id: gate
        run: python job.py gate
  deploy:
    needs: gate
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: python job.py deploy ${{ needs.gate.outputs.version }}
"""
JOB = """
import json, os, sys, time
from lablib.ops.job_report import report

job = sys.argv[1]
plan = json.load(open("plan.json")).get(job, "passes")
print(f"{job} {sys.argv[2:]}: {plan}", flush=True)
if plan == "hangs":
    open(os.path.join(os.environ["PIPELINE_RUN"], "hangs"), "w").close()
    time.sleep(600)
if plan == "raises" or job in ("test", "train"):
    sys.exit(plan != "passes")
sys.exit(report(job, plan == "passes", f"{job} {plan}", 7))
"""


def open_pipeline(folder: Path, monkeypatch) -> ops.Pipeline:
    """Open a pipeline with this project and the bare service."""
    monkeypatch.setattr(service_process, "SERVICE", "bare_service")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    pipeline = ops.Pipeline(folder)
    (pipeline.work / ".github/workflows/deliver.yml").write_text(WORKFLOW)
    (pipeline.work / "job.py").write_text(JOB)
    plan(pipeline)
    return pipeline


def plan(pipeline: ops.Pipeline, **jobs: str) -> None:
    """Decide what the jobs of the next commit do: "passes", "fails", "raises" or "hangs"."""
    (pipeline.work / "plan.json").write_text(json.dumps(jobs))
