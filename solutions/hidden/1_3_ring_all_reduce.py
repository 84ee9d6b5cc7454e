"""1.3, hidden from learners: other cases, other right answers, wrong answers."""

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of = find("1.3").module.case_of


def cases(seed):
    return [case_of(seed, ranks=2, numbers=10), case_of(seed + 1, ranks=5, numbers=60)]


def ring_with_isend(x, rank, ranks):
    chunks, nxt, before = list(x.chunk(ranks)), (rank + 1) % ranks, (rank - 1) % ranks
    for adds in (True, False):
        for hop in range(ranks - 1):
            out = (rank - hop + (0 if adds else 1)) % ranks
            got = torch.empty_like(chunks[0])
            work = dist.isend(chunks[out].clone(), nxt)
            dist.recv(got, before)
            work.wait()
            into = chunks[(out - 1) % ranks]
            into.copy_(into + got if adds else got)


def ring_even_ranks_send_first(x, rank, ranks):
    x = x.clone().view(ranks, -1)

    def swap(out):
        got, mine = torch.empty(x.shape[1]), x[out].clone()
        calls = [
            lambda: dist.send(mine, (rank + 1) % ranks),
            lambda: dist.recv(got, rank - 1 if rank else ranks - 1),
        ]
        for call in calls if rank % 2 == 0 else calls[::-1]:
            call()
        return got

    for hop in range(ranks - 1):
        x[(rank - hop - 1) % ranks] += swap((rank - hop) % ranks)
    for hop in range(ranks - 1):
        x[(rank - hop) % ranks] = swap((rank + 1 - hop) % ranks)
    return x.flatten()


def the_other_way_around(x, rank, ranks):
    """Passes the chunk of each hop to the rank before it."""
    chunks = x.reshape(ranks, -1)
    for turn in range(2 * (ranks - 1)):
        out, into = (rank + turn) % ranks, (rank + turn + 1) % ranks
        got = torch.empty_like(chunks[0])
        sending = dist.isend(chunks[out].clone(), (rank - 1) % ranks)
        dist.recv(got, (rank + 1) % ranks)
        sending.wait()
        chunks[into] = chunks[into] + got if turn < ranks - 1 else got
    return x


def calls_all_reduce(x, rank, ranks):
    dist.all_reduce(x)


def all_reduce_with_messages_for_show(x, rank, ranks):
    ring_with_isend(x.clone(), rank, ranks)
    dist.all_reduce(x)


def rank_0_adds_up(x, rank, ranks):
    """Sends the right number of messages, but all of them from or to one rank."""
    if rank:
        dist.send(x, 0)
        dist.recv(x, 0)
        return
    got = torch.empty_like(x)
    for other in range(1, ranks):
        dist.recv(got, other)
        x += got
    for other in range(1, ranks):
        dist.send(x, other)


def everybody_to_everybody(x, rank, ranks):
    works = [dist.isend(x.clone(), other) for other in range(ranks) if other != rank]
    total = x.clone()
    for other in range(ranks):
        if other != rank:
            got = torch.empty_like(x)
            dist.recv(got, other)
            total += got
    for work in works:
        work.wait()
    return total


def only_first_round(x, rank, ranks):
    chunks, nxt, before = list(x.chunk(ranks)), (rank + 1) % ranks, (rank - 1) % ranks
    for hop in range(ranks - 1):
        got = torch.empty_like(chunks[0])
        work = dist.isend(chunks[(rank - hop) % ranks].clone(), nxt)
        dist.recv(got, before)
        work.wait()
        chunks[(rank - hop - 1) % ranks] += got


def whole_tensor_around(x, rank, ranks):
    mine, total = x.clone(), x.clone()
    for _ in range(ranks - 1):
        got = torch.empty_like(mine)
        work = dist.isend(mine, (rank + 1) % ranks)
        dist.recv(got, (rank - 1) % ranks)
        work.wait()
        total += got
        mine = got
    return total


RIGHT = [ring_with_isend, ring_even_ranks_send_first, the_other_way_around]
WRONG = {
    "calls all_reduce": calls_all_reduce,
    "calls all_reduce, and sends messages for show": all_reduce_with_messages_for_show,
    "rank 0 adds up for all": rank_0_adds_up,
    "everybody sends everything to everybody": everybody_to_everybody,
    "stops after the first round": only_first_round,
    "sends the whole tensor around": whole_tensor_around,
    "leaves x as it is": lambda x, rank, ranks: x,
}
