"""Compute results of the tasks in one framework, and write them: python in_one_framework.py torch
OUT.

torch and TensorFlow never run in one process, so each has its own process, and the test compares
the files. Keys of the file are "task|what|name".
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from lablib import tasks

STEPS = 20
TRAINED = ("digits-mlp", "bytes-gpt")


def main(framework, path):
    side = {"torch": Torch, "tensorflow": TensorFlow}[framework]()
    found = side.extras()
    for task in map(tasks.get, tasks.names()):
        found |= keyed(task, "start", side.arrays(task, side.model(task)))
        found |= keyed(task, "output", outputs(side, task))
    for task in map(tasks.get, TRAINED):
        found |= keyed(task, "trained", train(side, task))
    short = tasks.get("digits-mlp")
    found |= keyed(short, "other seed", train(side, short, seed=1))
    found |= keyed(short, "other lr", train(side, replace(short, lr=1.2 * short.lr)))
    np.savez(path, **found)


def keyed(task, what, arrays):
    return {f"{task.name}|{what}|{name}": array for name, array in arrays.items()}


def outputs(side, task):
    """Return the outputs of the model, of its stages, of its first block; the stages' arrays."""
    x, _ = task.batch_at(0, batch=4)
    stages = [(blocks, side.model(task, blocks=blocks)) for blocks in task.cut(3)]
    passed, names, between = x, [], []
    for blocks, stage in stages:
        passed = side.call(stage, passed)
        between += [passed.shape[1:] == task.chain[blocks[-1]].shape_out]
        names += side.arrays(task, stage)
    return {
        "whole": side.call(side.model(task), x),
        "stages": passed,
        "first": side.call(side.model(task, blocks=slice(0, 1)), x),
        "names": np.array(names),
        "shapes": np.array(between),
    }


def train(side, task, seed=0):
    model = side.model(task, seed=seed)
    step = side.trainer(task, model)
    losses = [step(*task.batch_at(number)) for number in range(STEPS)]
    return side.arrays(task, model) | {"losses": np.array(losses)}


class Torch:
    def model(self, task, **options):
        return task.torch_model(**options)

    def arrays(self, task, model):
        return task.torch_arrays(model)

    def call(self, model, x):
        import torch

        with torch.no_grad():
            return model(torch.from_numpy(x)).numpy()

    def trainer(self, task, model):
        import torch

        optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)

        def step(x, y):
            optimizer.zero_grad()
            loss = task.torch_loss(model(torch.from_numpy(x)), torch.from_numpy(y))
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    def extras(self):
        import torch

        task = tasks.get("digits-mlp")
        before = torch.get_rng_state()
        model = task.torch_model()
        wrapped = task.torch_arrays(torch.nn.DataParallel(model))
        copied = task.torch_arrays(model)
        with torch.no_grad():
            model[0].dense.bias += 1
        return keyed(task, "wrapped", wrapped) | {
            "random state is left alone": torch.equal(before, torch.get_rng_state()),
            "arrays are copies": not copied["0.dense.bias"].any(),
        }


class TensorFlow:
    def model(self, task, **options):
        return task.tensorflow_model(**options)

    def arrays(self, task, model):
        return task.tensorflow_arrays(model)

    def call(self, model, x):
        return model(x).numpy()

    def trainer(self, task, model):
        import keras
        import tensorflow as tf

        optimizer = keras.optimizers.SGD(task.lr, momentum=task.momentum)
        optimizer.build(model.trainable_variables)

        @tf.function
        def step(x, y):
            with tf.GradientTape() as tape:
                loss = task.tensorflow_loss(model(x), y)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return loss

        return lambda x, y: float(step(tf.constant(x), tf.constant(y)))

    def extras(self):
        import tensorflow as tf

        # This must come first, because devices cannot be made later.
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
        task = tasks.get("bytes-gpt")
        with tf.device("/CPU:1"):
            stage = task.tensorflow_model(blocks=range(4, 8))
        with tf.distribute.MirroredStrategy(["/CPU:0", "/CPU:1"]).scope():
            mirrored = task.tensorflow_model()
        x, y = task.batch_at(0)
        loss = task.tensorflow_loss(task.tensorflow_model()(x), y)
        return keyed(task, "wrapped", task.tensorflow_arrays(mirrored)) | {
            "devices": np.array(sorted({v.value.device[-5:] for v in stage.trainable_variables})),
            "mirrored on": len(mirrored.trainable_variables[0].value.values),
            "loss": float(loss),
            "embedding's gradient is dense": embedding_gradient_is_dense(task),
        }


def embedding_gradient_is_dense(task):
    import tensorflow as tf

    block = task.tensorflow_model(blocks=range(1))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(block(task.batch_at(0)[0]))
    return all(isinstance(g, tf.Tensor) for g in tape.gradient(total, block.trainable_variables))


if __name__ == "__main__":
    main(*sys.argv[1:])
