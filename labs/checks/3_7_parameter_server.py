"""3.7 Write an asynchronous parameter server whose workers may run ahead, but not too far.

Every push of a worker changes one number at a position that no other push uses, by a value that
only that worker knows. So the weights that a worker gets back show which pushes they contain, and
the final weights of the server show whether all pushes were applied. The slow workers push only
after a message from the fast worker that it is as far ahead as the bound allows. A server that
waits for all workers in each round never gets there.
"""

import numpy as np

from lablib.teach.claims import Claim, equal
from lablib.teach.exercise import Case

ANSWERS = ("serve(weights, workers, pushes, bound, lr)",)
TITLE = "A parameter server"
POINTS = 5

_SUM = (
    "How many pushes are there in all? Do you apply each of them once, in place?",
    "Receive len(workers) * pushes times: source = dist.recv(gradient); weights -= lr * gradient.",
)
_FRESH = ("The weights that you send back to a worker must already contain its own push.",)
_BOUND = (
    "Count each worker's pushes. How far is each worker ahead of the slowest one?",
    "Delay the answer to a worker that is more than `bound` pushes ahead of the slowest. After "
    "each push look at all waiting workers: which of them may get their answers now?",
)


def cases(seed):
    return [
        case_of(seed, workers=2, pushes=4, bound=1),
        case_of(seed + 1, workers=3, pushes=4, bound=2),
    ]


def case_of(seed, workers, pushes, bound):
    rng = np.random.default_rng(seed)
    size = workers * pushes
    own = tuple({"numbers": rng.uniform(1, 2, pushes).astype(np.float32)} for _ in range(workers))
    shared = {"pushes": pushes, "bound": bound, "lr": 0.5, "size": size}
    start = {"numbers": np.zeros(0, np.float32)}
    name = f"{workers} workers push {pushes} times, at most {bound} ahead"
    return Case(name, shared=shared, own=(start, *own), ranks=workers + 1, relay=True,
                timeout_s=10)  # fmt: skip


def observe(me, answer, given):
    import torch

    if me.rank > 0:
        return push(me, given)
    weights = torch.zeros(given.size)
    answer(weights, list(range(1, me.ranks)), given.pushes, given.bound, given.lr)
    return weights.numpy()


def push(me, given):
    """Push gradients as a worker and return the weights received after each push, [pushes, size].

    Worker 1 is the fast one.
    """
    import torch
    import torch.distributed as dist

    word, told, under_way = torch.zeros(1), [], []
    slow = range(2, me.ranks)
    for number in range(given.pushes):
        if me.rank in slow:
            dist.recv(word, 1, tag=1)
        gradient, weights = torch.zeros(given.size), torch.empty(given.size)
        gradient[(me.rank - 1) * given.pushes + number] = float(given.numbers[number])
        dist.send(gradient, 0)
        if me.rank == 1:
            for other in words(number, given) * [*slow]:
                under_way.append(dist.isend(word, other, tag=1))
        dist.recv(weights, 0)
        told.append(weights.numpy())
    for work in under_way:
        work.wait()
    return told


def words(number, given):
    """Return how many messages the fast worker sends to each slow worker with this push.

    It sends one message with each push from number `bound` on, and all remaining ones with the last
    push.
    """
    left = given.pushes - max(0, number - given.bound)
    return left if number == given.pushes - 1 else int(number >= given.bound)


def judge(case, seen):
    given, workers = case.shared, case.ranks - 1
    numbers = np.concatenate([own["numbers"] for own in case.own])
    yield equal("every push is applied to the weights once", -given["lr"] * numbers, seen.values[0],
                weight=2, hints=_SUM)  # fmt: skip
    # [workers, pushes, workers]: how many pushes of each worker the answer to a push contains
    there = np.array([np.array(seen.values[rank]) != 0 for rank in range(1, case.ranks)])
    there = there.reshape(workers, given["pushes"], workers, given["pushes"]).sum(3)
    for text, holds, hints in (
        ("the weights that a worker gets back contain its own push", own_pushes, _FRESH),
        (
            f"no worker gets an answer while more than {given['bound']} ahead of the slowest",
            within,
            _BOUND,
        ),
    ):
        rank, number = next(
            ((rank, number) for rank in range(workers) for number in range(given["pushes"])
             if not holds(there[rank, number], rank, number + 1, given["bound"])),
            (None, None),
        )  # fmt: skip
        saw = (
            ""
            if rank is None
            else (
                f"after push {number + 1} of worker {rank + 1}, pushes of workers 1 to {workers} "
                f"in its answer: {there[rank, number].tolist()}"
            )
        )
        # Workers never call the answer, so none of the learner's code runs on them.
        yield Claim(text, rank is None, saw=saw, hints=hints)


def own_pushes(counts, rank, pushed, bound):
    return counts[rank] == pushed


def within(counts, rank, pushed, bound):
    return pushed - counts.min() <= bound
