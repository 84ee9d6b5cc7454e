"""Parameter servers with one slow worker, and ways to get them wrong.

Slow means: it pushes nothing before the fast one has pushed so often. A message says so, no clock.
"""

from __future__ import annotations

from lablib.strategies.torch import parameter_server

FAST, SLOW, TOKEN = 1, 2, 7


def one_is_slow(me, job, pushes):
    """The strategy itself; rank 2 pushes first when rank 1 has pushed `pushes` times."""
    import torch
    import torch.distributed as dist

    send, token, sent = dist.send, torch.zeros(1), []

    def held_back(tensor, to):
        if me.rank == SLOW and not sent:
            dist.recv(token, FAST, tag=TOKEN)
        send(tensor, to)
        sent.append(to)
        if me.rank == FAST and len(sent) == pushes:
            send(token, SLOW, tag=TOKEN)

    dist.send = held_back
    return parameter_server.train(me, job)


def a_message_for_each_weight(me, job):
    """Right numbers, but the gradients do not travel as one."""
    import torch.distributed as dist

    model = job.task.torch_model(job.seed)
    for _ in range(job.steps):
        with me.step():
            for weight in model.parameters():
                if me.rank == 0:
                    for worker in range(1, me.ranks):
                        dist.recv(weight.data, worker)
                        dist.send(weight.data, worker)
                else:
                    dist.send(weight.data, 0)
                    dist.recv(weight.data, 0)


def pushes_the_mean_of_its_share(me, job):
    """Each worker weighs its share as if it were the batch: the server's sum is too large."""
    import torch.distributed as dist

    send = dist.send
    dist.send = lambda tensor, to: send(tensor * (me.ranks - 1) if to == 0 else tensor, to)
    return parameter_server.train(me, job)
