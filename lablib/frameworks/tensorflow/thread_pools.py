"""Limit the threads with which a TensorFlow rank and its servers compute."""

from __future__ import annotations

import functools

import tensorflow as tf

from lablib.frameworks.tensorflow import compat

# A single thread that starts operations would wait for itself if servers call one another.
_LEAST_TO_START = 2


def limit(threads: int) -> None:
    """Set the number of threads of every pool, also of each `tf.distribute.Server`."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    # A server has its own pools and ignores `tf.config`.
    pools = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=max(threads, _LEAST_TO_START),
    )
    compat.replace("tensorflow:distribute.Server.__init__", lambda begin: _limited(begin, pools))


def _limited(begin, pools):
    @functools.wraps(begin)
    def call(
        server,
        server_or_cluster_def,
        job_name=None,
        task_index=None,
        protocol=None,
        config=None,
        start=True,
    ):
        asked = server_or_cluster_def, job_name, task_index, protocol
        begin(server, *asked, config or pools, start)

    return call
