"""3.4 Write a training loop for MultiWorkerMirroredStrategy: equal start, shards, mean gradient."""

import numpy as np

from lablib.teach.claims import RANK, Claim, equal_by_rank, volume
from lablib.teach.exercise import Case

ANSWERS = ("train(strategy, make_model, batches, lr)",)
TITLE = "A loop for several workers"
POINTS = 5

_EQUAL = (
    "Where do you make the model? Variables made in strategy.scope() start equal on all workers.",
    "In `with strategy.scope():` make the model and keras.optimizers.SGD(lr), and build it.",
)
_ONE = (
    "Compare with one worker: are your steps too large? apply_gradients sums over the workers.",
    "Divide the loss by strategy.num_replicas_in_sync before you compute its gradient.",
)
_STEPS = ("In each step, strategy.run(...) a function that computes and applies gradients.",)


def cases(seed):
    return [case_of(seed, workers=2, steps=3, per_worker=4)]


def case_of(seed, workers, steps, per_worker, inputs=5, outputs=2):
    """Return a case in which every worker has its own shards and different starting weights."""
    rng = np.random.default_rng(seed)
    shape = (steps, per_worker)
    own = tuple(
        {
            "x": rng.normal(size=(*shape, inputs)).astype(np.float32),
            "y": rng.normal(size=(*shape, outputs)).astype(np.float32),
            "start": (rng.normal(size=(inputs, outputs)) / inputs**0.5).astype(np.float32),
        }
        for _ in range(workers)
    )
    name = f"{workers} workers, {steps} steps, {inputs} x {outputs} weights"
    return Case(name, shared={"lr": 0.1}, own=own, ranks=workers, framework="tensorflow")


def observe(me, answer, given):
    import keras
    import tensorflow as tf

    def make_model():
        start, (inputs, outputs) = keras.initializers.Constant(given.start), given.start.shape
        layer = keras.layers.Dense(outputs, use_bias=False, kernel_initializer=start)
        return keras.Sequential([keras.Input((inputs,)), layer])

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    batches = [(tf.constant(x), tf.constant(y)) for x, y in zip(given.x, given.y)]
    model = answer(strategy, make_model, batches, given.lr)
    return model.trainable_variables[0].numpy()


def judge(case, seen):
    first = seen.values[0]
    yield Claim("all workers end with equal weights",
                all(np.array_equal(first, weights) for weights in seen.values),
                hints=_EQUAL)  # fmt: skip
    yield equal_by_rank("the weights equal those of one process with all the data",
                        [of_one_process(case)] * case.ranks, seen.values, weight=2,
                        hints=_ONE)  # fmt: skip
    steps, weights = len(case.own[0]["x"]), case.own[0]["start"]
    if weights.nbytes >= 1e6:  # the first worker may also send its first weights to the others
        others = case.ranks - 1
        yield volume("the gradients of each step are sent once", seen,
                     2 * others * weights.nbytes * steps, 2 * others * weights.nbytes,
                     hints=_STEPS)  # fmt: skip
    sums = [nbytes for name, nbytes in seen.collectives(0) if name == "all_reduce"]
    size = getattr(first, "nbytes", 0)  # a loss, which is smaller, may be summed in addition
    yield Claim("one all-reduce of the gradients in each step", sums.count(size) == steps,
                f"{steps} all-reduces of {size} B", f"bytes {sums}", hints=_STEPS,
                evidence=RANK)  # fmt: skip


def of_one_process(case):
    """Return the weights after gradient descent on the mean squared error of the whole batches."""
    weights = case.own[0]["start"].astype(float)
    for step in range(len(case.own[0]["x"])):
        x, y = (np.concatenate([own[key][step] for own in case.own]) for key in ("x", "y"))
        weights = weights - case.shared["lr"] * 2 * x.T @ (x @ weights - y) / y.size
    return weights
