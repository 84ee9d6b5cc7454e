"""What the kernel tells each rank before it starts: the job that `rank.live` carries out."""

from __future__ import annotations

import linecache
import sys
from typing import NamedTuple

from lablib.cluster.engine import Work
from lablib.cluster.spec import Seat, Spec, threads_per_rank
from lablib.computer.facts import cores, gpus
from lablib.record import learners_code

_BEYOND_TIMEOUT_S = 60  # the framework's own limit: ours must speak first


class Place(NamedTuple):
    """Where a rank finds what it works with.

    payload        path of the file with the function
    temporary      the folder for temporary files; TensorFlow leaves a file for every function
    files          by kind ("log", "board", "stack", "traceback"), the paths of the rank's files
    cwd, path      its current folder and its `sys.path`
    sources        text and name of the notebook's cells, by file name
    changed_env    what has changed in the environment since the zygote began
    """

    payload: str
    temporary: str
    files: dict[str, str]
    cwd: str
    path: list[str]
    sources: dict[str, list[str]]
    changed_env: dict[bytes, bytes | None]


def rank_job(
    spec: Spec, seat: Seat, work: Work, ports: list[int], has_own: bool, place: Place
) -> dict:
    """Return the job of the rank in this seat.

    has_own   after its start the rank receives data that only it gets
    """
    threads = spec.threads or threads_per_rank(cores(), spec.ranks)
    device = "cpu" if spec.device == "cpu" else f"cuda:{seat.rank % max(1, len(gpus()))}"
    return place._asdict() | {
        "has_own": has_own,
        "has_servers": len(spec.called) < spec.ranks,
        "threads": threads,
        "modelled": work.hardware is not None,
        "counts": work.hardware is not None and not work.hardware.device.is_host,
        "timeout_s": work.timeout_s + _BEYOND_TIMEOUT_S,
        "tasks": [[s.role, s.index, s.rank] for s in spec.seats if s.role != "evaluator"],
        "env": _environment(spec, seat, ports, threads, place.temporary),
        "port": ports[seat.rank],
        "serves": spec.serves(seat),
        "seat": {
            "rank": seat.rank, "ranks": spec.ranks, "node": seat.node, "role": seat.role,
            "device": device, "framework": spec.framework,
        },
    }  # fmt: skip


def cells() -> dict[str, list[str]]:
    """Return text and name of notebook cells that ran; no file that a rank could read has them."""
    return {
        name: ["".join(entry[2]), learners_code.cell_name(name)]
        for name, entry in list(linecache.cache.items())
        if len(entry) == 4 and entry[1] is None and "ipykernel" in name
    }


def _environment(spec, seat, ports, threads, temporary):
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    env = spec.environment(seat, ports) | {
        "TMPDIR": temporary,
        "OMP_NUM_THREADS": str(threads),
        "GLOO_SOCKET_IFNAME": loopback,
        "TP_SOCKET_IFNAME": loopback,  # torch's rpc
    }
    return env | ({"CUDA_VISIBLE_DEVICES": ""} if spec.device == "cpu" else {})
