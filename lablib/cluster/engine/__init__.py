"""The interface of an engine: it starts the processes of a run, reports on them, and ends them.

  KERNEL    the process of the notebook (`Cluster`) or the grader (`Box`): `supervise` runs here
    |  ^        ^  |                              ^
    |  |        |  |  own data,                   |  board: a file in memory
    |  |        |  |  "go on"                     |  log, stack: files, or pipes in the box
    |  | pids,  |  v                              |
    |  | deaths |  one socket for each rank       |
    |  |        +- Begun, Value, Failed, Record --+
    |  |                                          |
    |  |  jobs, ports,                            |
    v  |  signals, close         fork             |
  ZYGOTE ----------------------------------->  RANK 0 ... RANK n-1
    has imported the framework once;              ^        |
    ends processes that ranks leave behind        +--------+
                                                  messages of the framework, such as all_reduce

  Only in the box:
  KEEPER    forks a zygote for each run, in separate namespaces, watches the run's memory and
            processes from outside, ends them, and reports to the kernel what it has observed
  RELAY     a thread of the kernel's process: ranks without a network send all their messages
            through it, and it counts them

The local engine (`cluster/local`) and the box (`box`) implement `Engine` and `Ranks` side by side.
Code above the engine, such as `supervise`, uses only these two protocols. Everything that comes
from a rank may be forged, because the learner's code runs there: `messages` defines which messages
are accepted, and `wire` reads them without ever unpickling anything.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from lablib.cluster.engine.messages import Begun, Died, Failed, Record, Value
from lablib.cluster.spec import Spec
from lablib.hardware.hardware import Hardware
from lablib.record.board import Board

Event = Begun | Value | Failed | Record | Died


class Work(NamedTuple):
    """The work of all ranks of a run.

    payload    the function, pickled
    hardware   the machine that is modelled; None if times are measured
    dry        True: the ranks compute shapes, but no values
    timeout_s  after this time `supervise` ends the run
    echo       True: print the ranks' output while they run
    """

    payload: bytes
    hardware: Hardware | None
    timeout_s: float
    echo: bool = False
    dry: bool = False


class Engine(Protocol):
    """Starts the ranks of one run after the other."""

    def start(self, spec: Spec, work: Work, own: list | None) -> Ranks:
        """Start a process for each rank.

        own   by rank, data that only this rank receives; None if the function takes none

        If this raises an error, no process and no file of the run is left.
        """

    def close(self) -> None:
        """End the engine and everything that it has started. Calling it twice is harmless."""


class Ranks(Protocol):
    """The processes of one run, on this computer or elsewhere.

    pids   the process number of each rank, on the rank's own machine
    """

    pids: dict[int, int]

    def events(self, wait_s: float) -> list[tuple[int, Event]]:
        """Return what has happened, each event with its rank; wait at most `wait_s` for the first.

        `Died` is the last event of a rank. If a stream cannot have been written by the kit's code
        on a rank, it arrives as `Failed` with the cause FORGED.
        """

    def let_go(self, rank: int) -> None:
        """Let a waiting rank continue.

        A rank that waits for servers continues with its function; otherwise it sends its record and
        ends.
        """

    def boards(self) -> list[Board]:
        """Return what each rank is doing now."""

    def issued(self, rank: int, channel: str) -> float:
        """Return how many messages the rank has issued on the channel, by its board."""

    def stacks(self, within_s: float = 0.0) -> list[str]:
        """Return each rank's stack, as its fault handler wrote it; "" if it wrote nothing.

        within_s   ask the ranks first, and wait at most this long for their answers
        """

    def log(self, rank: int, most_bytes: int) -> str:
        """Return the end of what the rank has printed."""

    def close(self) -> dict:
        """End every process of the run. Calling it twice is harmless.

        Returns what was observed of them from outside; only the box observes anything.
        """

    def forget(self) -> None:
        """Remove the run's files, logs included."""
