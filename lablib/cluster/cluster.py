"""`Cluster`: real processes on this computer that run a function together."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Callable, Sequence

from lablib.cluster import definitions, devices, failures
from lablib.cluster.engine import Work, messages
from lablib.cluster.failures import Failure, Fate, Hang, RankFailed
from lablib.cluster.local import launch
from lablib.cluster.local.local_ranks import LocalRanks
from lablib.cluster.run import Run
from lablib.cluster.script import script
from lablib.cluster.spec import Spec
from lablib.cluster.supervise import supervise
from lablib.errors import LabError
from lablib.hardware import catalog
from lablib.hardware.hardware import Hardware
from lablib.progress_bars import WaitingBar
from lablib.record.learners_code import place

_SILENT = messages.Record([], [], 0.0, 0, [], [])  # the record of a rank that serves
_TRIES = 3
_LARGEST_LOG_BYTES = 1 << 20


class Interrupted(KeyboardInterrupt):
    """The learner stopped the cell, so no traceback of the kit is shown."""

    def _render_traceback_(self):
        return [f"KeyboardInterrupt: {self}"]


class Cluster:
    """`ranks` processes on this computer, fresh for every `run`.

    ranks       the number of ranks; default: 2, or the sum of `roles`
    nodes       the number of nodes over which the ranks are spread, in order: Cluster(4, nodes=2)
                has ranks 0 and 1 on node 0. On one computer a node is only a name, and in
                TensorFlow an address
    framework   "torch" (the process group is ready when the function starts) or "tensorflow"
                (TF_CONFIG is set)
    roles       the number of ranks in each role: {"chief": 1, "worker": 2, "ps": 1, "evaluator": 1}
    device      where the ranks compute: "cpu" or, in torch, "cuda". Then each rank has a GPU of its
                own, and messages go over nccl. If there are fewer GPUs than ranks, they share them,
                and messages go over gloo. This was written without a GPU and not tried on one
    hardware    a machine to model: a name in `lab.hardware.names()`, a TOML file, or a
                lab.Hardware. The ranks compute the same results on this computer, but times are
                calculated for that machine and called modelled. The ranks fill its nodes in order
    dry         True: the ranks compute the shapes of tensors instead of values, so a model needs
                neither memory nor time for its numbers. It needs `hardware`, and torch. Messages
                are recorded but carry no data. A dry run shows times, memory and messages; it does
                not show whether the numbers would be right. Code that needs a value, such as
                `if loss < 1`, raises LabError; the result of `loss.item()` may be added up,
                printed and returned, and is NaN in the notebook. On a rank, `me.dry` is True
    threads     the number of threads of every pool in each rank; default: cores / ranks, at least 1
    timeout_s   a run that takes longer is stopped; the error says which ranks wait for which
    echo        print the ranks' output while they run, as "[rank 2] ..."

    Raises LabError before any process starts if the arguments are not valid.

    >>> Cluster(0)
    Traceback (most recent call last):
    lablib.errors.LabError: ranks must be a whole number, at least 1.
      saw: ranks=0
      do:  write, for example, lab.Cluster(4)
    """

    def __init__(
        self,
        ranks: int | None = None,
        *,
        nodes: int | None = None,
        framework: str = "torch",
        roles: dict[str, int] | None = None,
        device: str = "cpu",
        hardware: str | os.PathLike | Hardware | None = None,
        dry: bool = False,
        threads: int | None = None,
        timeout_s: float = 120,
        echo: bool = False,
    ):
        self.hardware = None if hardware is None else catalog.get(hardware)
        devices.check(device, self.hardware)
        self.spec = Spec.of(
            ranks, nodes=nodes, per_node=self.hardware and self.hardware.per_node, roles=roles,
            framework=framework, device=device, threads=threads,
        )  # fmt: skip
        devices.check_framework(device, framework)
        devices.check_dry(dry, self.hardware, framework)
        self.dry = dry
        self.timeout_s, self.echo = _seconds(timeout_s), echo
        if self.hardware:
            _check_hardware(self.hardware, self.spec)
        self.closed = False
        self._ranks: LocalRanks | None = None  # of the last run
        self._fates: list[Fate] = []
        launch.zygote(framework)  # the zygote imports the framework while the learner reads on

    def run(
        self, function: Callable, *, own: list | None = None, watch: Callable | None = None
    ) -> Run:
        """Run `function(me)` once on every rank; `me` is a `Rank`.

        With roles it runs on the chief, the workers and the evaluators; with a chief and
        parameter servers it runs on the chief (and the evaluators), and the others serve.
        Temporary files that a rank makes end with the run.

        The notebook's functions and classes that it uses are in `__main__` on the ranks, too.
        `globals()["NAME"]` finds NAME there if this text is in the function, but not if the text
        is composed while the function runs.

        Unseeded random numbers differ between ranks and between runs. A generator that was made in
        the notebook is copied to every rank, so it gives the same numbers on all ranks; a note
        says so. The ranks have the
        notebook's `os.environ` of now, and over it the names that a launcher sets (RANK, TF_CONFIG,
        OMP_NUM_THREADS, ...). Names that the framework reads when it is imported, such as
        TF_CPP_MIN_LOG_LEVEL, have an effect only if they are set before the first cluster.

        own     by rank, plain data that only this rank gets, as a second argument
        watch   an observer that is called often with the ranks' current state, and closed at the
                end; by default, a clock is shown if the run takes more than a second

        Raises RankFailed if a rank raises or dies, and ClusterHangs if the ranks cannot continue.
        """
        if self.closed:
            raise LabError("This cluster is closed.", saw=repr(self), do="make a new lab.Cluster")
        if own is not None and len(own) != self.spec.ranks:
            raise LabError(
                "`own` must have one entry for each rank.",
                saw=f"{len(own)} entries for {self.spec.ranks} ranks",
                do="give a list with one entry for each rank, in order",
            )
        work = Work(
            definitions.payload(function), self.hardware, self.timeout_s, self.echo, self.dry
        )
        for tries_left in reversed(range(_TRIES)):
            shown = watch or WaitingBar(f"{self.spec.ranks} ranks at work")
            try:
                return self._run(work, own, shown)
            except KeyboardInterrupt:
                raise Interrupted("the ranks were stopped; the cluster can run again") from None
            except RankFailed as error:
                # Another program may have taken the port of a server; the next try has new ports.
                begun = any(self._fates[rank].begun for rank in self.spec.called)
                if not tries_left or begun or error.cause != messages.SERVER:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def run_script(
        self,
        path: str | os.PathLike,
        arguments: Sequence[str] = (),
        *,
        module: bool = False,
        watch: Callable | None = None,
    ) -> Run:
        """Run a program that was written for `torchrun` or TF_CONFIG, unchanged, on every rank.

        The program runs as `__main__`, in the current folder, with the environment variables of
        torchrun (https://docs.pytorch.org/docs/stable/elastic/run.html) or TF_CONFIG. Leaving with
        `sys.exit(0)` counts as returning. `run.values` are all None.

        path        the program's file; with `module=True` a dotted name, as after `python -m`
        arguments   the rest of `sys.argv`
        watch       as in `run`

        Raises LabError if the program cannot be read, and RankFailed and ClusterHangs as `run`
        does.
        """
        return self.run(script(path, arguments, module), watch=watch)

    def close(self) -> None:
        """End all processes of the cluster. A second call does nothing."""
        self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def states(self) -> list[dict]:
        """Return a row for each rank: rank, role, pid (of the last run), node, state."""
        pids = self._ranks.pids if self._ranks else {}
        return [
            dict(rank=seat.rank, role=seat.role, pid=pids.get(seat.rank), node=seat.node,
                 state=self._state(seat.rank))
            for seat in self.spec.seats
        ]  # fmt: skip

    def _state(self, rank):
        if self.closed or not self._fates:
            return "closed" if self.closed else "ready"
        fate = self._fates[rank]
        if fate.failed:
            return "failed"
        return "returned" if fate.returned else "ended"

    def _run(self, work, own, watch):
        self._fates = [Fate(seat.rank) for seat in self.spec.seats]
        try:
            ranks = self._ranks = launch.zygote(self.spec.framework).start(self.spec, work, own)
        except BaseException:
            watch.close()
            raise
        try:
            returned = supervise(ranks, self.spec, self._fates, self.timeout_s, watch)
            return self._come_back(ranks, returned)
        except Failure as failure:
            raise failures.rank_failed(failure, self._logs(ranks), ranks.keep_logs()) from None
        except Hang as hang:
            raise failures.cluster_hangs(hang, ranks.keep_logs()) from None
        finally:
            ranks.forget()

    def _come_back(self, ranks, returned):
        numbers = range(self.spec.ranks)
        values = [returned.values.get(rank) for rank in numbers]
        records = [returned.records.get(rank, _SILENT) for rank in numbers]
        _note_clocks(records)
        return Run(self.spec, values, self._logs(ranks), records, self.hardware, dry=self.dry)

    def _logs(self, ranks):
        return [ranks.log(rank, _LARGEST_LOG_BYTES) for rank in range(self.spec.ranks)]

    def __repr__(self):
        nodes = f" on {self.spec.nodes} nodes" if self.spec.nodes > 1 else ""
        state = "closed" if self.closed else "open"
        modelled = f", modelled as {self.hardware.name}" if self.hardware else ""
        modelled += ", dry" if self.dry else ""
        return (
            f"<Cluster of {self.spec.ranks} ranks{nodes}, {self.spec.framework}{modelled}, {state}>"
        )

    def _repr_html_(self):
        head = "".join(f"<th>{name}</th>" for name in self.states[0])
        rows = "".join(
            "<tr>" + "".join(f"<td>{_shown(value)}</td>" for value in row.values()) + "</tr>"
            for row in self.states
        )
        title = html.escape(repr(self).strip("<>"))
        return f"<table><caption>{title}</caption><tr>{head}</tr>{rows}</table>"


def _note_clocks(records):
    """Warn once if ranks read this computer's clock instead of the modelled machine's."""
    read = next((read for record in records for read in record.clock_reads), None)
    if read:
        clock, filename, line = read
        print(
            f"Note: {clock} ({place(f'{filename}:{line}')}) reads this computer's clock, not "
            "the clock of the modelled hardware. Modelled times are in run.trace and run.metrics."
        )


def _shown(value):
    return "–" if value is None else html.escape(str(value))


def _seconds(timeout_s):
    valid = isinstance(timeout_s, (int, float)) and not isinstance(timeout_s, bool)
    if not valid or not math.isfinite(timeout_s) or timeout_s <= 0:
        raise LabError(
            "timeout_s must be a positive number of seconds.",
            saw=f"timeout_s={timeout_s!r}",
            do="write, for example, timeout_s=60",
        )
    return float(timeout_s)


def _check_hardware(hardware, spec):
    hardware.check_ranks(spec.ranks)
    if any(seat.role == "ps" for seat in spec.seats):
        raise LabError(
            "Parameter servers cannot be modelled.",
            saw=f"roles with 'ps' on {hardware.name}: TensorFlow sends their variables and "
            "gradients in a way that cannot be recorded",
            do="omit hardware, so that the run is measured on this computer",
        )
