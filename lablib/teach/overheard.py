"""Messages between hospitals that a curious server reads, for exercises on privacy.

Hospitals are ranks 0, 1, ...; the last rank is the server. The server never calls the learner's
function, so what it heard is what the hospitals really sent.
"""

from __future__ import annotations

import numpy as np

_FINISHED = -1


class Exchange:
    """Rounds in which every rank sends at most one array to all others, as long as anyone does.

    most   the largest number of numbers in a message. All messages are padded to this length, so
           the number of bytes says nothing about what is sent

    A rank that calls `share` less often than the others makes nobody wait, if it then calls
    `listen`.
    """

    def __init__(self, most: int):
        self.most = most

    def share(self, numbers: np.ndarray) -> list[np.ndarray | None]:
        """Send numbers [n] to everybody; return each hospital's message, None where there is none.

        The numbers must be exact as float64. Raises ValueError for more than `most` numbers.
        """
        if len(numbers) > self.most:
            raise ValueError(f"a message may have at most {self.most} numbers, not {len(numbers)}")
        return self._round(len(numbers), numbers)[:-1]

    def listen(self) -> list[list[np.ndarray | None]]:
        """Send nothing more. Return the messages of each round until nobody sends any."""
        heard = []
        while True:
            now = self._round(_FINISHED, ())
            if all(message is None for message in now):
                return heard
            heard.append(now[:-1])

    def _round(self, count, numbers):
        import torch
        import torch.distributed as dist

        mine = torch.zeros(1 + self.most, dtype=torch.float64)
        mine[0] = count
        mine[1 : 1 + len(numbers)] = torch.from_numpy(np.array(numbers, np.float64))
        parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, mine)
        counts = [int(part[0]) for part in parts]
        return [
            None if count == _FINISHED else part[1 : 1 + count].numpy()
            for count, part in zip(counts, parts, strict=True)
        ]


def nothing_else(seen, ranks: int) -> bool:
    """Return whether all ranks sent the same messages as the server, so none beside the exchange.

    seen   a `Seen`. The claim that uses this has the evidence `seen.evidence`
    """
    sent = [[entry[1:] for entry in seen.put_in(rank)] for rank in range(ranks)]
    return all(mine == sent[-1] for mine in sent)
