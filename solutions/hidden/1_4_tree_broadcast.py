"""1.4, hidden from learners: other cases, other right answers, wrong answers."""

import torch.distributed as dist

from lablib.teach.exercise import find

case_of = find("1.4").module.case_of


def cases(seed):
    return [case_of(seed, ranks=4, numbers=11), case_of(seed + 1, ranks=7, numbers=40)]


def those_who_have_it_double(x, rank, ranks):
    have = 1
    while have < ranks:
        if rank < have and rank + have < ranks:
            dist.send(x, rank + have)
        elif have <= rank < 2 * have:
            dist.recv(x, rank - have)
        have *= 2


def far_ranks_first(x, rank, ranks):
    distance = 1 << (ranks - 1).bit_length()
    x = x.clone()
    while distance > 1:
        half = distance // 2
        if rank % distance == 0 and rank + half < ranks:
            dist.isend(x, rank + half).wait()
        elif rank % distance == half:
            dist.irecv(x, rank - half).wait()
        distance = half
    return x


def rank_0_tells_everybody(x, rank, ranks):
    if rank:
        dist.recv(x, 0)
    else:
        for other in range(1, ranks):
            dist.send(x, other)


def a_chain(x, rank, ranks):
    if rank:
        dist.recv(x, rank - 1)
    if rank + 1 < ranks:
        dist.send(x, rank + 1)


def calls_broadcast(x, rank, ranks):
    dist.broadcast(x, 0)


def broadcast_with_messages_for_show(x, rank, ranks):
    dist.broadcast(x, 0)
    those_who_have_it_double(x.clone(), rank, ranks)


def forgets_the_odd_ranks(x, rank, ranks):
    """Is right for powers of two. Otherwise the ranks above the largest power get nothing."""
    those_who_have_it_double(x, rank, 1 << (ranks.bit_length() - 1))


def tells_some_twice(x, rank, ranks):
    those_who_have_it_double(x, rank, ranks)
    those_who_have_it_double(x, rank, ranks)


RIGHT = [those_who_have_it_double, far_ranks_first]
WRONG = {
    "rank 0 sends to one after the other": rank_0_tells_everybody,
    "a chain": a_chain,
    "calls broadcast": calls_broadcast,
    "calls broadcast, and sends messages for show": broadcast_with_messages_for_show,
    "only for powers of two": forgets_the_odd_ranks,
    "sends everything twice": tells_some_twice,
    "leaves x as it is": lambda x, rank, ranks: None,
}
