"""Make the job that the kernel sends to each rank before it starts; `rank.live` carries it out."""

from __future__ import annotations

import linecache
import sys

from lablib.cluster.engine import Work
from lablib.cluster.engine.messages import RankJob
from lablib.cluster.spec import Seat, Spec, threads_per_rank
from lablib.computer.facts import cores, gpus
from lablib.record import learners_code

_BEYOND_TIMEOUT_S = 60  # the framework's own limit must be later than the kit's


def rank_job(
    spec: Spec, seat: Seat, work: Work, ports: list[int], *, temporary: str, **place
) -> RankJob:
    """Return the job of the rank in this seat.

    temporary   folder for temporary files; TensorFlow leaves one for every function it traces
    place       the other fields of `RankJob`: they depend on where the rank runs
    """
    threads = spec.threads or threads_per_rank(cores(), spec.ranks)
    device = "cpu" if spec.device == "cpu" else f"cuda:{seat.rank % max(1, len(gpus()))}"
    return RankJob(
        rank=seat.rank, ranks=spec.ranks, node=seat.node, role=seat.role, device=device,
        framework=spec.framework, serves=spec.serves(seat),
        has_servers=len(spec.called) < spec.ranks, threads=threads,
        modelled=work.hardware is not None,
        counts=work.hardware is not None and not work.hardware.device.is_host,
        dry=work.dry, timeout_s=work.timeout_s + _BEYOND_TIMEOUT_S, port=ports[seat.rank],
        env=_environment(spec, seat, ports, threads, temporary),
        tasks=[(s.role, s.index, s.rank) for s in spec.seats if s.role != "evaluator"],
        **place,
    )  # fmt: skip


def cells() -> dict[str, tuple[str, str]]:
    """Return {file name: (text, name)} of the cells that ran; these files do not exist."""
    return {
        name: ("".join(entry[2]), learners_code.cell_name(name))
        for name, entry in list(linecache.cache.items())
        if len(entry) == 4 and entry[1] is None and "ipykernel" in name
    }


def _environment(spec, seat, ports, threads, temporary):
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    env = spec.environment(seat, ports) | {
        "TMPDIR": temporary,
        "OMP_NUM_THREADS": str(threads),
        "GLOO_SOCKET_IFNAME": loopback,
        "TP_SOCKET_IFNAME": loopback,  # for torch's rpc
    }
    return env | ({"CUDA_VISIBLE_DEVICES": ""} if spec.device == "cpu" else {})
