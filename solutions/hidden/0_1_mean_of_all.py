"""0.1, hidden from learners: other cases, other right answers, wrong answers."""

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of = find("0.1").module.case_of


def cases(seed):
    return [case_of(seed, [7, 1, 30]), case_of(seed + 1, [500, 2, 2, 2])]


def sum_and_count(mine):
    both = torch.tensor([mine.sum(), len(mine)])
    dist.all_reduce(both)
    return both[0] / both[1]


def weighted_by_the_share(mine):
    count = torch.tensor(float(len(mine)))
    dist.all_reduce(count)
    part = mine.mean() * len(mine) / count
    dist.all_reduce(part)
    return part.item()


def mean_of_the_means(mine):
    mean = mine.mean()
    dist.all_reduce(mean)
    return mean / dist.get_world_size()


def sum_of_all(mine):
    total = mine.sum()
    dist.all_reduce(total)
    return total


def only_its_own(mine):
    return mine.mean()


def everybody_gets_everything(mine):
    parts = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine.tolist())
    return torch.tensor(sum(parts, [])).mean()


def rank_0_is_sent_everything(mine):
    """Sends to rank 0, because sends are not counted as collectives."""
    ranks, mean = dist.get_world_size(), torch.zeros(1)
    if dist.get_rank() == 0:
        parts = [mine]
        for other in range(1, ranks):
            count = torch.zeros(1)
            dist.recv(count, other)
            parts.append(torch.empty(int(count)))
            dist.recv(parts[-1], other)
        mean += torch.cat(parts).mean()
    else:
        dist.send(torch.tensor([float(len(mine))]), 0)
        dist.send(mine, 0)
    dist.broadcast(mean, 0)
    return mean


def only_rank_0_divides(mine):
    both = torch.tensor([mine.sum(), len(mine)])
    dist.reduce(both, dst=0)
    return both[0] / both[1]


RIGHT = [sum_and_count, weighted_by_the_share]
WRONG = {
    "the mean of the means": mean_of_the_means,
    "the sum": sum_of_all,
    "only its own numbers": only_its_own,
    "everybody gets everything": everybody_gets_everything,
    "rank 0 is sent everything": rank_0_is_sent_everything,
    "only rank 0 knows": only_rank_0_divides,
}
