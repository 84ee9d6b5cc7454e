"""One of two plain TensorFlow workers: what a warm `cluster.run` is compared with."""

import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()


@tf.function
def summed(x):
    def add(x):
        return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(x))

    return strategy.run(add, args=(x,))


summed(tf.ones([1000]))
