"""One of two plain TensorFlow workers, for comparison with a warm `cluster.run`."""

import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()


@tf.function
def summed(x):
    def add(x):
        return tf.distribute.get_replica_context().all_reduce("sum", tf.identity(x))

    return strategy.run(add, args=(x,))


summed(tf.ones([1000]))
