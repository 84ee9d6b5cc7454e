"""One process trains the whole model on the whole batch, for comparison with all others."""

from lablib.strategies import activations
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy

STRATEGY = Strategy(
    name="single",
    framework="tensorflow",
    family="single",
    about="One rank holds the whole model and sees the whole batch; nothing is sent.",
    read="https://www.tensorflow.org/guide/keras/writing_a_custom_training_loop_in_tensorflow",
    splits="nothing",
    most_ranks=1,
)


def train(me, job: Job) -> dict:
    import keras
    import tensorflow as tf

    task = job.task
    model = task.tensorflow_model(job.seed)
    optimizer = keras.optimizers.SGD(task.lr, momentum=task.momentum)
    optimizer.build(model.trainable_variables)

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = task.tensorflow_loss(model(x), y)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    losses = []
    for step in range(job.steps):
        x, y = map(tf.constant, job.batch_at(step))
        with me.step(samples=len(x)):
            loss = train_step(x, y).numpy()
        losses.append(float(loss))
    return {"losses": losses, "weights": task.tensorflow_arrays(model)}


def expected(task, ranks: int, batch: int) -> Expected:
    # A rank holds the most when the backward pass begins: weights, momentum, and momentum times its
    # factor. The graph has already computed this product, because it needs no gradient.
    saved_bytes = activations.saved_bytes_in_graph(task, batch)
    return Expected({}, 0, 3 * task.weight_bytes + saved_bytes)
