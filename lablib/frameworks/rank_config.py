"""The part of a rank's job that its framework needs."""

from __future__ import annotations

import msgspec


class RankConfig(msgspec.Struct, kw_only=True):
    """The information that a rank needs to join the other ranks.

    device         "cpu" or "cuda:0"
    threads        number of threads in each of the framework's pools
    timeout_s      seconds after which the framework gives up a message
    port           the port where the ranks meet, or on which this rank's server listens
    counts         True: record FLOPs and bytes of the rank's operations, and count the bytes of its
                   tensors; False: record only seconds
    modelled       True: the run is simulated on modelled hardware, so refuse what cannot be
                   modelled
    dry            True: compute the shapes of tensors, but no values
    tasks          (role, index within the role, rank) of all ranks that take part in messages
    listening      descriptor of the socket that already listens on `port`; rank 0 only
    relay          descriptor of the connection to the relay, if the ranks have no common network
    """

    rank: int
    ranks: int
    device: str
    threads: int
    timeout_s: float
    port: int
    counts: bool = False
    modelled: bool = False
    dry: bool = False
    tasks: list[tuple[str, int, int]] = []
    listening: int | None = None
    relay: int | None = None

    @property
    def rank_of_task(self) -> dict[tuple[str, int], int]:
        """Return the rank of each (role, index)."""
        return {(role, index): rank for role, index, rank in self.tasks}
