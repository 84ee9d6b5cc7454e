"""Print, as JSON, what a TensorFlow rank records of small functions.

This needs its own process, because TensorFlow and PyTorch in one process are known to hang. Each
case is a list of (phase, FLOPs, bytes) of the second call.
"""

from __future__ import annotations

import json
import sys
import warnings

import tensorflow as tf

from lablib.frameworks.rank_config import RankConfig
from lablib.frameworks.tensorflow import compute_seconds, thread_pools
from lablib.frameworks.tensorflow import recorder as tensorflow_recorder
from lablib.frameworks.tensorflow.graph import Compute, Issue, Wait
from lablib.record.recorder import Recorder
from lablib.record.rows import Computed

N = 64
recorder = Recorder()
RANK = RankConfig(
    rank=0, ranks=1, device="cpu", threads=1, timeout_s=60, port=0, counts=True
)  # fmt: skip
thread_pools.limit(RANK.threads)
tensorflow_recorder.join(recorder, RANK)
x = tf.ones([N, N])
weights = tf.Variable(x)
image = tf.ones([2, 8, 8, 3])
filters = tf.Variable(tf.ones([3, 3, 3, 5]))


@tf.function
def product(x):
    return x @ weights


@tf.function
def transposed(x):
    return tf.matmul(x[:, :8], x, transpose_a=True)


@tf.function
def in_batches(x):
    return tf.matmul(tf.reshape(x, [4, 16, 64]), tf.reshape(x, [4, 16, 64]), transpose_b=True)


@tf.function
def einsum(x):
    return tf.einsum("...ij,jk->...ik", tf.reshape(x, [4, 16, 64]), x)


@tf.function
def views(x):
    return tf.squeeze(tf.reshape(tf.identity(x), [1, N * N]))


@tf.function
def sums(x):
    return x + 1.0


@tf.function
def unused(x):
    x @ x
    return x + 1.0


@tf.function
def twice(x):
    return product(product(x))


@tf.function
def loop(x, times):
    for _ in tf.range(times):
        x = x @ weights
    return x


@tf.function
def nested_loop(x, times):
    for _ in tf.range(times):
        for _ in tf.range(3):
            x = x @ weights
    return x


@tf.function
def branch(x):
    return x @ x @ x if tf.reduce_sum(x) > 0 else x @ x


@tf.function
def dense_step(x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(tf.square(x @ weights))
    gradient, of_x = tape.gradient(loss, [weights, x])
    weights.assign_sub(0.0 * gradient)
    return of_x


@tf.function
def convolution_step(image):
    with tf.GradientTape() as tape:
        tape.watch(image)
        y = tf.square(tf.nn.conv2d(image, filters, 1, "SAME"))
    return tape.gradient(y, [image, filters])


@tf.function
def loop_step(x, times):
    with tf.GradientTape() as tape:
        y = x
        for _ in tf.range(times):
            y = y @ weights
    return tape.gradient(y, weights)


@tf.function(input_signature=[tf.TensorSpec([None, N])])
def any_batch(x):
    y = tf.reshape(x @ weights, [tf.shape(x)[0] // 2, 2, N])
    return tf.reshape(y, [-1, N]) @ weights


@tf.function
def by_data(x):
    return tf.boolean_mask(x, x[:, 0] > 0) @ weights


@tf.function
def of_unknown_rank(x):
    return tf.numpy_function(lambda array: array, [x], tf.float32) @ weights


def eager_step(x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(tf.square(x @ weights))
    gradient, of_x = tape.gradient(loss, [weights, x])
    weights.assign_sub(0.0 * gradient)
    return of_x


CASES = {
    "product": (product, x),
    "transposed": (transposed, x),
    "in batches": (in_batches, x),
    "einsum": (einsum, x),
    "views": (views, x),
    "sums": (sums, x),
    "unused": (unused, x),
    "twice": (twice, x),
    "loop of 7": (loop, x, tf.constant(7)),
    "loop of 2": (loop, x, tf.constant(2)),
    "4 loops of 3": (nested_loop, x, tf.constant(4)),
    "branch": (branch, x),
    "dense step": (dense_step, x),
    "dense step, eager": (eager_step, x),
    "convolution step": (convolution_step, image),
    "loop step of 5": (loop_step, x, tf.constant(5)),
    "any batch, 64": (any_batch, x),
    "any batch, 128": (any_batch, tf.ones([2 * N, N])),
    "by data": (by_data, x),
    "of unknown rank": (of_unknown_rank, x),
}


def rows_of(function, *arguments):
    function(*arguments)
    recorder.computed()
    start = len(recorder.rows)
    function(*arguments)
    recorder.computed()
    return [
        (
            row.phase,
            sum(c.flops * c.count for c in row.costs),
            sum(c.nbytes * c.count for c in row.costs),
        )
        for row in recorder.rows[start:]
        if isinstance(row, Computed)
    ]


def shares(seconds, call, messages):
    """Return the shares of a graph's parts: 10 and 30 bytes, a send, 10 during it, 20 after it."""
    forward, backward, between, after = (
        Compute("other", ((1, nbytes, "fp32", 1),)) for nbytes in (10, 30, 10, 20)
    )
    parts = [forward, backward, Issue(0), between, Wait(0), after]
    each = compute_seconds.shared(parts, seconds, call, messages)
    return [share_s for part, share_s in each if isinstance(part, Compute)]


def main():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        # Python's warnings about TensorFlow's own code.
        warnings.simplefilter("ignore", DeprecationWarning)
        found = {name: rows_of(*case) for name, case in CASES.items()}
    found["warnings"] = [str(warning.message) for warning in said]
    found["shares"] = shares(4.0, (0.0, 10.0), [(6.0, 8.0)])
    found["shares without messages"] = shares(7.0, (0.0, 1.0), [])
    clock = compute_seconds.CpuSeconds()
    graph_s = clock()[1]
    for _ in range(20):
        loop(x, tf.constant(200))
    found["cpu seconds before and after"] = [graph_s, clock()[1]]
    print(json.dumps(found), file=sys.stdout)


if __name__ == "__main__":
    main()
