"""Parameter servers with one slow worker, and wrong versions of them.

A slow worker pushes nothing before the fast one has pushed a given number of times. It waits for a
message, not for a time.
"""

from __future__ import annotations

from lablib.strategies.torch import parameter_server

FAST, SLOW, TOKEN = 1, 2, 7


def one_is_slow(me, job, pushes):
    """Run the strategy itself; rank 2 starts to push when rank 1 has pushed `pushes` times."""
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
    """Find the right numbers, but send each gradient separately."""
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
    """Each worker scales its share as the whole batch, so the server's sum is too large."""
    import torch.distributed as dist

    send = dist.send
    dist.send = lambda tensor, to: send(tensor * (me.ranks - 1) if to == 0 else tensor, to)
    return parameter_server.train(me, job)
