"""3.5, hidden from learners: other cases, other right answers, wrong answers."""

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of = find("3.5").module.case_of


def cases(seed):
    return [case_of(seed, ranks=2, widths=[200, 700, 300, 40, 3], samples=4, hardware="t4")]


def hooks(loss, parameters, ranks):
    under_way = []

    def send(parameter):
        under_way.append(dist.all_reduce(parameter.grad, async_op=True))

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(send)
    loss.backward()
    for work in under_way:
        work.wait()
    for parameter in parameters:
        parameter.grad /= ranks


def divides_first_and_lifts_its_hooks(loss, parameters, ranks):
    works = {}

    def send(parameter):
        parameter.grad.div_(ranks)
        works[parameter] = dist.all_reduce(parameter.grad, async_op=True)

    handles = [parameter.register_post_accumulate_grad_hook(send) for parameter in parameters]
    loss.backward()
    for handle in handles:
        handle.remove()
    for work in works.values():
        work.wait()


def afterwards(loss, parameters, ranks):
    loss.backward()
    works = [dist.all_reduce(parameter.grad, async_op=True) for parameter in parameters]
    for parameter, work in zip(parameters, works):
        work.wait()
        parameter.grad /= ranks


def waits_in_the_hook(loss, parameters, ranks):
    def send(parameter):
        dist.all_reduce(parameter.grad)
        parameter.grad /= ranks

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(send)
    loss.backward()


def never_waits(loss, parameters, ranks):
    works = []

    def send(parameter):
        works.append(dist.all_reduce(parameter.grad.clone(), async_op=True))

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(send)
    loss.backward()


def sums(loss, parameters, ranks):
    hooks(loss, parameters, 1)


def overlaps_something_else(loss, parameters, ranks):
    """Sends another message in the pass so that the record looks right; sends gradients later."""
    works = []

    def send(parameter):
        works.append(dist.all_reduce(torch.zeros(10), async_op=True))

    parameters[-1].register_post_accumulate_grad_hook(send)
    loss.backward()
    for parameter in parameters:
        dist.all_reduce(parameter.grad)
        parameter.grad /= ranks


RIGHT = [hooks, divides_first_and_lifts_its_hooks]
WRONG = {
    "communicates after the pass": afterwards,
    "waits in the hook": waits_in_the_hook,
    "overlaps a message that carries nothing": overlaps_something_else,
    "never waits": never_waits,
    "a sum instead of a mean": sums,
    "no communication": lambda loss, parameters, ranks: loss.backward(),
}
