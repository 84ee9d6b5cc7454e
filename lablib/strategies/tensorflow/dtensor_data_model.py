"""Data x model parallelism with DTensor on a mesh of two axes.

Layers are cut along one axis and the batch along the other. TensorFlow sums activations along the
first axis and gradients along the second.
"""

from lablib.record.wire_bytes import wire_bytes
from lablib.strategies import column_row, dense_dtensor
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.tensorflow import dtensor_tensor

MODEL = 2  # ranks that share a layer


def _why_not(task, ranks, batch):
    if ranks % MODEL:
        return f"{MODEL} ranks share each layer, and {ranks} is not a multiple of {MODEL}"
    return dtensor_tensor.why_not(task, MODEL, batch)


STRATEGY = Strategy(
    name="dtensor_data_model",
    framework="tensorflow",
    family="combined",
    about="Ranks are a grid: along its rows they share each layer, along its columns the batch; "
    "activations are summed in a row, gradients in a column.",
    read="https://www.tensorflow.org/tutorials/distribute/dtensor_ml_tutorial",
    splits="batch",
    least_ranks=2 * MODEL,
    only_measured=dense_dtensor.ONLY_MEASURED,
    fits=_why_not,
)


def train(me, job: Job) -> dict:
    mesh = dense_dtensor.connected_mesh(me, {"data": me.ranks // MODEL, "tensor": MODEL})
    cuts = dtensor_tensor.cuts(job.task)
    return dense_dtensor.train(me, job, mesh, cuts, samples_along="data")


def expected(task, ranks: int, batch: int) -> Expected:
    """Return what a rank sends and holds.

    Activations are summed along the rows; gradients, in one pack, and the loss along the columns.
    """
    rows = ranks // MODEL
    weight_bytes = column_row.weight_bytes(task, MODEL)
    pack_bytes = dense_dtensor.pack_bytes(weight_bytes)
    calls, nbytes = column_row.all_reduces(task, MODEL, batch // rows)
    sums = rows * calls + 2 * ranks, rows * nbytes + ranks * (pack_bytes + 4)
    # A rank holds its weights, their momentum and, computed early, the momentum times its factor:
    # see `single`. TensorFlow also keeps the zeros with which it pads the pack. When a gradient is
    # ready, the arrays that it was computed from are freed.
    kept_bytes = dense_dtensor.kept_bytes(task, batch // rows, MODEL)
    held_bytes = 3 * weight_bytes + 2 * pack_bytes + max(kept_bytes, weight_bytes)
    carried = wire_bytes("all_reduce", nbytes / MODEL, MODEL)  # activations along a row
    carried += wire_bytes("all_reduce", pack_bytes + 4, rows)  # gradients and loss along a column
    return Expected({"all_reduce": sums}, carried, held_bytes)
