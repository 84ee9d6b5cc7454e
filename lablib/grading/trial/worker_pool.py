"""Distribute jobs over grading workers, and replace workers that died."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lablib.computer import processes

_TRIES = 2
_WORTH_A_START = 4
_CLOSE_WITHIN_S = 10


class Lost(Exception):
    """A worker ended, or did not answer in time."""


class Worker:
    """One process that grades.

    setup    see `grading_worker`
    folder   for its temporary files and its log
    """

    def __init__(self, setup: dict, folder: Path, number: int):
        (folder / str(number)).mkdir(parents=True, exist_ok=True)
        environment = processes.environment() | {
            "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1",
            "TMPDIR": str(folder / str(number)), "LABLIB_HOME": str(folder / str(number)),
        }  # fmt: skip
        with open(folder / f"worker{number}.log", "ab") as log:
            self._process = subprocess.Popen(
                processes.command("lablib.grading.trial.worker"), env=environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._tell(setup)

    def ask(self, job: dict, within_s: float) -> dict:
        """Return the worker's answer to a job. Raises Lost."""
        watchdog = threading.Timer(within_s, self._process.kill)
        watchdog.start()
        try:
            self._tell(job)
            line = self._process.stdout.readline()
        except OSError:
            line = b""
        finally:
            watchdog.cancel()
        if not line.endswith(b"\n"):
            raise Lost
        return json.loads(line)

    def close(self) -> None:
        """Let the worker end, and kill it if it does not. A second call does nothing."""
        try:
            self._tell(None)
            self._process.wait(_CLOSE_WITHIN_S)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def kill(self) -> None:
        """Kill the worker and everything that it has started."""
        self._process.kill()

    def _tell(self, message):
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()


class GradingJob(NamedTuple):
    """told: to the worker; within_s: then it is given up; frameworks: whose box it needs"""

    told: dict
    within_s: float
    frameworks: frozenset[str] = frozenset()


class JobQueue:
    """Waiting jobs, distributed so that few boxes are started: a framework takes long to import.

    A worker first gets jobs for which it has the boxes, then jobs for which no worker has them. It
    gets jobs for other workers' boxes only while enough of them wait to make a new box worthwhile.
    """

    def __init__(self, jobs: Sequence[GradingJob]):
        self._jobs, self._lock = list(jobs), threading.Lock()
        self._started: dict[int, frozenset[str]] = {}

    def next(self, number: int) -> GradingJob | None:
        """Return a job for worker `number`; None if it has nothing left to do."""
        with self._lock:
            job = self._chosen(number)
            if job:
                self._jobs.remove(job)
                self._started[number] = self._started.get(number, frozenset()) | job.frameworks
            return job

    def _chosen(self, number):
        mine = self._started.get(number, frozenset())
        others = [started for other, started in self._started.items() if other != number]
        own = [job for job in self._jobs if job.frameworks <= mine]
        nobodys = [j for j in self._jobs if not any(j.frameworks <= other for other in others)]
        if own or nobodys:
            return (own or nobodys)[0]
        return self._jobs[0] if len(self._jobs) > _WORTH_A_START else None


class Crew:
    """Workers that do jobs, each a thread's own.

    start   makes worker `number`
    done    called with each job and its answer, one at a time
    """

    def __init__(self, start: Callable[[int], Worker], done: Callable[[dict, dict], None]):
        self.start, self.done = start, done
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._alive: dict[int, Worker] = {}
        self._errors: list[BaseException] = []

    def work(self, jobs: Sequence[GradingJob], how_many: int) -> None:
        """Have all jobs done.

        A job that loses two workers is answered with {"trouble": ...}.
        """
        self._waiting = JobQueue(jobs)
        numbers = range(min(how_many, len(jobs)))
        threads = [threading.Thread(target=self._serve, args=(number,)) for number in numbers]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:  # such as Ctrl-C
            self._stop.set()
            for worker in list(self._alive.values()):
                worker.kill()
            for thread in threads:
                thread.join()
            raise
        if self._errors:
            raise self._errors[0]

    def _serve(self, number):
        try:
            while not self._stop.is_set() and (job := self._waiting.next(number)):
                answer = self._answer(number, job)
                with self._lock:
                    self.done(job.told, answer)
        except _Stopped:
            pass
        except BaseException as error:
            self._errors.append(error)
            self._stop.set()
        finally:
            self._dismiss(number)

    def _answer(self, number, job):
        for _ in range(_TRIES):
            try:
                if number not in self._alive:
                    self._alive[number] = self.start(number)
                return self._alive[number].ask(job.told, job.within_s)
            except Lost:
                self._dismiss(number)
                if self._stop.is_set():
                    raise _Stopped from None
        return {"trouble": "the process that graded it died twice"}

    def _dismiss(self, number):
        if number in self._alive:
            self._alive.pop(number).close()


class _Stopped(Exception):
    """Grading was stopped from outside."""
