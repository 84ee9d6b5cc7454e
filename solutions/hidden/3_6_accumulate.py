"""3.6, hidden from learners: other cases, other right answers, wrong answers."""

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of = find("3.6").module.case_of


def cases(seed):
    return [case_of(seed, ranks=2, micro_batches=2, samples=9, inputs=512, outputs=512),
            case_of(seed + 1, ranks=4, micro_batches=5, samples=6, inputs=4,
                    outputs=2)]  # fmt: skip


def average(model, ranks):
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad /= ranks


def weighted_losses(model, loss, x, y, micro_batches, ranks):
    for part, target in zip(x.chunk(micro_batches), y.chunk(micro_batches)):
        (loss(model(part), target) * len(part) / len(x)).backward()
    average(model, ranks)


def sums_of_gradients(model, loss, x, y, micro_batches, ranks):
    weights, size = list(model.parameters()), -(-len(x) // micro_batches)
    total = torch.zeros(sum(weight.numel() for weight in weights))
    for start in range(0, len(x), size):
        target = y[start : start + size]
        mean = loss(model(x[start : start + size]), target)
        found = torch.autograd.grad(mean, weights, torch.tensor(float(len(target))))
        total += torch.cat([gradient.flatten() for gradient in found])
    dist.all_reduce(total)
    for weight, gradient in zip(weights, total.split([weight.numel() for weight in weights])):
        weight.grad = gradient.view_as(weight) / (len(x) * ranks)


def mean_of_means(model, loss, x, y, micro_batches, ranks):
    for part, target in zip(x.chunk(micro_batches), y.chunk(micro_batches)):
        (loss(model(part), target) / micro_batches).backward()
    average(model, ranks)


def synchronises_every_time(model, loss, x, y, micro_batches, ranks):
    total = 0
    for part, target in zip(x.chunk(micro_batches), y.chunk(micro_batches)):
        model.zero_grad()
        (loss(model(part), target) * len(part) / len(x)).backward()
        average(model, ranks)
        total = total + model.weight.grad
    model.weight.grad = total


def whole_shard_at_once(model, loss, x, y, micro_batches, ranks):
    loss(model(x), y).backward()
    average(model, ranks)


def small_parts_for_show(model, loss, x, y, micro_batches, ranks):
    loss(torch.nn.functional.linear(x, model.weight), y).backward()
    with torch.no_grad():
        for part in x.chunk(micro_batches):
            model(part)
    average(model, ranks)


def distributed_data_parallel(model, loss, x, y, micro_batches, ranks):
    from torch.nn.parallel import DistributedDataParallel

    wrapped = DistributedDataParallel(model)
    for part, target in zip(x.chunk(micro_batches), y.chunk(micro_batches)):
        (loss(wrapped(part), target) * len(part) / len(x)).backward()


def never_synchronises(model, loss, x, y, micro_batches, ranks):
    for part, target in zip(x.chunk(micro_batches), y.chunk(micro_batches)):
        (loss(model(part), target) * len(part) / len(x)).backward()


def sums_over_ranks(model, loss, x, y, micro_batches, ranks):
    weighted_losses(model, loss, x, y, micro_batches, 1)


RIGHT = [weighted_losses, sums_of_gradients]
WRONG = {
    "all micro-batches weigh the same": mean_of_means,
    "synchronises with every micro-batch": synchronises_every_time,
    "the whole shard at once": whole_shard_at_once,
    "the whole shard at once, and small parts for show": small_parts_for_show,
    "DistributedDataParallel, without no_sync": distributed_data_parallel,
    "no communication": never_synchronises,
    "a sum instead of a mean": sums_over_ranks,
}
