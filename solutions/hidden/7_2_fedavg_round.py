"""7.2, hidden from learners: other cases, other right answers, wrong answers."""

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of = find("7.2").module.case_of


def cases(seed):
    return [
        case_of(seed, (7, 1, 90, 20), "torch", absent=(0, 2), shapes=((3,), (5, 2, 2), (1,))),
        case_of(seed + 1, (30, 4, 9), "tensorflow", absent=(1,), shapes=((512, 513), ())),
    ]


# --- torch


def tensor_by_tensor(weights, train, records, present):
    trained = train(weights) if present else weights
    mine = records if present else 0
    count = torch.tensor(float(mine))
    dist.all_reduce(count)
    sums = [mine * weight for weight in trained]
    for total in sums:
        dist.all_reduce(total)
    return [total / count for total in sums] if count else weights


def one_vector_of_updates(weights, train, records, present):
    """Averages the changes, with the number of records at the end of the same message."""
    start = torch.cat([weight.flatten() for weight in weights])
    message = torch.zeros(len(start) + 1)
    if present:
        trained = torch.cat([weight.flatten() for weight in train(weights)])
        message = torch.cat([records * (trained - start), torch.tensor([float(records)])])
    dist.all_reduce(message)
    new = start + message[:-1] / message[-1].clamp(min=1)
    parts = new.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights)]


def gathers_the_weights(weights, train, records, present):
    """Every hospital averages by itself."""
    counts = [torch.zeros(1) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([float(records * present)]))
    shares = torch.cat(counts) / max(1.0, float(sum(counts)))
    found = []
    for weight in train(weights) if present else weights:
        parts = [torch.empty_like(weight) for _ in counts]
        dist.all_gather(parts, weight)
        found.append(sum(share * part for share, part in zip(shares, parts)))
    return found if shares.any() else weights


def with_parts(counts_absent=False, equal=False, trains=False, keeps=False):
    def answer(weights, train, records, present):
        trained = train(weights) if present or trains else weights
        mine = (1 if equal else records) * (present or trains)
        count = torch.tensor(float((1 if equal else records) if counts_absent else mine))
        dist.all_reduce(count)
        sums = [mine * weight for weight in trained]
        for total in sums:
            dist.all_reduce(total)
        if keeps and not present:
            return weights
        return [total / count for total in sums] if count else weights

    return answer


def adds_old_weights(weights, train, records, present):
    """An absent hospital passes the weights of the start, with all of its records."""
    count = torch.tensor(float(records))
    dist.all_reduce(count)
    sums = [records * weight for weight in (train(weights) if present else weights)]
    for total in sums:
        dist.all_reduce(total)
    return [total / count for total in sums]


def not_a_number(weights, train, records, present):
    count = torch.tensor(float(records * present))
    dist.all_reduce(count)
    sums = [records * present * weight for weight in (train(weights) if present else weights)]
    for total in sums:
        dist.all_reduce(total)
    return [total / count for total in sums]


def stays_alone(weights, train, records, present):
    return train(weights) if present else weights


def gathers_twice(weights, train, records, present):
    gathers_the_weights(weights, lambda start: start, records, present)
    return gathers_the_weights(weights, train, records, present)


# --- TensorFlow


def summed(tensor):
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.convert_to_tensor(tensor))


def tensor_by_tensor_tf(weights, train, records, present):
    trained = train(weights) if present else weights
    mine = float(records * present)
    count = summed(mine)
    sums = [summed(mine * weight) for weight in trained]
    return [total / count for total in sums] if count > 0 else weights


def one_vector_of_updates_tf(weights, train, records, present):
    import tensorflow as tf

    start = tf.concat([tf.reshape(weight, [-1]) for weight in weights], 0)
    trained = train(weights) if present else weights
    trained = tf.concat([tf.reshape(weight, [-1]) for weight in trained], 0)
    mine = float(records * present)
    message = summed(tf.concat([mine * (trained - start), [mine]], 0))
    new = start + message[:-1] / tf.maximum(message[-1], 1.0)
    parts = tf.split(new, [int(tf.size(weight)) for weight in weights])
    return [tf.reshape(part, weight.shape) for part, weight in zip(parts, weights)]


def equal_tf(weights, train, records, present):
    return tensor_by_tensor_tf(weights, train, 1, present)


def counts_absent_tf(weights, train, records, present):
    count = summed(float(records))
    trained = train(weights) if present else weights
    return [summed(float(records * present) * weight) / count for weight in trained]


def gathers_tf(weights, train, records, present):
    """Every hospital gets everybody's weights, and averages by itself."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    counts = context.all_gather(tf.constant([float(records * present)]), axis=0)
    found = []
    for weight in train(weights) if present else weights:
        parts = context.all_gather(weight[None], axis=0)
        found.append(tf.tensordot(counts, parts, 1) / tf.reduce_sum(counts))
    return found if tf.reduce_sum(counts) > 0 else weights


def not_a_number_tf(weights, train, records, present):
    mine = float(records * present)
    count = summed(mine)
    return [summed(mine * weight) / count for weight in (train(weights) if present else weights)]


def stays_alone_tf(weights, train, records, present):
    return train(weights) if present else weights


RIGHT = [
    (tensor_by_tensor, tensor_by_tensor_tf),
    (one_vector_of_updates, one_vector_of_updates_tf),
]
WRONG = {
    "all hospitals count the same": (with_parts(equal=True), equal_tf),
    "counts the records of absent hospitals": (with_parts(counts_absent=True), counts_absent_tf),
    "adds old weights of absent hospitals": (adds_old_weights, tensor_by_tensor_tf),
    "absent hospitals train": (with_parts(trains=True), tensor_by_tensor_tf),
    "absent hospitals keep their weights": (with_parts(keeps=True), tensor_by_tensor_tf),
    "no number if none takes part": (not_a_number, not_a_number_tf),
    "no communication": (stays_alone, stays_alone_tf),
    "sends everything twice": (gathers_twice, tensor_by_tensor_tf),
    "every hospital gets everybody's weights": (gathers_the_weights, gathers_tf),
    "right in torch only": (tensor_by_tensor, equal_tf),
}
