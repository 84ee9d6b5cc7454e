"""3.7, hidden from learners: other cases, other right answers, wrong answers."""

import math

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of = find("3.7").module.case_of


def cases(seed):
    return [case_of(seed, workers=2, pushes=5, bound=2), case_of(seed + 1, workers=2, pushes=3,
                                                                 bound=0)]  # fmt: skip


def waiting_list(weights, workers, pushes, bound, lr):
    gradient = torch.empty_like(weights)
    done, waiting = dict.fromkeys(workers, 0), []
    for _ in range(len(workers) * pushes):
        worker = dist.recv(gradient)
        weights -= lr * gradient
        done[worker] += 1
        waiting.append(worker)
        for worker in [one for one in waiting if done[one] - min(done.values()) <= bound]:
            waiting.remove(worker)
            dist.send(weights, worker)


def counts_and_answers(weights, workers, pushes, bound, lr):
    """Answers with non-blocking sends, which two counters decide."""
    pushed, answered = [0] * (max(workers) + 1), [0] * (max(workers) + 1)
    works = []
    while sum(answered) < pushes * len(workers):
        gradient = torch.zeros_like(weights)
        pushed[dist.recv(gradient)] += 1
        weights.sub_(gradient, alpha=lr)
        slowest = min(pushed[worker] for worker in workers)
        for worker in workers:
            if answered[worker] < pushed[worker] <= slowest + bound:
                works.append(dist.isend(weights.clone(), worker))
                answered[worker] += 1
    for work in works:
        work.wait()


def nobody_waits(weights, workers, pushes, bound, lr):
    waiting_list(weights, workers, pushes, math.inf, lr)


def one_push_too_many(weights, workers, pushes, bound, lr):
    waiting_list(weights, workers, pushes, bound + 1, lr)


def in_turn(weights, workers, pushes, bound, lr):
    gradient = torch.empty_like(weights)
    for _ in range(pushes):
        for worker in workers:
            dist.recv(gradient, worker)
            weights -= lr * gradient
        for worker in workers:
            dist.send(weights, worker)


def answers_before_it_applies(weights, workers, pushes, bound, lr):
    gradient = torch.empty_like(weights)
    done, waiting = dict.fromkeys(workers, 0), []
    for _ in range(len(workers) * pushes):
        worker = dist.recv(gradient)
        done[worker] += 1
        waiting.append(worker)
        for worker in [one for one in waiting if done[one] - min(done.values()) <= bound]:
            waiting.remove(worker)
            dist.send(weights, worker)
        weights -= lr * gradient


def takes_the_mean(weights, workers, pushes, bound, lr):
    waiting_list(weights, workers, pushes, bound, lr / len(workers))


def ignores_the_slow(weights, workers, pushes, bound, lr):
    gradient = torch.empty_like(weights)
    for _ in range(len(workers) * pushes):
        worker = dist.recv(gradient)
        if worker == workers[0]:
            weights -= lr * gradient
        dist.send(weights, worker)


RIGHT = [waiting_list, counts_and_answers]
WRONG = {
    "nobody waits": nobody_waits,
    "one push more than the bound": one_push_too_many,
    "waits for everybody": in_turn,
    "answers before it applies": answers_before_it_applies,
    "divides by the workers": takes_the_mean,
    "drops the gradients of the slow": ignores_the_slow,
}
