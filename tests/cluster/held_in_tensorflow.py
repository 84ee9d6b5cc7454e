"""What tensors are counted in TensorFlow, as JSON: of training steps [counted, given out by its
allocator], of small programs the bytes. A process of its own: the allocator is chosen once."""

from __future__ import annotations

import gc
import json
import os

os.environ["TF_CPU_ALLOCATOR_USE_BFC"] = "1"  # the one that keeps an account

import keras
import tensorflow as tf

import lablib as lab
from lablib.cluster import tensorflow_recorder
from lablib.record.recorder import Recorder

recorder = Recorder()
tensorflow_recorder.join(recorder, rank=0, rank_of_task={}, ranks=1, threads=1, counts=True)
tf.zeros([]).numpy()  # no allocator, no account


def held(name, optimizer_of, in_graph):
    """Of the last of three steps."""
    task = lab.tasks.get(name)
    gc.collect()  # the model before
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
    for number in range(3):
        x, y = map(tf.constant, task.batch_at(number, task.batch))
        recorder.memory.restart()
        tf.config.experimental.reset_memory_stats("CPU:0")
        step(x, y).numpy()
    return recorder.memory.peak_bytes - before[0], _of_the_allocator("peak") - before[1]


def _of_the_allocator(which):
    return tf.config.experimental.get_memory_info("CPU:0")[which]


OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "Adam": lambda: keras.optimizers.Adam(),
}
STEPS = {
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


KEPT = (
    views,
    a_view_outlives_its_tensor,
    read_twice,
    read_before_a_change,
    read_before_a_graph_changes_it,
    from_a_graph,
)


def kept(make):
    """Kilobytes that are alive as long as what was made is."""
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


def inside(graph):
    """Of a call, in tensors of its argument's size, that included."""
    x = tf.ones([32, 32])
    before = recorder.memory.now_bytes - 4 * 32**2
    recorder.memory.restart()
    graph(x)
    return (recorder.memory.peak_bytes - before) / (4 * 32**2)


if __name__ == "__main__":
    found = {name: held(*case) for name, case in STEPS.items()}
    found |= {make.__name__: kept(make) for make in KEPT}
    found |= {
        graph.python_function.__name__: inside(graph)
        for graph in (one_after_another, all_at_once, after_a_clock)
    }
    print(json.dumps(found))
