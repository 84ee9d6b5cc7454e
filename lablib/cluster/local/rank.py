"""The code of a rank process, and `Rank`, the object that the learner's function receives."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import socket
import sys
import tempfile
import time
import traceback

from lablib import frameworks
from lablib.cluster import definitions
from lablib.cluster.engine import messages, wire
from lablib.cluster.local import clock_warnings, rank_errors
from lablib.cluster.local.no_keyboard import take_away_the_keyboard
from lablib.computer.end_with_parent import end_with_parent
from lablib.frameworks.framework import Framework
from lablib.record import learners_code
from lablib.record.recorder import Recorder

_LOOK_EVERY_S = 0.25


class Rank:
    """One process of the cluster, from the view of the function that runs on it.

    rank, ranks   this process's number, and the number of ranks
    node, role    its node's number; its role: "worker", "chief", "ps" or "evaluator"
    device        "cpu" or "cuda:0"; `torch_device` is the same as a torch.device
    framework     "torch" or "tensorflow"
    dry           True: the run is dry, so tensors have shapes but no values
    """

    def __init__(self, job: messages.RankJob, recorder: Recorder):
        self.rank, self.ranks = job.rank, job.ranks
        self.node, self.role = job.node, job.role
        self.device, self.framework = job.device, job.framework
        self.dry = job.dry
        self._recorder = recorder
        self._logged: list[dict] = []
        self._peak_bytes, self._looked_at_s = 0, 0.0
        self._live_bytes: list[int] = []

    def __repr__(self):
        return f"<rank {self.rank} of {self.ranks}, {self.role}, node {self.node}, {self.device}>"

    def shard(self, array):
        """Return this rank's part of `array` along the first axis; sizes differ by at most one."""
        from lablib.datasets import shard

        return shard(array, self.rank, self.ranks)

    @property
    def torch_device(self):
        """The torch.device on which this rank computes: its GPU, or the CPU.

        Pass it whenever you make a tensor: `torch.zeros(3, device=me.torch_device)`. Raises
        LabError on a rank that runs TensorFlow.
        """
        return frameworks.get(self.framework).device(self.device)

    def put(self, value):
        """Move a tensor, a NumPy array or a torch module to this rank's device.

          model = me.put(nn.Linear(64, 10))
          x, y = me.put((x, y))

        value   a tensor or an array of any shape, a module, or lists, tuples and dicts of these,
                nested as you like

        Returns the same structure, with a tensor of the same shape and type instead of each array.
        A module is moved in place and returned. Nothing is copied if it is already on the device:
        on the CPU you get your own tensor or module back, and a tensor that shares the memory of
        your array. To copy a result back from a GPU, call its `cpu()`.

        Raises LabError for anything else, such as a number or an array of texts, and on a rank that
        runs TensorFlow, which places its tensors itself.
        """
        return frameworks.get(self.framework).put(value, self.device)

    def log(self, **values) -> None:
        """Record numbers or short texts by name, for `run.logged` and `run.metrics`."""
        wire.pack(values)  # so that an error about the values is raised at the learner's line
        self._logged.append({"at_s": self._recorder.clock(), **values})
        self._recorder.show_logged(values)

    @contextlib.contextmanager
    def step(self, samples: int = 0):
        """Mark one training step: `with me.step(samples=64):`, with the samples of this rank."""
        memory = self._recorder.memory
        if memory:
            memory.restart()
        with self._recorder.step(samples):
            yield
        if memory:
            self._live_bytes.append(memory.peak_bytes)
        self._look_at_memory()

    def mark(self, name: str) -> None:
        """Mark this moment on the timeline."""
        self._recorder.mark(name)

    def _look_at_memory(self):
        if self._recorder.clock() - self._looked_at_s > _LOOK_EVERY_S:
            self._peak_bytes = max(self._peak_bytes, own_bytes())
            self._looked_at_s = self._recorder.clock()


def live(job: messages.RankJob, sock: socket.socket) -> None:
    """Run as one rank from beginning to end. Never returns.

    job    the result of `rank_job` in `cluster/local/rank_job.py`
    sock   the socket to the notebook's kernel
    """
    framework = frameworks.get(job.framework)
    recorder = _take_place(job, framework)
    me = Rank(job, recorder)
    try:
        if job.modelled:
            clock_warnings.notice()
        function = definitions.load(job.payload)
        if job.modelled:
            clock_warnings.look_for_dates(function)
        own = [wire.receive(sock)[0]["own"]] if job.has_own and not job.serves else []
        framework.join(recorder, job)
        _begin(sock, job, framework)
        called = framework.explained(function) if job.dry else function
        value = recorder.run(called, me, *own)
        _send_value(sock, value, function)
    except BaseException as error:  # SystemExit too: a rank that leaves early is a failure
        _keep_traceback(job.files["traceback"], error)
        _send_error(sock, error, recorder)
        _stay(sock)
        os._exit(1)
    _stay(sock)
    _send_record(sock, me)
    os._exit(0)


