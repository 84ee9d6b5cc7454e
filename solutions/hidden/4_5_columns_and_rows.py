"""4.5, hidden from learners: other cases, other right answers, wrong answers."""

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of, large = find("4.5").module.case_of, find("4.5").module.large


def cases(seed):
    odd = dict(samples=7, width=3, hidden=2, out=5)
    return [case_of(seed, ranks=3, **odd), large(seed + 1, ranks=2)]


def f_and_g(x, a, b):
    """The functions f and g of Megatron-LM: each does backward what the other does forward."""

    class F(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x.view_as(x)

        @staticmethod
        def backward(context, gradient):
            gradient = gradient.contiguous()
            dist.all_reduce(gradient)
            return gradient

    class G(torch.autograd.Function):
        @staticmethod
        def forward(context, part):
            part = part.clone()
            dist.all_reduce(part)
            return part

        @staticmethod
        def backward(context, gradient):
            return gradient

    return G.apply(torch.tanh(F.apply(x) @ a) @ b)


def hook_and_detached_sum(x, a, b):
    """Needs no autograd functions: a hook sums backward, a constant corrects the sum forward."""

    def added_up(gradient):
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient

    seen_by_all = x.view_as(x)
    seen_by_all.register_hook(added_up)
    part = torch.tanh(seen_by_all @ a) @ b
    total = part.detach().clone()
    dist.all_reduce(total)
    return part + (total - part.detach())


def no_communication(x, a, b):
    return torch.tanh(x @ a) @ b


def forward_only(x, a, b):
    part = torch.tanh(x @ a) @ b
    total = part.detach().clone()
    dist.all_reduce(total)
    return part + (total - part.detach())


def the_ready_made_all_reduce(x, a, b):
    """Sums backward, too, so that every gradient counts once for each rank."""
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(torch.tanh(x @ a) @ b)


def averages(x, a, b):
    return f_and_g(x, a, b) / dist.get_world_size()


def gathers_the_weights(x, a, b):
    """Finds the right numbers with whole layers on every rank, so without tensor parallelism."""
    from torch.distributed.nn.functional import all_gather

    ranks, rank = dist.get_world_size(), dist.get_rank()
    parts = [torch.stack(all_gather(part.contiguous())) for part in (a, b)]
    whole_a = torch.cat(list(parts[0]), 1)
    whole_b = torch.cat(list(parts[1]), 0)

    class MineAlone(torch.autograd.Function):
        """Divide the gradient by the ranks: all_gather sums the equal gradients of all ranks."""

        @staticmethod
        def forward(context, weight):
            return weight.view_as(weight)

        @staticmethod
        def backward(context, gradient):
            return gradient / ranks

    assert rank < ranks
    return torch.tanh(x @ MineAlone.apply(whole_a)) @ MineAlone.apply(whole_b)


def gathers_between_the_layers(x, a, b):
    """Finds the right outputs, but sends the hidden layer, too."""
    hidden = torch.tanh(x @ a)
    parts = [torch.empty_like(hidden) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, hidden.detach())
    return f_and_g(x, a, b)


RIGHT = [f_and_g, hook_and_detached_sum]
WRONG = {
    "no communication": no_communication,
    "sums forward only": forward_only,
    "the ready-made all_reduce": the_ready_made_all_reduce,
    "a mean instead of a sum": averages,
    "all weights on every rank": gathers_the_weights,
    "gathers between the layers": gathers_between_the_layers,
}
