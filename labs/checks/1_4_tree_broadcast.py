"""1.4 Build a broadcast as a tree: every rank that has the data passes it on, in log2 R rounds."""

import math

import numpy as np

from lablib.teach.claims import Claim, equal, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("tree_broadcast(x, rank, ranks)",)
TITLE = "Broadcast as a tree"
POINTS = 4

_VALUE = (
    "Which ranks have the data after one, two and three rounds? Draw it for 8 ranks, and for 5.",
    "A rank receives exactly once, before it sends; rank 0 never receives.",
)
_COUNT = (
    "Every rank except rank 0 must receive the data exactly once. How many messages is that?",
    "If R is not a power of two, some ranks have nobody to send to in the last round.",
)
_ROUNDS = (
    "In a round each rank that has the data can send it once. Is any of these ranks idle?",
    "In round k = 0, 1, 2 ... each of the 2^k ranks that have the data sends it to a new rank.",
)
_ALONE = ("Use only dist.send and dist.recv: here you build yourself what a collective does.",)


def cases(seed):
    return [case_of(seed, ranks=8), case_of(seed + 1, ranks=5)]


def case_of(seed, ranks, numbers=25):
    rng = np.random.default_rng(seed)
    own = tuple({"x": rng.normal(size=numbers).astype(np.float32)} for _ in range(ranks))
    return Case(f"{numbers} numbers to {ranks} ranks", own=own, ranks=ranks, relay=True)


def observe(me, answer, given):
    import torch

    x = torch.from_numpy(given.x)
    returned = answer(x, me.rank, me.ranks)
    return x if returned is None else returned


def judge(case, seen):
    x = case.own[0]["x"]
    yield equal_by_rank("every rank ends with what rank 0 had", [x] * case.ranks, seen.values,
                        weight=2, hints=_VALUE)  # fmt: skip
    used = {name for rank in range(case.ranks) for name, _ in seen.collectives(rank)}
    evidence = seen.evidence
    yield Claim("only sends and receives are used", not used, "send and recv",
                ", ".join(sorted(used)), hints=_ALONE, evidence=evidence)  # fmt: skip
    sizes = [nbytes for _, _, nbytes in seen.sent()]
    yield equal(f"{case.ranks - 1} messages of {x.nbytes} B are sent in all",
                [x.nbytes] * (case.ranks - 1), sizes, hints=_COUNT, evidence=evidence)  # fmt: skip
    due, rounds = math.ceil(math.log2(case.ranks)), rounds_until_all_know(seen, case.ranks)
    text = f"all ranks have the data after {due} rounds"
    yield Claim(text, rounds == due, f"{due} rounds", f"{rounds or 'never'}", hints=_ROUNDS,
                evidence=evidence)  # fmt: skip


def rounds_until_all_know(seen, ranks):
    """Return the number of rounds until all ranks have the data, or None if some never get it.

    It is assumed that a rank sends once a round, and only after it has received the data.
    """
    knows, told = {0: 0}, [0]
    for source in told:
        for number, (_, destination, _) in enumerate(seen.sent(source), start=1):
            if destination not in knows:
                knows[destination] = knows[source] + number
                told.append(destination)
    return max(knows.values()) if len(knows) == ranks else None