def _keep_traceback(path, error):
    # Its files or its disk may be used up, which may be the error to report.
    with contextlib.suppress(OSError):
        with open(path, "w", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)


def _stay(sock):
    """Wait until the kernel lets this rank end, because its neighbours may still need it."""
    with contextlib.suppress(OSError):
        sock.recv(1)


def own_bytes() -> int:
    """Return the bytes of memory that only this process uses; 0 if unknown.

    This is not PSS, which falls when more ranks share the framework's pages: a rank would seem to
    need less memory because it has more neighbours.
    """
    try:
        with open("/proc/self/smaps_rollup") as file:
            private = [line for line in file if line.startswith("Private_")]
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in private)


def _take_place(job, framework):
    os.setsid()
    end_with_parent(job.parent)
    log = os.open(job.files["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    take_away_the_keyboard()
    stacks = open(job.files["stack"], "w")
    faulthandler.register(signal.SIGUSR1, stacks, all_threads=False)
    faulthandler.enable(stacks, all_threads=False)
    _take_environment(job)
    tempfile.tempdir = None  # discard the zygote's choice; the rank's is in its environment
    os.chdir(job.cwd)
    sys.path[:] = job.path
    _share_cores(job.threads, framework)
    _show_sources(job.sources)
    _forget_random_state(framework)
    definitions.become_main(job.payload)
    return Recorder(job.files["board"])


def _take_environment(job):
    """Set the variables that have changed since the zygote began, then the rank's own variables."""
    for name, value in job.changed_env.items():
        if value is None:
            os.environb.pop(name, None)
        else:
            os.environb[name] = value
    os.environ.update(job.env)


def _forget_random_state(framework: Framework):
    """Make unseeded random numbers differ between ranks and runs, as in newly started processes.

    A fork inherits the state of NumPy and of the framework. Python seeds `random` in every fork.
    """
    import numpy as np

    np.random.seed()
    framework.forget_random_state()


def _share_cores(threads, framework: Framework):
    import threadpoolctl

    threadpoolctl.threadpool_limits(threads)
    framework.limit_threads(threads)


def _show_sources(sources):
    """Store the notebook's cells, which are in no file, for AutoGraph and tracebacks."""
    import linecache

    learners_code.know_cells({filename: cell for filename, (_, cell) in sources.items()})
    for filename, (text, _) in sources.items():
        linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)


def _begin(sock, job, framework):
    """Report that the rank's work begins; if there are servers, wait until all have started.

    If a server does not start, the run can then be tried again, because no function has begun.
    """
    if job.serves:
        server = framework.server()
        wire.send(sock, messages.Begun())
        server.join()
    if job.has_servers:
        sock.recv(1)
    wire.send(sock, messages.Begun())


def _send_value(sock, value, function):
    try:
        wire.send(sock, messages.Value(value))
    except wire.CannotTravel as error:
        raise rank_errors.ResultCannotTravel(error, function) from None


def _send_error(sock, error, recorder):
    text = (
        str(error).encode("utf-8", "backslashreplace").decode()
    )  # half a surrogate pair cannot be sent
    own = isinstance(error, rank_errors.ResultCannotTravel) and error.frames
    failed = messages.Failed(
        cause=rank_errors.cause_of(error),
        type=type(error).__name__[: messages.LONGEST_NAME],
        text=_ends(text),
        frames=own or rank_errors.learners_frames(error)[-messages.MOST_FRAMES :],
        echo=rank_errors.is_echo(error, recorder.state == "waiting"),
        at_s=time.monotonic(),
    )
    with contextlib.suppress(OSError):  # the kernel has ended, so nobody can be told
        wire.send(sock, failed)


def _ends(text):
    """Return the text, without its middle if it is long."""
    half = messages.LONGEST_TEXT // 2
    return text if len(text) <= 2 * half else f"{text[:half]}\n...\n{text[-half:]}"


def _send_record(sock, me):
    used = resource.getrusage(resource.RUSAGE_SELF)
    me._peak_bytes = max(me._peak_bytes, own_bytes())
    record = messages.Record(
        rows=list(me._recorder.rows),  # a copy: a message may still end while this is packed
        logged=me._logged,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_bytes=me._peak_bytes,
        live_bytes=me._live_bytes,
        clock_reads=clock_warnings.reads(),
        uncosted=me._recorder.uncosted,
    )
    wire.send(sock, record)
