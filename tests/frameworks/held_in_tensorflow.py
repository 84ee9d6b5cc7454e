"""Print, as JSON, how many bytes of tensors are counted in TensorFlow.

For training steps these are [counted bytes, bytes given out by the allocator], for small programs
bytes. This needs its own process, because TensorFlow chooses its allocator once.
"""

from __future__ import annotations

import gc
import json
import os

os.environ["TF_CPU_ALLOCATOR_USE_BFC"] = "1"  # the allocator that keeps statistics

import keras
import tensorflow as tf

import lablib as lab
from lablib.frameworks.rank_config import RankConfig
from lablib.frameworks.tensorflow import recorder as tensorflow_recorder
from lablib.frameworks.tensorflow import thread_pools
from lablib.record.recorder import Recorder

recorder = Recorder()
RANK = RankConfig(
    rank=0, ranks=1, device="cpu", threads=1, timeout_s=60, port=0, counts=True
)  # fmt: skip
thread_pools.limit(RANK.threads)
tensorflow_recorder.join(recorder, RANK)
tf.zeros([]).numpy()  # without an allocator there are no statistics


STEPS = 6


def held(name, optimizer_of, in_graph):
    """Return the bytes of the last step, and of the step with the allocator's best places."""
    task = lab.tasks.get(name)
    gc.collect()  # free the model before
    before = recorder.memory.now_bytes, _of_the_allocator("current")
    model = task.tensorflow_model(0)
    optimizer = optimizer_of()
    optimizer.build(model.trainable_variables)

    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = task.tensorflow_loss(model(x), y)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    step = tf.function(train_step) if in_graph else train_step
    given_out = []
    for number in range(STEPS):
        x, y = map(tf.constant, task.batch_at(number, task.batch))
        recorder.memory.restart()
        tf.config.experimental.reset_memory_stats("CPU:0")
        step(x, y).numpy()
        given_out.append(_of_the_allocator("peak"))
    return recorder.memory.peak_bytes - before[0], min(given_out[1:]) - before[1]


def _of_the_allocator(which):
    return tf.config.experimental.get_memory_info("CPU:0")[which]


OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "Adam": lambda: keras.optimizers.Adam(),
}
TRAINED = {
    f"{task}, {optimizer}, {'graph' if in_graph else 'eager'}": (
        task,
        OPTIMIZERS[optimizer],
        in_graph,
    )
    for task in ("wide-mlp", "digits-cnn", "bytes-gpt")
    for optimizer in OPTIMIZERS
    for in_graph in (True, False)
}
KB = 1000


def kilobyte():
    return tf.zeros([KB // 4])


def views():
    whole = kilobyte()
    return [whole, tf.reshape(whole, [-1, 2]), tf.identity(whole)]


def a_view_outlives_its_tensor():
    return tf.reshape(kilobyte(), [-1, 2])


def read_twice():
    variable = tf.Variable(kilobyte())
    return [variable, variable.read_value(), variable.read_value()]


def read_before_a_change():
    variable = tf.Variable(kilobyte())
    old = variable.read_value()
    variable.assign_add(kilobyte())
    return [variable, old]


@tf.function
def add_to(variable, much):
    variable.assign_add(much)


def read_before_a_graph_changes_it():
    variable = tf.Variable(kilobyte())
    old = variable.read_value()
    add_to(variable, kilobyte())
    return [variable, old]


@tf.function
def returns_two(x):
    return x + 1, x + 2


def from_a_graph():
    return returns_two(kilobyte())


def used_without_being_read():
    variable = tf.Variable(kilobyte())
    with tf.GradientTape() as tape:
        product = variable * 2.0
    return [variable, tape, product]


@tf.function
def give_back(variable, x):
    return x, tf.reshape(x, [-1, 2]), variable.read_value()


def given_back_by_a_graph():
    variable, x = tf.Variable(kilobyte()), kilobyte()
    return [variable, x, give_back(variable, x), give_back(variable, x)]


@tf.function
def exchange(variable, x):
    old = variable.read_value()
    variable.assign(x + 1)
    return old


def read_and_changed_by_a_graph():
    variable = tf.Variable(kilobyte())
    return [variable, exchange(variable, kilobyte())]


def of_unknown_shape():
    variable = tf.Variable([0.0], shape=tf.TensorShape(None))
    variable.assign(kilobyte())
    return variable


def made_by_a_bare_operation():
    return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[KB // 4])


KEPT = (
    views,
    a_view_outlives_its_tensor,
    read_twice,
    read_before_a_change,
    read_before_a_graph_changes_it,
    from_a_graph,
    used_without_being_read,
    given_back_by_a_graph,
    read_and_changed_by_a_graph,
    of_unknown_shape,
    made_by_a_bare_operation,
)


def kept(make):
    """Return the kilobytes that are alive as long as the result of `make`."""
    make()  # a graph keeps the variable that it was traced with
    gc.collect()
    before = recorder.memory.now_bytes
    made = make()
    alive = recorder.memory.now_bytes - before
    del made
    gc.collect()
    assert recorder.memory.now_bytes == before, make
    return alive / KB


@tf.function
def one_after_another(x):
    for _ in range(5):
        x = tf.matmul(x, x)
    return x


@tf.function
def all_at_once(x):
    return tf.add_n([tf.matmul(x, x + number) for number in range(5)])


@tf.function
def after_a_clock(x):
    with tf.control_dependencies([tensorflow_recorder._now([x])]):
        return tf.reduce_sum(tf.matmul(x, x))


@tf.function
def gives_back(x):
    product = tf.matmul(x, x)
    return x, product, product


@tf.function
def of_what_is_given_back(x):
    return tf.reduce_sum(tf.add_n(gives_back(x)))


@tf.function
def layer(x):
    return tf.nn.gelu(tf.matmul(x, x))


@tf.function
def gradient_of_a_layer(x):
    return tf.gradients(layer(x), x)


@tf.function
def layer_alone(x):
    return layer(x)


INSIDE = (
    one_after_another,
    all_at_once,
    after_a_clock,
    of_what_is_given_back,
    gradient_of_a_layer,
    layer_alone,
)


def inside(graph):
    """Return the bytes of a call in units of its argument's size, including the argument."""
    x = tf.ones([32, 32])
    before = recorder.memory.now_bytes - 4 * 32**2
    recorder.memory.restart()
    graph(x)
    return (recorder.memory.peak_bytes - before) / (4 * 32**2)


if __name__ == "__main__":
    found = {name: held(*case) for name, case in TRAINED.items()}
    found |= {make.__name__: kept(make) for make in KEPT}
    found |= {graph.python_function.__name__: inside(graph) for graph in INSIDE}
    print(json.dumps(found))
