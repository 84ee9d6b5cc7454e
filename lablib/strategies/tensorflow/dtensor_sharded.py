"""Sharded weights with DTensor: every rank keeps a part of each weight and of its momentum, and
works on its shard of the batch. A step asks for each weight whole (TensorFlow gathers the parts)
and gets its gradient in parts (TensorFlow sums and scatters). Nobody writes a collective."""

from lablib.strategies import dense_dtensor
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="dtensor_sharded",
    framework="tensorflow",
    family="sharded",
    about="Every rank holds a part of each weight and its shard of the batch; weights are gathered "
    "where they are used, gradients come back in parts.",
    read="https://www.tensorflow.org/guide/dtensor_overview",
    splits="batch",
    only_measured=dense_dtensor.ONLY_MEASURED,
    fits=lambda task, ranks, batch: dense_dtensor.why_not(task),
)


def train(me, job: Job) -> dict:
    mesh = dense_dtensor.connected_mesh(me, {"rank": me.ranks})
    return dense_dtensor.train(
        me, job, mesh, _cuts(job.task, me.ranks), samples_along="rank", gather=True
    )


def _cuts(task, ranks):
    """Along the first axis, one part a rank; whole on every rank where that does not divide."""
    arrays = task.weights().items()
    return {name: {} if len(array) % ranks else {0: "rank"} for name, array in arrays}


def expected(task, ranks: int, batch: int) -> Expected:
    """All weights that are cut, gathered in one pack; the gradients of the kernels one by one,
    those of the biases in one pack; the loss. Both gathering and scattering are made of sums."""
    arrays, cut = task.weights(), _cuts(task, ranks)
    kernels = [array.nbytes for array in arrays.values() if array.ndim > 1]
    gathered = sum(arrays[name].nbytes for name in cut if cut[name])
    biases = task.weight_bytes - sum(kernels)
    nbytes = dense_dtensor.pack_bytes(gathered) + sum(kernels) + dense_dtensor.pack_bytes(biases)
    sums = {"all_reduce": (ranks * (3 + len(kernels)), ranks * (nbytes + 4))}
    return Expected(sums if ranks > 1 else {})
