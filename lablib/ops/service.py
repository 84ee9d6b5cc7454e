"""The service of a pipeline: runs its deliveries, and ends everything when the notebook ends.

`Pipeline` starts it as a child of the notebook's kernel; it lives as long as the kernel. All other
processes of the pipeline are its descendants: the runner with its steps, and the processes that it
keeps alive, which are the model server and a trainer for each framework. It adopts orphans, so
it finds them all. Only one service runs for each folder.

It listens at `state/service.sock`. A request and an answer are a line of JSON each:

    {"op": "deliver", "commit": "..."}   -> {"line": "..."} for each thing that happens
    {"op": "status"}                     -> {"busy": false}
    {"op": "wait"}                       -> {"ready": true}, once the model server answers
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from lablib import frameworks
from lablib.computer import processes
from lablib.computer.end_with_parent import end_with_parent
from lablib.computer.orphans import adopt_orphans
from lablib.errors import LabError
from lablib.ops import (
    act,
    delivery,
    descendants,
    outcome,
    own_runner,
    service_process,
    workflow_file,
)
from lablib.ops.event_log import EventLog, end_unfinished
from lablib.ops.registry import Registry
from lablib.ops.repository import git, without_git_variables
from lablib.ops.unix_socket import listen
from lablib.ops.warm_runs import VARIABLE

SERVER, SETTLE, TRAINED = "lablib.ops.server", "lablib.ops.settle", frameworks.NAMES
_LONGEST_LINE = 1 << 12
_SERVER_WITHIN_S = 60
_LOOK_EVERY_S = 0.1
_END_WITHIN_S, _SETTLE_WITHIN_S = 5, 30


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """A line that a client sends."""

    op: Literal["deliver", "status", "wait"]
    commit: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?$")] = ""


class Kept:
    """A process that is started again whenever it ends, less often if it keeps ending."""

    def __init__(self, name: str, module: str, arguments: list[str], log: Path):
        self._command = processes.command(module, *arguments)
        self._log = log / f"{name}.log"
        self.process: subprocess.Popen | None = None

    async def keep(self) -> None:
        """Keep it alive until this task is cancelled."""
        pause_s = _LOOK_EVERY_S
        while True:
            begun_s = time.monotonic()
            self._start()
            while self.process.poll() is None:
                await asyncio.sleep(_LOOK_EVERY_S)
            pause_s = min(2 * pause_s, 30) if time.monotonic() - begun_s < 10 else _LOOK_EVERY_S
            await asyncio.sleep(pause_s)

    def _start(self):
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                self._command, env=processes.environment(), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=partial(end_with_parent, os.getpid()),
            )  # fmt: skip


class Service:
    """See the head of this file.

    folder   of the pipeline; it contains `remote.git` and `state`
    """

    def __init__(self, folder: Path):
        self.folder, self.state = folder, folder / "state"
        self.server = Kept("server", SERVER, [str(self.state)], self.state)
        self.kept = [self.server]
        for name in TRAINED:
            self.kept.append(Kept(name, "lablib.cli_warm", [str(self.state), name], self.state))
        self.busy = self.ending = False

    async def serve(self, until: asyncio.Event) -> None:
        """Serve until the event is set, then end everything."""
        tasks = [asyncio.create_task(each.keep()) for each in self.kept]
        if end_unfinished(self.state / "runs"):
            await self._settle()
        socket = listen(self.state, "service.sock")
        server = await asyncio.start_unix_server(self._answer, sock=socket, limit=_LONGEST_LINE)
        print(json.dumps({"ready": True}), flush=True)
        try:
            await until.wait()
        finally:
            self.ending = True
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._end()

    def _end(self):
        """End all descendants. A zygote removes its files when it sees that its trainer is dead."""
        for each in self.kept:
            if each.process and each.process.poll() is None:
                each.process.kill()
                each.process.wait()
        until_s = time.monotonic() + _END_WITHIN_S
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < until_s:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    time.sleep(0.02)
        descendants.end()

    async def _answer(self, reader, writer):
        def say(**message):
            writer.write(json.dumps(message).encode() + b"\n")

        try:
            request = msgspec.json.decode(await reader.readline(), type=Request)
            if request.op == "status":
                say(busy=self.busy)
            elif request.op == "wait":
                say(ready=await self._server_is_ready())
            elif self.busy:
                say(line="Another delivery is running. Push again when it has ended.")
            else:
                await self._deliver(request.commit, reader, lambda line: say(line=line))
        except (msgspec.DecodeError, ValueError, asyncio.CancelledError):
            pass  # not a client of the kit, which gets no answer; or the end of this service
        finally:
            writer.close()

    async def _deliver(self, commit, reader, say):
        """Run a delivery; end it if the client, which is the hook, ends before."""
        self.busy = True
        work = asyncio.create_task(self._run(commit, say))
        gone = asyncio.create_task(reader.read())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            self.busy = False

    async def _run(self, commit, say):
        folder = self._new_folder()
        runner = act if act.find() else own_runner
        say(f"Delivery {folder.name} of commit {commit[:7]}, run by {runner.NAME}")
        log = EventLog(folder, commit, runner.NAME, say)
        end = outcome.Conclusion(delivery.FAILED, "the push was stopped")
        try:
            end = await self._outcome(runner, log)
        except LabError as error:
            end = outcome.Conclusion(delivery.FAILED, str(error))
        except Exception as error:
            end = outcome.Conclusion(delivery.FAILED, f"{type(error).__name__}: {error}")
        finally:
            descendants.end(self._kept_pids())
            shutil.rmtree(folder / "source", ignore_errors=True)
            if not self.ending:  # else the next service ends it, see `serve`
                if end.outcome == delivery.FAILED and log.has_started(outcome.DEPLOY_JOB):
                    await self._settle()
                log.end(*end)

    def _kept_pids(self):
        return {each.process.pid for each in self.kept if each.process}

    async def _settle(self):
        """Let the champion answer all requests: a deployment that was killed could not do that."""
        with open(self.state / "service.log", "ab") as log:
            command = processes.command(SETTLE, str(self.state))
            process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _SETTLE_WITHIN_S)
        finally:
            descendants.end(self._kept_pids())

    def _new_folder(self):
        runs = self.state / "runs"
        runs.mkdir(exist_ok=True)
        number = max((int(each.name) for each in runs.iterdir() if each.name.isdigit()), default=0)
        folder = runs / str(number + 1)
        folder.mkdir()
        return folder

    async def _outcome(self, runner, log):
        source = log.folder / "source"
        await asyncio.to_thread(git, self.folder, "clone", "-q", "remote.git", source)
        await asyncio.to_thread(git, source, "checkout", "-q", "-B", "main", log.commit)
        try:
            content = (source / workflow_file.PATH).read_bytes()
        except OSError as error:
            saw = f"{workflow_file.PATH}: {error.strerror}"
            raise LabError("The commit has no workflow file.", saw=saw, do="add it") from None
        log.plan(workflow_file.planned(workflow_file.read(content)))
        if not await self._server_is_ready():
            raise service_process.server_not_started(self.state)
        environment = self._environment() | outcome.remember_statuses(log.folder)
        own = self.state / "runner"
        own.mkdir(exist_ok=True)
        status = await runner.run(source, environment, own, log)
        return outcome.conclude(log, status)

    async def _server_is_ready(self) -> bool:
        """Wait for the model server, which also creates MLflow's database."""
        until_s = time.monotonic() + _SERVER_WITHIN_S
        while not self._server_answers() and time.monotonic() < until_s:
            await asyncio.sleep(_LOOK_EVERY_S)
        return self._server_answers()

    def _server_answers(self):
        """Return whether `server.json` is that of the server that runs now."""
        try:
            about = json.loads((self.state / "server.json").read_text())
            return about["pid"] == self.server.process.pid
        except (OSError, ValueError, KeyError):
            return False

    def _environment(self):
        """Return the environment of the steps. `python` is the one that runs the kit."""
        kept = without_git_variables()
        return kept | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")]),
            "PIPELINE_STATE": str(self.state),
            "MLFLOW_TRACKING_URI": Registry(self.state).uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_LOGGING_LEVEL": "ERROR",
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
            "PY_COLORS": "0",
            VARIABLE: str(self.state),
        }


async def _serve(folder, kernel):
    until, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, until.set)
    loop.add_reader(0, until.set)  # the kernel has the other end of this pipe
    with contextlib.suppress(AttributeError, ProcessLookupError):  # only Linux has pidfd_open
        loop.add_reader(os.pidfd_open(kernel), until.set)
    if os.getppid() != kernel:
        until.set()
    await Service(folder).serve(until)


def main(arguments: list[str]) -> None:
    """Serve the pipeline in a folder until the kernel ends; print a line of JSON at the start."""
    folder, kernel = Path(arguments[0]), int(arguments[1])
    adopt_orphans()  # the kernel gets interrupts, too, and stops the push
    lock = service_process.lock(folder / "state")
    if lock is None:
        print(json.dumps({"ready": False}), flush=True)
        return
    (folder / "state" / "server.json").unlink(missing_ok=True)
    with lock:
        asyncio.run(_serve(folder, kernel))
