"""The workflow file, the kit's own runner, the event log, and what is concluded from it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
import yaml

from lablib import frameworks
from lablib.errors import LabError
from lablib.ops import delivery, event_log, hook, outcome, own_runner, repository, workflow_file
from lablib.ops.unix_socket import connect, listen
from lablib.ops.workflow_file import PlannedJob
from lablib.views.diagrams import job_graph

FILE = repository.TEMPLATE / workflow_file.PATH


def is_valid(path):
    """Return whether the schema of GitHub's workflow files accepts a file."""
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", path]
    return subprocess.run([sys.executable, *command], capture_output=True).returncode == 0


def test_the_workflow_file_is_valid_on_the_hosted_service_and_uses_one_action(tmp_path):
    assert is_valid(FILE)
    workflow = workflow_file.read(FILE.read_bytes())
    own_runner.check(workflow)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert {step["uses"] for step in steps if "uses" in step} == {"actions/checkout@v4"}


def test_that_claim_can_fail(tmp_path):
    broken = tmp_path / "deliver.yml"
    broken.write_text(FILE.read_text().replace("runs-on", "runs-at"))
    assert not is_valid(broken)


def test_the_jobs_of_the_project_are_planned_with_both_frameworks():
    jobs = workflow_file.planned(workflow_file.read(FILE.read_bytes()))
    assert [(job.name, job.framework, job.needs) for job in jobs] == [
        ("test", None, ()),
        *(("train", name, ("test",)) for name in frameworks.NAMES),
        ("gate", None, ("train",)),
        ("deploy", None, ("gate",)),
    ]


@pytest.mark.parametrize(
    "content, saw",
    [
        (b"jobs: [", "parsing"),
        (b"- a list", "needs `jobs`"),
        (b"jobs: {a: {runs-on: b}}", "no steps"),
        (b"jobs: {a: {needs: b, steps: []}}", "needs 'b'"),
        (b"jobs: {a: {steps: [], strategy: {matrix: {x: [1], y: [2]}}}}", "not one row"),
        (b"x" * (1 << 17), "at most"),
    ],
)
def test_a_broken_workflow_file_is_refused(content, saw):
    with pytest.raises(LabError) as caught:
        workflow_file.read(content)
    assert saw in caught.value.saw


WORKFLOW = """
env: {EVERYWHERE: yes please}
jobs:
  last:
    needs: middle
    runs-on: ubuntu-latest
    steps:
      - run: echo "got ${{ needs.middle.outputs.number }} $EVERYWHERE"
  first:
    runs-on: ubuntu-latest
    strategy: {matrix: {framework: [torch, tensorflow]}}
    steps:
      - uses: actions/checkout@v4
      - run: cat file.txt && echo "${{ matrix.framework }}"
  middle:
    needs: [first]
    runs-on: ubuntu-latest
    outputs: {number: "${{ steps.count.outputs.number }}"}
    steps:
      - id: count
        run: echo "number=7" >> "$GITHUB_OUTPUT"
      - if: failure()
        run: echo "not reached"
"""


def run_own(tmp_path, workflow):
    """Return exit status, delivery and log of a run of this workflow by the kit's runner."""
    source, folder = tmp_path / "source", tmp_path / "runs" / "1"
    (source / ".github" / "workflows").mkdir(parents=True)
    (source / workflow_file.PATH).write_text(workflow)
    (source / "file.txt").write_text("from the clone\n")
    folder.mkdir(parents=True)
    log = event_log.EventLog(folder, "0" * 40, own_runner.NAME, lambda line: None)
    log.plan(workflow_file.planned(yaml.safe_load(workflow)))
    environment = {"PATH": "/usr/bin:/bin"} | outcome.remember_statuses(folder)
    status = asyncio.run(own_runner.run(source, environment, tmp_path, log))
    return status, delivery.read(folder), log


def test_the_own_runner_runs_jobs_in_order_with_matrix_and_outputs(tmp_path):
    status, found, _ = run_own(tmp_path, WORKFLOW)
    assert status == 0 and {job.state for job in found.jobs} == {"succeeded"}
    logs = {job.title: job.log for job in found.jobs}
    assert logs["first (torch)"] == "from the clone\ntorch"
    assert logs["last"] == "got 7 yes please" and logs["middle"] == ""


def test_the_own_runner_skips_what_needs_a_failed_job_and_runs_the_clean_up(tmp_path):
    workflow = WORKFLOW.replace('echo "number=7" >> "$GITHUB_OUTPUT"', "exit 3")
    status, found, log = run_own(tmp_path, workflow)
    states = {job.title: job.state for job in found.jobs}
    assert status == 1 and (states["middle"], states["last"]) == ("failed", "skipped")
    assert found.jobs[-1].log == "not reached"
    assert outcome.conclude(log, 1) == (
        "failed",
        "job middle: a step ended with exit status 3",
        None,
    )


