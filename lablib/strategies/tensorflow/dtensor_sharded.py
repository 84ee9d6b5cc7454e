"""Sharded weights with DTensor: every rank keeps a part of each weight and of its momentum.

Each rank works on its shard of the batch. A step asks for each weight whole, so TensorFlow gathers
its parts, and asks for its gradient in parts, so TensorFlow sums and scatters it. The program
contains no collective.

On CPUs, TensorFlow 2.21 gathers by adding up arrays that are zero except for one part. This takes
more memory than cutting the weights saves, on any number of ranks. See `expected`.
"""

from lablib.strategies import dense_dtensor
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
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
    """Return the cut of each weight: one part for each rank along the first axis.

    A weight whose first axis is not divisible by the number of ranks is whole on every rank.
    """
    arrays = task.weights().items()
    return {name: {} if len(array) % ranks else {0: "rank"} for name, array in arrays}


def expected(task, ranks: int, batch: int) -> Expected:
    """Return what a rank sends and holds.

    A step sends all cut weights, gathered in one pack; the gradients of the kernels one by one; the
    gradients of the biases in one pack; and the loss. Gathering and scattering are both done by
    sums.

    On 4 ranks `digits-mlp` needs up to 14 % less memory than this, because there the gathered
    weights are freed before the activations are computed.
    """
    arrays, cut = task.weights(), _cuts(task, ranks)
    kernels = [array.nbytes for array in arrays.values() if array.ndim > 1]
    gathered = [arrays[name] for name in cut if cut[name]]
    gathered_bytes = sum(array.nbytes for array in gathered)
    pack_bytes = dense_dtensor.pack_bytes(gathered_bytes)
    biases_bytes = dense_dtensor.pack_bytes(task.weight_bytes - sum(kernels))
    sent_bytes = pack_bytes + sum(kernels) + biases_bytes + 4
    sums = {"all_reduce": (ranks * (3 + len(kernels)), ranks * sent_bytes)}
    # A part of the weights, its momentum and, computed early, the momentum times its factor.
    held_bytes = 3 * (task.weight_bytes - gathered_bytes + gathered_bytes // ranks)
    held_bytes += dense_dtensor.kept_bytes(task, batch // ranks)
    if ranks == 1:
        return Expected({}, 0, held_bytes)
    # TensorFlow writes a part into zeros of the whole array's shape, and that array into zeros of
    # the pack's shape, so all weights exist twice. It keeps the zeros: one array of each shape.
    zeros_bytes = pack_bytes + sum({array.shape: array.nbytes for array in gathered}.values())
    held_bytes += zeros_bytes + gathered_bytes + pack_bytes
    return Expected(sums, wire_bytes_of_collectives(sums, ranks), held_bytes)
