"""4.6 Make the same cuts in TensorFlow: layers placed on two workers, and DTensor."""

import numpy as np

from lablib.teach.claims import OUTSIDE, RANK, Claim, equal, equal_by_rank, show, volume
from lablib.teach.exercise import Case

ANSWERS = ("placed_mlp(x, a, b, devices)", "dtensor_mlp(x, a, b, mesh)")
TITLE = "Model parallelism in TensorFlow"
POINTS = 5
PLACED, DTENSOR = 0, 1

_PLACED_OUTPUT = ("y is tanh(x @ a) @ b. Is it the fourth of the values that you return?",)
_PLACES = (
    "Print the .device of what you return. Where does TensorFlow put operations without a device?",
    "In `with tf.device(devices[0]):` make the variable of a and compute h; b and y in another.",
)
_GRADIENT = (
    "Did you return variables? There is no gradient of a tensor that the tape does not watch.",
    "The tape watches tf.Variable(a) by itself. Calling .numpy() between x and y breaks the tape.",
)
_WORKED = ("Compute on devices[1] what you place there: then b and h cross the network.",)
_DTENSOR_OUTPUT = (
    "Each rank has different columns and rows. Which layout puts these parts side by side?",
    "dtensor.pack([part], layout) makes one tensor from the ranks' parts. a is sharded along its "
    'second axis, b along its first. "rank" is the name of the mesh\'s only dimension.',
)
_LAYOUT = (
    "Print dtensor.fetch_layout(...).sharding_specs of each tensor that you return.",
    'For a: [dtensor.UNSHARDED, "rank"]. y is not sharded: every rank has all of it.',
)

_CARRIED = ("An unsharded layout of a sharded tensor gathers it on every rank. Which one does?",)
_SET_UP_BYTES = 100_000  # DTensor's own messages; 11,000 bytes were measured


def cases(seed):
    return [
        placed(seed, samples=4, width=6, hidden=8, out=3),
        placed(seed + 1, samples=64, width=64, hidden=1024, out=512),
        meshed(seed + 2, samples=5, width=6, hidden=4, out=3),
    ]


def placed(seed, **sizes):
    """Return a case for tf.device: rank 0 runs the program, rank 1 only serves."""
    x, a, b = arrays(np.random.default_rng(seed), **sizes)
    name = f"tf.device: x {x.shape[0]} x {x.shape[1]}, {a.shape[1]} hidden, {b.shape[1]} out"
    own = ({"x": x, "a": a, "b": b}, {"x": None, "a": None, "b": None})
    return Case(name, {"upstream": 1 / len(x)}, own, answer=PLACED, ranks=2,
                framework="tensorflow", timeout_s=60)  # fmt: skip


def meshed(seed, ranks=2, **sizes):
    """Return a case for DTensor: every rank has its own columns of a and rows of b."""
    rng = np.random.default_rng(seed)
    x, *_ = arrays(rng, **sizes)
    own = tuple(dict(zip("ab", arrays(rng, **sizes)[1:], strict=True)) for _ in range(ranks))
    name = f"DTensor: {sizes['hidden']} columns and rows on each of {ranks} ranks"
    return Case(name, {"x": x}, own, answer=DTENSOR, ranks=ranks, framework="tensorflow",
                timeout_s=60)  # fmt: skip


def arrays(rng, samples, width, hidden, out):
    shapes = (samples, width), (width, hidden), (hidden, out)
    return [(rng.normal(size=s) / np.sqrt(s[-2])).astype(np.float32) for s in shapes]


def observe(me, answer, given):
    return (by_placement if hasattr(given, "upstream") else by_mesh)(me, answer, given)


