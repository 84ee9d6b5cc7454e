"""3.2, hidden from learners: other cases, other right answers, wrong answers."""

import torch
import torch.distributed as dist

from lablib.teach.exercise import find

case_of = find("3.2").module.case_of


def cases(seed):
    return [case_of(seed, [(200, 250), (250,), (250, 800), (800, 10)], ranks=2, bucket_mb=0.5),
            case_of(seed + 1, [(4,), (6, 6), (3, 2), (2,)], ranks=4, bucket_mb=1)]  # fmt: skip


def bucket_by_bucket(gradients, ranks, bucket_mb):
    bucket = []
    for number, gradient in enumerate(gradients, start=1):
        bucket.append(gradient)
        full = sum(part.nbytes for part in bucket) >= bucket_mb * 2**20
        if full or number == len(gradients):
            flat = torch.cat([part.flatten() for part in bucket])
            dist.all_reduce(flat)
            flat /= ranks
            for part, mean in zip(bucket, flat.split([part.numel() for part in bucket])):
                part.copy_(mean.view_as(part))
            bucket = []


def all_at_once_without_waiting(gradients, ranks, bucket_mb):
    from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

    buckets, held = [[]], 0
    for gradient in gradients:
        if held >= bucket_mb * 2**20:
            buckets.append([])
            held = 0
        buckets[-1].append(gradient.div_(ranks))
        held += gradient.nbytes
    under_way = []
    for bucket in buckets:
        flat = _flatten_dense_tensors(bucket)
        under_way.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
    for bucket, flat, work in under_way:
        work.wait()
        for part, mean in zip(bucket, _unflatten_dense_tensors(flat, bucket)):
            part.copy_(mean)


def one_message_each(gradients, ranks, bucket_mb):
    for gradient in gradients:
        dist.all_reduce(gradient)
        gradient /= ranks


def one_bucket_for_all(gradients, ranks, bucket_mb):
    bucket_by_bucket(gradients, ranks, bucket_mb=1e9)


def sums(gradients, ranks, bucket_mb):
    bucket_by_bucket(gradients, 1, bucket_mb)


def never_copies_back(gradients, ranks, bucket_mb):
    bucket_by_bucket([gradient.clone() for gradient in gradients], ranks, bucket_mb)


def forgets_the_last_bucket(gradients, ranks, bucket_mb):
    bucket_by_bucket(gradients[:-1], ranks, bucket_mb)


def for_four_ranks(gradients, ranks, bucket_mb):
    bucket_by_bucket(gradients, 4, bucket_mb)


def gathers_everything(gradients, ranks, bucket_mb):
    for gradient in gradients:
        parts = [torch.empty_like(gradient) for _ in range(ranks)]
        dist.all_gather(parts, gradient)
        gradient.copy_(sum(parts) / ranks)


RIGHT = [bucket_by_bucket, all_at_once_without_waiting]
WRONG = {
    "a message for each gradient": one_message_each,
    "one bucket, whatever its size": one_bucket_for_all,
    "a sum instead of a mean": sums,
    "does not copy back": never_copies_back,
    "forgets the last bucket": forgets_the_last_bucket,
    "divides by four on any cluster": for_four_ranks,
    "gathers everything everywhere": gathers_everything,
    "no communication": lambda gradients, ranks, bucket_mb: None,
}
