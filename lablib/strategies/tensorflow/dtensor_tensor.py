"""Tensor parallelism with DTensor over processes.

The layouts of the weights say that the first layer of a pair is cut by columns and the second by
rows. TensorFlow adds the sums that combine the parts.
"""

from lablib.strategies import column_row, dense_dtensor
from lablib.strategies.expected import Expected, wire_bytes_of_collectives
from lablib.strategies.strategy import Job, Strategy


def why_not(task, ranks, batch):
    return dense_dtensor.why_not(task) or column_row.why_not(task, ranks)


STRATEGY = Strategy(
    name="dtensor_tensor",
    framework="tensorflow",
    family="tensor",
    about="Every rank holds columns or rows of each layer and sees the whole batch; outputs of a "
    "pair of layers are summed forward, gradients of its input backward.",
    read="https://www.tensorflow.org/tutorials/distribute/dtensor_ml_tutorial",
    splits="nothing",
    least_ranks=2,
    only_measured=dense_dtensor.ONLY_MEASURED,
    fits=why_not,
)


def train(me, job: Job) -> dict:
    mesh = dense_dtensor.connected_mesh(me, {"tensor": me.ranks})
    return dense_dtensor.train(me, job, mesh, cuts(job.task), samples_along=None)


def cuts(task):
    axes = column_row.cut_axes(task)
    return {name: {axes[name]: "tensor"} if name in axes else {} for name in task.weights()}


def expected(task, ranks: int, batch: int) -> Expected:
    sums = {"all_reduce": column_row.all_reduces(task, ranks, batch)}
    # Weights, their momentum and, computed early, the momentum times its factor: see `single`.
    held_bytes = 3 * column_row.weight_bytes(task, ranks)
    held_bytes += dense_dtensor.kept_bytes(task, batch, ranks)
    return Expected(sums, wire_bytes_of_collectives(sums, ranks), held_bytes)
