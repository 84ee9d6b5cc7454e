"""A push that a prediction's field starts, after its cell has ended, can be interrupted, too."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
from jupyter_client.manager import start_new_kernel
from kills import wait_for

from lablib.computer.facts import ROOT
from lablib.ops import delivery

WITHIN_S = 60
CELL = """
from pathlib import Path
import pytest, stub_project
import lablib as lab

pipeline = stub_project.open_pipeline(Path({folder!r}), pytest.MonkeyPatch())
stub_project.plan(pipeline, gate="hangs")
guess = lab.predict("the end of the push")
shown = guess.reveal(lambda: pipeline.push("it hangs").outcome).widget()
print(shown.children[0].children[1].children[1].model_id)
"""


@pytest.fixture
def kernel(tmp_path):
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    own = {"PYTHONPATH": path, "LABLIB_HOME": str(tmp_path / "home")}
    environment = {k: v for k, v in os.environ.items() if k != "LABLIB_GUESSES"} | own
    manager, client = start_new_kernel(startup_timeout=WITHIN_S, env=environment)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def press(client, model_id):
    """Press a button as a browser does: the kernel's answer does not come from a cell."""
    data = {"method": "custom", "content": {"event": "click"}}
    content = {"comm_id": model_id, "data": data}
    client.shell_channel.send(client.session.msg("comm_msg", content))


@pytest.mark.timeout(180)
def test_interrupting_it_ends_the_delivery_and_its_processes(kernel, tmp_path):
    manager, client = kernel
    folder, printed = tmp_path / "pipeline", []

    def output(message):
        assert message["msg_type"] != "error", message["content"]
        printed.append(message["content"].get("text", ""))

    code = CELL.format(folder=str(folder))
    client.execute_interactive(code, timeout=WITHIN_S, output_hook=output)
    press(client, "".join(printed).split()[-1])
    run = wait_for(lambda: next((path.parent for path in folder.glob("state/runs/*/hangs")), None))
    process = psutil.Process(manager.provisioner.pid)
    (step,) = [each for each in process.children(True) if each.cmdline()[1:3] == ["job.py", "gate"]]
    manager.interrupt_kernel()
    wait_for(lambda: delivery.read(run).outcome, within_s=30)
    assert delivery.read(run).reason == "the push was stopped"
    assert not step.is_running()