def by_placement(me, answer, given):
    import json
    import os

    import tensorflow as tf

    cluster = json.loads(os.environ["TF_CONFIG"])["cluster"]
    if me.rank > 0:
        me.server = tf.distribute.Server(cluster, job_name="worker", task_index=me.rank)
        return None
    spec = tf.train.ClusterSpec(cluster)
    tf.config.experimental_connect_to_cluster(spec, job_name="worker", task_index=0)
    devices = [f"/job:worker/replica:0/task:{rank}/device:CPU:0" for rank in range(me.ranks)]
    with tf.GradientTape() as tape:
        a, b, h, y = answer(tf.constant(given.x), given.a, given.b, devices)
        mean = tf.reduce_sum(y) * given.upstream
    slopes = tape.gradient(mean, [a, b])
    return {
        "y": y,
        "places": [getattr(one, "device", "") for one in (a, b, h, y)],
        "gradients": [None if slope is None else tf.convert_to_tensor(slope) for slope in slopes],
        "devices": devices,
    }


def by_mesh(me, answer, given):
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    from lablib.strategies.dense_dtensor import connected_mesh

    mesh = connected_mesh(me, {"rank": me.ranks})
    whole = dtensor.Layout.replicated(mesh, rank=2)
    x = dtensor.copy_to_mesh(tf.constant(given.x), whole)
    a, b, y = answer(x, tf.constant(given.a), tf.constant(given.b), mesh)
    return {
        "y": dtensor.unpack(y)[0],
        "layouts": [list(dtensor.fetch_layout(one).sharding_specs) for one in (a, b, y)],
    }


def judge(case, seen):
    return judge_placed(case, seen) if case.answer == PLACED else judge_meshed(case, seen)


def judge_placed(case, seen):
    x, a, b = (case.own[0][name].astype(float) for name in "xab")
    value, h = seen.values[0], np.tanh(x @ a)
    yield equal("y equals that of one process", h @ b, value["y"], hints=_PLACED_OUTPUT)
    upstream = np.full((len(x), b.shape[1]), case.shared["upstream"])
    due = [x.T @ ((upstream @ b.T) * (1 - h**2)), h.T @ upstream]
    yield equal("the tape finds the gradients of a and b", due, value["gradients"],
                hints=_GRADIENT)  # fmt: skip
    # Check the bytes counted outside: no rank's record shows what tf.device sends.
    if 4 * b.size >= 1e6 and seen.loopback_bytes is not None:
        # Tensors b and h go to worker 1, and y comes back. b comes back, too: nobody placed the
        # tape's gradients, so worker 0 computes them.
        nbytes = 4 * (2 * b.size + h.size + upstream.size)
        # gRPC adds its own headers and acknowledgements; 4 % were measured.
        yield volume("worker 1 computed what was placed on it: b, h and y were sent", seen,
                     nbytes, nbytes / 10, hints=_WORKED)  # fmt: skip
    first, second = value["devices"]
    yield Claim("a and h are on worker 0, b and y on worker 1",
                value["places"] == [first, second, first, second],
                f"{[first, second, first, second]}", show(value["places"]), hints=_PLACES,
                evidence=RANK, weight=2)  # fmt: skip


def judge_meshed(case, seen):
    x = case.shared["x"].astype(float)
    y = sum(np.tanh(x @ own["a"]) @ own["b"] for own in case.own)
    yield equal_by_rank("every rank has the whole y, computed from all ranks' parts",
                        [y] * case.ranks, [value["y"] for value in seen.values], weight=2,
                        hints=_DTENSOR_OUTPUT)  # fmt: skip
    weights = sum(own[name].nbytes for own in case.own for name in "ab")
    if weights >= 1e6 and seen.loopback_bytes is not None:
        most = 2 * (case.ranks - 1) * 4 * y.size + _SET_UP_BYTES
        yield Claim("the network carries y, and no weights", seen.loopback_bytes <= most,
                    f"at most {most:,} B", f"{seen.loopback_bytes:,} B", hints=_CARRIED,
                    evidence=OUTSIDE, weight=2)  # fmt: skip
    due = [["unsharded", "rank"], ["rank", "unsharded"], ["unsharded", "unsharded"]]
    got = [value["layouts"] for value in seen.values]
    yield Claim("a is sharded by columns, b by rows, and y is not sharded",
                got == [due] * case.ranks, show(due), show(got[0]), hints=_LAYOUT,
                evidence=RANK)  # fmt: skip
