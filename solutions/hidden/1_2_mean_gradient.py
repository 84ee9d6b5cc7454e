"""1.2, hidden from learners: other cases, other right answers, wrong answers."""

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of = find("1.2").module.case_of


def cases(seed):
    return [case_of(seed, (3, 0, 2, 4), "torch"),
            case_of(seed + 1, (1, 6, 2), "tensorflow", features=2**18)]  # fmt: skip


def sum_and_count(gradient, samples):
    count = torch.tensor(float(samples))
    total = gradient * samples
    dist.all_reduce(total)
    dist.all_reduce(count)
    return total / count


def sum_and_count_tf(gradient, samples):
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    total = context.all_reduce("SUM", gradient * samples)
    return total / context.all_reduce("SUM", tf.constant(float(samples)))


def one_message(gradient, samples):
    """Works in place, with the count at the end of the same tensor."""
    both = torch.cat([gradient * samples, torch.tensor([float(samples)])])
    dist.all_reduce(both)
    gradient.copy_(both[:-1] / both[-1])


def one_message_tf(gradient, samples):
    import tensorflow as tf

    both = tf.concat([gradient * samples, [float(samples)]], axis=0)
    context = tf.distribute.get_replica_context()
    both = context.all_reduce(tf.distribute.ReduceOp.SUM, both)
    return both[:-1] / both[-1]


def mean_of_means(gradient, samples):
    dist.all_reduce(gradient)
    return gradient / dist.get_world_size()


def mean_of_means_tf(gradient, samples):
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce("MEAN", gradient)


def summed(gradient, samples):
    dist.all_reduce(gradient)


def summed_tf(gradient, samples):
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce("SUM", gradient)


def gathers_everything(gradient, samples):
    parts = [torch.empty_like(gradient) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, gradient)
    counts = [torch.zeros(()) for _ in parts]
    dist.all_gather(counts, torch.tensor(float(samples)))
    return sum(n * part for n, part in zip(counts, parts)) / sum(counts)


def gathers_everything_tf(gradient, samples):
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    total = context.all_reduce("SUM", tf.constant(float(samples)))
    return tf.reduce_sum(context.all_gather(gradient[None] * samples / total, axis=0), axis=0)


def rank_0_adds_up(gradient, samples):
    """Sends as many bytes as an all-reduce moves, and calls one all-reduce for show."""
    count = torch.tensor(float(samples))
    dist.all_reduce(count)
    part, came = gradient * samples / count, torch.empty_like(gradient)
    if dist.get_rank() > 0:
        dist.send(part, 0)
        dist.recv(part, 0)
        return part
    for other in range(1, dist.get_world_size()):
        dist.recv(came, other)
        part += came
    for other in range(1, dist.get_world_size()):
        dist.send(part, other)
    return part


RIGHT = [(sum_and_count, sum_and_count_tf), (one_message, one_message_tf)]
WRONG = {
    "the mean of the ranks' means": (mean_of_means, mean_of_means_tf),
    "a sum instead of a mean": (summed, summed_tf),
    "no communication": (lambda gradient, samples: gradient,) * 2,
    "every rank gets everybody's gradient": (gathers_everything, sum_and_count_tf),
    "every worker gets everybody's gradient": (sum_and_count, gathers_everything_tf),
    "rank 0 adds up": (rank_0_adds_up, sum_and_count_tf),
    "right in torch only": (sum_and_count, mean_of_means_tf),
    "right in TensorFlow only": (mean_of_means, sum_and_count_tf),
}