@pytest.mark.parametrize(
    "old, new",
    [
        ("actions/checkout@v4", "actions/setup-python@v5"),
        ("if: failure()", "if: github.ref == 'main'"),
        ("needs: middle", "continue-on-error: true"),
        ("id: count", "shell: python"),
        ("needs: [first]", "needs: [last]"),
    ],
)
def test_the_own_runner_refuses_what_it_does_not_understand(tmp_path, old, new):
    with pytest.raises(LabError, match="Without act"):
        run_own(tmp_path, WORKFLOW.replace(old, new))


CONCLUSIONS = [
    ("test 1", None, "test", 1, "rejected by the tests"),
    ("test 137", None, "test", 1, "failed"),
    ("", None, "test", 1, "failed"),
    ("test 0\ngate 1", {"job": "gate", "passed": False}, "gate", 1, "rejected by the gate"),
    ("test 0\ngate 137", {"job": "gate", "passed": False}, "gate", 1, "failed"),
    ("gate 1", None, "gate", 1, "failed"),
    ("deploy 1", {"job": "deploy", "passed": False}, "deploy", 1, "rolled back"),
    ("deploy 1", {"job": "gate", "passed": True}, "deploy", 1, "failed"),
    ("deploy 0", {"job": "deploy", "passed": True, "version": 3}, None, 0, "promoted"),
    ("deploy 0", {"job": "deploy", "passed": True}, None, -9, "failed"),
    ("deploy 0", {"job": "gate", "passed": True}, None, 0, "failed"),
    ("deploy 0", {"job": "other", "passed": True}, None, 0, "failed"),
]


@pytest.mark.parametrize("statuses, decision, failed, runner_status, expected", CONCLUSIONS)
def test_the_outcome_follows_from_statuses_and_the_decision_alone(
    tmp_path, statuses, decision, failed, runner_status, expected
):
    log = event_log.EventLog(tmp_path, "0" * 40, "act", lambda line: None)
    log.plan([PlannedJob(name, {}, ()) for name in ("test", "train", "gate", "deploy")])
    log.line("test", None, "promoted: rejected by the gate")  # words decide nothing
    for job in ("test", "train", "gate", "deploy"):
        log.job(job, None, "failed" if job == failed else "succeeded")
    (tmp_path / "statuses").write_text(statuses)
    if decision:
        content = {"reason": "because", "version": None} | decision
        (tmp_path / "reason.json").write_text(json.dumps(content))
    assert outcome.conclude(log, runner_status).outcome == expected


def test_a_log_can_be_read_while_it_is_written_and_when_its_writer_was_killed(tmp_path):
    folder = tmp_path / "1"
    folder.mkdir()
    log = event_log.EventLog(folder, "a" * 40, "act", lambda line: None)
    log.plan([PlannedJob("train", {"framework": "torch"}, ("test",))])
    log.job("train", "torch", "running")
    with open(folder / "events.jsonl", "ab") as file:
        file.write(b'{"event": "li')
    found = delivery.read(folder)
    assert (found.outcome, found.jobs[0].state, found.jobs[0].end_s) == (None, "running", None)
    assert event_log.end_unfinished(tmp_path) and not event_log.end_unfinished(tmp_path)
    assert delivery.read(folder).outcome == "failed"


def test_a_job_that_has_ended_does_not_run_again(tmp_path):
    log = event_log.EventLog(tmp_path, "a" * 40, "act", lambda line: None)
    log.plan([PlannedJob("test", {}, ())])
    for state in ("running", "failed", "running"):
        log.job("test", None, state)
    assert log.states == {("test", None): "failed"}


def test_what_a_job_prints_is_shown_escaped():
    job = delivery.JobRun("test", state="failed", start_s=0.0, end_s=1.0, log="<script>")
    found = delivery.Delivery(1, "failed", "<b>", (job,), 1.0, "0" * 40, None, "act")
    assert "<script>" not in found._repr_html_() and "<b>:" not in found._repr_html_()
    assert "&lt;script&gt;" in found._repr_html_()


def test_the_graph_draws_a_job_to_the_right_of_what_it_needs():
    boxes = [
        job_graph.Box("test", None, (), "succeeded", 0.5),
        job_graph.Box("train", "torch", ("test",), "failed", 2.0),
        job_graph.Box("train", "tensorflow", ("test",), "running", None),
        job_graph.Box("gate", None, ("train",), "waiting", None),
    ]
    columns = [[box.name for box in column] for column in job_graph._columns(boxes)]
    assert columns == [["test"], ["train", "train"], ["gate"]]
    drawn = job_graph.draw(boxes, "Delivery 1")
    assert "train (torch): failed, 2.0 s." in drawn.description and drawn.svg.count("<path") >= 4


def test_only_the_main_branch_is_delivered():
    gone = f"{'1' * 40} {'0' * 40} {hook.BRANCH}"
    assert hook.pushed([gone, f"{'0' * 40} {'2' * 40} refs/tags/v1"]) == []


def test_a_socket_works_in_a_deep_folder_and_belongs_to_its_owner(tmp_path):
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    assert connect(folder, "x.sock") is None
    with listen(folder, "x.sock"), connect(folder, "x.sock") as client:
        assert client is not None
        assert (folder / "x.sock").stat().st_mode & 0o777 == 0o600
    assert connect(folder, "x.sock") is None
