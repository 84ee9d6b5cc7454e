"""4.2, hidden from learners: other cases, other right answers, wrong answers."""

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of = find("4.2").module.case_of


def cases(seed):
    return [
        case_of(seed, samples=3, width=12, depth=(1, 3)),
        case_of(seed + 1, samples=20, width=4, depth=(2, 2)),
    ]


def send_and_receive(stage, x, y, loss, rank):
    if rank == 0:
        h = stage(x)
        dist.send(h.detach(), dst=1)
        gradient = torch.empty_like(h)
        dist.recv(gradient, src=1)
        h.backward(gradient)
        return None
    dist.recv(x, src=0)
    x.requires_grad_()
    found = loss(stage(x), y)
    found.backward()
    dist.send(x.grad, dst=0)
    return found.item()


def without_waiting(stage, x, y, loss, rank):
    """Uses isend and irecv, and torch.autograd.grad for the gradient of the received tensor."""
    if rank == 1:
        dist.irecv(x, src=0).wait()
        leaf = x.clone().requires_grad_(True)
        found = loss(stage(leaf), y)
        weights = list(stage.parameters())
        into, *slopes = torch.autograd.grad(found, [leaf, *weights])
        for weight, slope in zip(weights, slopes, strict=True):
            weight.grad = slope
        dist.isend(into.contiguous(), dst=0).wait()
        return float(found)
    h = stage(x)
    sent, gradient = dist.isend(h.data, dst=1), torch.empty(h.shape)
    dist.irecv(gradient, src=1).wait()
    sent.wait()
    torch.autograd.backward([h], [gradient])
    return None


def nothing_comes_back(stage, x, y, loss, rank):
    if rank == 0:
        dist.send(stage(x).detach(), dst=1)
        return None
    dist.recv(x, src=0)
    found = loss(stage(x), y)
    found.backward()
    return found.item()


def ranks_work_alone(stage, x, y, loss, rank):
    if rank == 0:
        stage(x).sum().backward()
        return None
    found = loss(stage(torch.zeros_like(x)), y)
    found.backward()
    return found.item()


def backward_of_a_sum(stage, x, y, loss, rank):
    """Rank 0 uses the sum of its activations as the loss."""
    if rank == 0:
        h = stage(x)
        dist.send(h.detach(), dst=1)
        dist.recv(torch.empty_like(h), src=1)
        h.sum().backward()
        return None
    return send_and_receive(stage, x, y, loss, rank)


def rank_0_does_it_all(stage, x, y, loss, rank):
    """Finds the right numbers, but rank 0 has the whole model: this is no model parallelism."""
    if rank == 1:
        for weight in stage.parameters():
            dist.send(weight.data, dst=0)
        dist.send(y, dst=0)
        for weight in stage.parameters():
            weight.grad = torch.empty_like(weight)
            dist.recv(weight.grad, src=0)
        found = torch.empty(())
        dist.recv(found, src=0)
        return found.item()
    width, weights = x.shape[1], []
    h, depth = stage(x), 1
    for _ in range(depth):
        for shape in ((width, width), (width,)):
            weights.append(torch.empty(shape))
            dist.recv(weights[-1], src=1)
            weights[-1].requires_grad_()
        h = torch.tanh(torch.nn.functional.linear(h, *weights[-2:]))
    y = torch.empty_like(x)
    dist.recv(y, src=1)
    found = loss(h, y)
    found.backward()
    for weight in weights:
        dist.send(weight.grad, dst=1)
    dist.send(found.detach(), dst=1)
    return None


def in_double_precision(stage, x, y, loss, rank):
    """Finds the right numbers with twice the bytes."""
    if rank == 0:
        h = stage(x)
        dist.send(h.detach().double(), dst=1)
        gradient = torch.empty_like(h, dtype=torch.float64)
        dist.recv(gradient, src=1)
        h.backward(gradient.float())
        return None
    wide = x.double()
    dist.recv(wide, src=0)
    x = wide.float().requires_grad_()
    found = loss(stage(x), y)
    found.backward()
    dist.send(x.grad.double(), dst=0)
    return found.item()


RIGHT = [send_and_receive, without_waiting]
WRONG = {
    "nothing comes back": nothing_comes_back,
    "each rank works alone": ranks_work_alone,
    "the activations' sum as loss": backward_of_a_sum,
    "rank 0 does it all": rank_0_does_it_all,
    "sends doubles": in_double_precision,
    "hard-coded losses": lambda stage, x, y, loss, rank: 1.0 if rank else None,
}
