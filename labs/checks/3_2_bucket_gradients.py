"""3.2 Average gradients over the ranks by hand, many of them in one flat bucket."""

import numpy as np

from lablib.strategies.buckets import packed
from lablib.teach.claims import equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("average(gradients, ranks, bucket_mb)",)
TITLE = "Gradients in buckets"
POINTS = 5

_MEAN = (
    "Print one gradient before and after, on every rank. Is it a sum or a mean? Has it changed in "
    "place?",
    "all_reduce sums. Copy an averaged flat copy back with gradient.copy_(...).",
)
_BUCKETS = (
    "Count your all-reduces and their bytes. When is a bucket full? What about the last bucket?",
    "Go through the gradients in order. Add one to the bucket, and send the bucket as soon as it "
    "has bucket_mb x 2**20 bytes or more. The gradients left at the end are a bucket, too.",
)
_SENT = ("Every gradient should pass the network once, and nothing else.",)


def cases(seed):
    small = [(7, 3), (3,), (5, 2, 2), (40,), (1,)]
    return [
        case_of(seed, small, ranks=3, bucket_mb=100 / 2**20),
        case_of(seed + 1, [(300, 300), (300,), (300, 400), (400,)], ranks=2, bucket_mb=0.25),
    ]


def case_of(seed, shapes, ranks, bucket_mb):
    rng = np.random.default_rng(seed)
    own = tuple(
        {"gradients": [rng.normal(size=shape).astype(np.float32) for shape in shapes]}
        for _ in range(ranks)
    )
    name = f"{len(shapes)} gradients on {ranks} ranks, buckets of {bucket_mb * 2**20:,.0f} B"
    return Case(name, shared={"bucket_mb": bucket_mb}, own=own, ranks=ranks, relay=True)


def observe(me, answer, given):
    import torch

    gradients = [torch.from_numpy(array.copy()) for array in given.gradients]
    answer(gradients, me.ranks, given.bucket_mb)
    return [gradient.numpy() for gradient in gradients]


def judge(case, seen):
    each = [own["gradients"] for own in case.own]
    mean = [sum(parts) / case.ranks for parts in zip(*each, strict=True)]
    yield equal_by_rank("every gradient is the mean over the ranks, in place",
                        [mean] * case.ranks, seen.values, weight=2, hints=_MEAN)  # fmt: skip
    sizes = [array.nbytes for array in mean]
    buckets = packed(sizes, case.shared["bucket_mb"])
    due = [("all_reduce", sum(sizes[n] for n in numbers)) for numbers in buckets]
    sent = [[(name, nbytes) for _, name, nbytes in seen.put_in(rank)]
            for rank in range(case.ranks)]  # fmt: skip
    yield equal_by_rank("one all-reduce for each bucket, filled in order", [due] * case.ranks, sent,
                        hints=_BUCKETS, evidence=seen.evidence)  # fmt: skip
    total = [sum(nbytes for _, nbytes in messages) for messages in sent]
    yield equal_by_rank("each gradient passes the network once", [sum(sizes)] * case.ranks, total,
                        hints=_SENT, evidence=seen.evidence)  # fmt: skip
