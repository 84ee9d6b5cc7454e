"""A push ends in one of five outcomes, one at a time, whatever ends early; nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import stub_project
from kills import wait_for

from lablib import ops
from lablib.errors import LabError
from lablib.ops import act, service_process

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        pipeline = stub_project.open_pipeline(tmp_path_factory.mktemp("p") / "pipeline", patch)
        yield pipeline
        pipeline.close()


OUTCOMES = [
    ({}, "promoted", "succeeded succeeded succeeded succeeded succeeded"),
    ({"test": "fails"}, "rejected by the tests", "failed skipped skipped skipped skipped"),
    ({"gate": "fails"}, "rejected by the gate", "succeeded succeeded succeeded failed skipped"),
    ({"deploy": "fails"}, "rolled back", "succeeded succeeded succeeded succeeded failed"),
    ({"gate": "raises"}, "failed", "succeeded succeeded succeeded failed skipped"),
]


@pytest.mark.parametrize("plan, outcome, states", OUTCOMES, ids=[row[1] for row in OUTCOMES])
def test_a_push_has_the_outcome_that_its_jobs_decide(pipeline, plan, outcome, states):
    stub_project.plan(pipeline, **plan)
    delivery = pipeline.push("a change")
    assert (delivery.outcome, " ".join(job.state for job in delivery.jobs)) == (outcome, states)
    assert [job.title for job in delivery.jobs] == [
        "test", "train (torch)", "train (tensorflow)", "gate", "deploy",
    ]  # fmt: skip
    assert delivery.jobs[0].log.startswith(f"test []: {plan.get('test', 'passes')}")
    assert pipeline.deliveries[-1] == delivery


def test_the_jobs_of_the_matrix_run_after_the_tests_and_before_the_gate(pipeline):
    if not act.find():
        pytest.skip("needs act")
    stub_project.plan(pipeline, order="asked")
    delivery = pipeline.push("a change")
    test, first, second, gate, _ = delivery.jobs
    assert test.end_s <= min(first.start_s, second.start_s)
    assert max(first.end_s, second.end_s) <= gate.start_s
    assert delivery.jobs[-1].log.startswith("deploy ['7']")


NEEDS_A_VERSION = {
    "versions": lambda pipeline: pipeline.versions(),
    "serving": lambda pipeline: pipeline.serving(),
    "ask": lambda pipeline: pipeline.ask(np.zeros((1, 64))),
    "traffic": lambda pipeline: pipeline.traffic(5),
    "rebuild": lambda pipeline: pipeline.rebuild(1),
    "promote": lambda pipeline: pipeline.promote(1),
    "roll back": lambda pipeline: pipeline.roll_back(),
}


@pytest.mark.parametrize("name", NEEDS_A_VERSION)
def test_what_needs_a_version_says_so_before_there_is_one(pipeline, name):
    with pytest.raises(LabError, match="No version is registered yet"):
        NEEDS_A_VERSION[name](pipeline)


def test_a_push_without_a_change_is_refused(pipeline):
    stub_project.plan(pipeline, which="first")
    pipeline.push("a change")
    with pytest.raises(LabError, match="Nothing has changed"):
        pipeline.push("no change")


def test_a_delivery_that_failed_can_be_repeated_without_a_change(pipeline):
    stub_project.plan(pipeline, gate="raises", by="repetition")
    first, second = pipeline.push("a change"), pipeline.push("again")
    assert (first.outcome, second.outcome) == ("failed", "failed")
    assert second.number == first.number + 1 and second.commit != first.commit


def hanging(pipeline):
    """Return the folder of a delivery whose job hangs by now."""
    return next((path.parent for path in pipeline.state.glob("runs/*/hangs")), None)


def in_background(pipeline):
    found = []
    thread = threading.Thread(target=lambda: found.append(pipeline.push("it hangs")))
    thread.start()
    return thread, found


def test_a_second_push_is_refused_while_one_runs(pipeline):
    stub_project.plan(pipeline, train="hangs")
    thread, found = in_background(pipeline)
    folder = wait_for(lambda: hanging(pipeline))
    with pytest.raises(LabError, match="running already"):
        pipeline.push("a second one")
    runner(pipeline).kill()
    thread.join(60)
    (folder / "hangs").unlink()
    assert found[0].outcome == "failed" and "SIGKILL" in found[0].reason


def runner(pipeline):
    return next(each for each in steps_named("act", pipeline) if each.name() == "act")


def steps_named(text, pipeline):
    service = psutil.Process(pipeline._service.process.pid)
    return [each for each in service.children(True) if text in " ".join(each.cmdline())]


@pytest.mark.parametrize("job", ["test", "train", "gate", "deploy"])
def test_a_killed_step_fails_the_delivery_and_the_next_push_works(pipeline, job):
    stub_project.plan(pipeline, **{job: "hangs"})
    thread, found = in_background(pipeline)
    folder = wait_for(lambda: hanging(pipeline))
    until_s = time.monotonic() + 60
    while thread.is_alive() and time.monotonic() < until_s:  # each copy of a job with a matrix
        with contextlib.suppress(psutil.NoSuchProcess):
            for step in steps_named(f"job.py {job}", pipeline):
                if step.name().startswith("python"):
                    step.kill()
        thread.join(0.1)
    (folder / "hangs").unlink()
    seen = found[0].outcome, found[0].reason
    assert seen == ("failed", f"job {job}: a step was killed (SIGKILL)")
    stub_project.plan(pipeline)
    assert pipeline.push("a good one").outcome == "promoted"


def test_interrupting_a_push_ends_the_delivery_and_its_processes(pipeline):
    stub_project.plan(pipeline, gate="hangs", by="interrupt")
    main = threading.get_ident()

    def interrupt():
        wait_for(lambda: hanging(pipeline))
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        pipeline.push("it hangs")
    thread.join()
    (hanging(pipeline) / "hangs").unlink()
    assert pipeline.deliveries[-1].outcome == "failed"
    assert steps_named("job.py", pipeline) == []


def test_a_killed_service_fails_the_delivery_and_the_next_push_works(pipeline):
    stub_project.plan(pipeline, gate="hangs", by="service")
    thread, found = in_background(pipeline)
    folder = wait_for(lambda: hanging(pipeline))
    (step,) = [s for s in steps_named("job.py gate", pipeline) if s.name().startswith("python")]
    pipeline._service.process.kill()
    thread.join(60)
    assert psutil.wait_procs([step], timeout=20)[1] == []
    (folder / "hangs").unlink()
    assert found[0].outcome == "failed"
    stub_project.plan(pipeline, after="service")
    assert pipeline.push("a good one").outcome == "promoted"


def test_a_push_without_the_service_stores_the_commit_and_says_what_to_do(tmp_path, monkeypatch):
    pipeline = stub_project.open_pipeline(tmp_path / "pipeline", monkeypatch)
    pipeline.close()
    for command in (["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=pipeline.work, timeout=30, check=True)
    done = subprocess.run(
        ["git", "push", "origin", "HEAD:main"],
        cwd=pipeline.work, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0 and "is stored" in done.stderr and "push again" in done.stderr


def test_one_folder_has_one_service(tmp_path, monkeypatch):
    pipeline = stub_project.open_pipeline(tmp_path / "pipeline", monkeypatch)
    assert ops.Pipeline(pipeline.folder)._service is pipeline._service
    monkeypatch.setattr(service_process, "_services", {})
    with pytest.raises(LabError, match="Another notebook"):
        ops.Pipeline(pipeline.folder)
    pipeline.close()


def test_a_fresh_pipeline_has_no_file_and_no_process_of_the_old_one(tmp_path, monkeypatch):
    old = stub_project.open_pipeline(tmp_path / "pipeline", monkeypatch)
    page = old.mlflow_page()
    with ops.Pipeline(old.folder, fresh=True) as new:
        assert not page.runs() and not old._service.runs() and new._service.runs()
        assert not (new.work / "job.py").exists()
        page = new.mlflow_page()
        assert page.runs()
    assert not page.runs() and not new._service.runs()


KERNEL = """
import sys
from pathlib import Path
import pytest, stub_project

pipeline = stub_project.open_pipeline(Path(sys.argv[1]), pytest.MonkeyPatch())
stub_project.plan(pipeline, train="hangs")
pipeline.push("it hangs")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV])
def test_no_process_is_left_when_the_kernel_dies(tmp_path, number):
    folder = tmp_path / "pipeline"
    kernel = subprocess.Popen(
        [sys.executable, "-c", KERNEL, folder], env=os.environ | {"PYTHONPATH": str(HERE)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: list(folder.glob("state/runs/*/hangs")))
    processes = psutil.Process(kernel.pid).children(recursive=True)
    kernel.send_signal(number)
    kernel.wait(60)
    assert any("python" in str(each) for each in processes)
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert alive == []
