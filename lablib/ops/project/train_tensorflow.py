"""Train on several ranks with TensorFlow: python -m lablib run train_tensorflow.py --ranks 2"""

import digits
import model
import tensorflow as tf
import track


def main():
    config = track.config()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()  # reads TF_CONFIG
    worker = strategy.cluster_resolver
    rank, ranks = worker.task_id, strategy.num_replicas_in_sync
    images, labels = digits.shard("train", rank, ranks)
    x, y = tf.constant(model.scale(images)), tf.constant(labels)
    initial = model.initial_weights(config["hidden"], config["seed"])
    with strategy.scope():
        weights = {name: tf.Variable(array) for name, array in initial.items()}

    def step():
        with tf.GradientTape() as tape:
            hidden = tf.nn.relu(x @ weights["w1"] + weights["b1"])
            scores = hidden @ weights["w2"] + weights["b2"]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, scores))
        gradients = tape.gradient(loss, list(weights.values()))
        sums = tf.distribute.get_replica_context().all_reduce("SUM", gradients)
        for weight, total in zip(weights.values(), sums):
            weight.assign_sub(config["learning_rate"] * total / ranks)
        return loss

    @tf.function
    def train_step():
        return strategy.run(step)

    for _ in range(config["steps"]):
        loss = train_step()

    if rank == 0:
        arrays = {name: weight.numpy() for name, weight in weights.items()}
        track.save("tensorflow", arrays, float(loss))


if __name__ == "__main__":
    main()
