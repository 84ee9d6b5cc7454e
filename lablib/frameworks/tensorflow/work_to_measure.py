"""The operations that `lab.Hardware.measure` times on a TensorFlow rank."""

from __future__ import annotations

import tensorflow as tf


class TensorFlowWork:
    """Each method returns a function to call. Make it before any other operation of the rank."""

    def __init__(self):
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy()

    def product(self, width):
        a = tf.ones((width, width))
        return lambda: tf.matmul(a, a).numpy()

    def copy(self, nbytes):
        b = tf.ones(nbytes // 4)
        return lambda: tf.identity(b + 0.0).numpy()

    def all_reduce(self, floats):
        def summed(x):
            return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(x))

        x = tf.ones(floats)
        reduce = tf.function(lambda x: self.strategy.run(summed, args=(x,)))
        return lambda: reduce(x)
