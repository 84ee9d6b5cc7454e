"""4.3, hidden from learners: other cases, other right answers, wrong answers."""

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of, on_a_free_network = find("4.3").module.case_of, find("4.3").module.on_a_free_network


def cases(seed):
    return [case_of(seed, ranks=2, pieces=5), on_a_free_network(seed + 1, ranks=3, pieces=8)]


def two_loops(stage, pieces, targets, loss, rank, ranks):
    kept, sent, total = [], [], 0.0
    for number, x in enumerate(pieces):
        if rank > 0:
            dist.recv(x, rank - 1)
            x.requires_grad_()
        h = stage(x)
        if rank < ranks - 1:
            sent.append(dist.isend(h.detach(), rank + 1))
        else:
            h = loss(h, targets[number]) / len(pieces)
            total += h.item()
        kept.append((x, h))
    for x, h in kept:
        gradient = None
        if rank < ranks - 1:
            gradient = torch.empty_like(h)
            dist.recv(gradient, rank + 1)
        h.backward(gradient)
        if rank > 0:
            sent.append(dist.isend(x.grad, rank - 1))
    for message in sent:
        message.wait()
    return total if rank == ranks - 1 else None


def last_one_first(stage, pieces, targets, loss, rank, ranks):
    """Goes backward from the last micro-batch to the first, as in the figure of the GPipe paper."""
    first, last, m = rank == 0, rank == ranks - 1, len(pieces)
    outputs, under_way = [], []
    for x in pieces:
        if not first:
            dist.irecv(x, rank - 1).wait()
            x.requires_grad_(True)
        outputs.append(stage(x))
        if not last:
            under_way.append(dist.isend(outputs[-1].data.contiguous(), rank + 1))
    losses = [loss(h, y) for h, y in zip(outputs, targets, strict=True)] if last else []
    for number in reversed(range(m)):
        if last:
            (losses[number] / m).backward()
        else:
            upstream = torch.zeros(outputs[number].shape)
            dist.irecv(upstream, rank + 1).wait()
            torch.autograd.backward(outputs[number], upstream)
        if not first:
            under_way.append(dist.isend(pieces[number].grad.clone(), rank - 1))
    [message.wait() for message in under_way]
    return torch.stack(losses).mean() if last else None


def recomputes(stage, pieces, targets, loss, rank, ranks):
    """Keeps no activations: repeats the forward pass before each backward pass, as GPipe can."""
    under_way, total = [], 0.0
    for x in pieces:
        if rank > 0:
            dist.recv(x, rank - 1)
        with torch.no_grad():
            h = stage(x)
        if rank < ranks - 1:
            under_way.append(dist.isend(h, rank + 1))
    for number, x in enumerate(pieces):
        h, gradient = stage(x.requires_grad_()), None
        if rank < ranks - 1:
            gradient = torch.empty_like(h)
            dist.recv(gradient, rank + 1)
        else:
            h = loss(h, targets[number]) / len(pieces)
            total += h.item()
        h.backward(gradient)
        if rank > 0:
            under_way.append(dist.isend(x.grad, rank - 1))
    for message in under_way:
        message.wait()
    return total if rank == ranks - 1 else None


def _in_order(order):
    """Return an answer whose step processes its micro-batches in this order of F and B."""

    def step(stage, pieces, targets, loss, rank, ranks):
        kept, sent, total, forward = [], [], 0.0, iter(range(len(pieces)))
        for kind in order(rank, ranks, len(pieces)):
            if kind == "F":
                number = next(forward)
                x = pieces[number]
                if rank > 0:
                    dist.recv(x, rank - 1)
                    x.requires_grad_()
                h = stage(x)
                if rank < ranks - 1:
                    sent.append(dist.isend(h.detach(), rank + 1))
                else:
                    h = loss(h, targets[number]) / len(pieces)
                    total += h.item()
                kept.append((x, h))
            else:
                x, h = kept.pop(0)
                gradient = None
                if rank < ranks - 1:
                    gradient = torch.empty_like(h)
                    dist.recv(gradient, rank + 1)
                h.backward(gradient)
                if rank > 0:
                    sent.append(dist.isend(x.grad, rank - 1))
        for message in sent:
            message.wait()
        return total if rank == ranks - 1 else None

    return step


def _1f1b(rank, ranks, pieces):
    ahead = min(ranks - 1 - rank, pieces)
    return "F" * ahead + "FB" * (pieces - ahead) + "B" * ahead


one_at_a_time = _in_order(lambda rank, ranks, pieces: "FB" * pieces)
one_f_one_b = _in_order(_1f1b)


def whole_batch_at_once(stage, pieces, targets, loss, rank, ranks):
    whole = torch.cat([piece.detach() for piece in pieces])
    targets = None if targets is None else [torch.cat(targets)]
    return two_loops(stage, [whole], targets, loss, rank, ranks)


def waits_for_all_before_it_computes(stage, pieces, targets, loss, rank, ranks):
    """Sends the right messages, but no two stages ever work at once."""
    if rank > 0:
        for x in pieces:
            dist.recv(x, rank - 1)
            x.requires_grad_()
    outputs = [stage(x) for x in pieces]
    if rank == ranks - 1:
        parts = [loss(h, y) / len(pieces) for h, y in zip(outputs, targets, strict=True)]
        for part in parts:
            part.backward()
    else:
        sent = [dist.isend(h.detach(), rank + 1) for h in outputs]
        slopes = [torch.empty_like(h) for h in outputs]
        for slope in slopes:
            dist.recv(slope, rank + 1)
        for message in sent:
            message.wait()
        for h, slope in zip(outputs, slopes, strict=True):
            h.backward(slope)
    if rank > 0:
        for message in [dist.isend(x.grad, rank - 1) for x in pieces]:
            message.wait()
    return sum(part.item() for part in parts) if rank == ranks - 1 else None


def forgets_to_divide(stage, pieces, targets, loss, rank, ranks):
    def times_m(outputs, y):
        return loss(outputs, y) * len(pieces)

    total = two_loops(stage, pieces, targets, times_m, rank, ranks)
    return total / len(pieces) if rank == ranks - 1 else None


def last_gradient_only(stage, pieces, targets, loss, rank, ranks):
    found = two_loops(stage, pieces, targets, loss, rank, ranks)
    for weight in stage.parameters():
        weight.grad = weight.grad / len(pieces)
    return found


RIGHT = [two_loops, last_one_first, recomputes]
WRONG = {
    "one micro-batch at a time": one_at_a_time,
    "1F1B": one_f_one_b,
    "the whole batch at once": whole_batch_at_once,
    "stages wait for all micro-batches": waits_for_all_before_it_computes,
    "a sum of the micro-batches": forgets_to_divide,
    "divides twice": last_gradient_only,
    "no communication": lambda stage, pieces, targets, loss, rank, ranks: None,
}
