"""4.6, hidden from learners: other cases, other right answers, wrong answers."""

from lablib.teach.exercise import find

placed, meshed = find("4.6").module.placed, find("4.6").module.meshed


def cases(seed):
    return [
        placed(seed, samples=48, width=40, hidden=700, out=512),
        meshed(seed + 1, samples=8, width=512, hidden=256, out=512),
    ]


def under_tf_device(x, a, b, devices):
    import tensorflow as tf

    with tf.device(devices[0]):
        a = tf.Variable(a)
        h = tf.tanh(x @ a)
    with tf.device(devices[1]):
        b = tf.Variable(b)
        y = h @ b
    return a, b, h, y


def keras_layers(x, a, b, devices):
    """Uses Keras layers that are built and called on their own devices."""
    import keras
    import tensorflow as tf

    out, made = x, []
    for device, kernel, activation in ((devices[0], a, "tanh"), (devices[1], b, None)):
        with tf.device(device):
            layer = keras.layers.Dense(kernel.shape[1], activation, use_bias=False)
            layer.build(out.shape)
            layer.kernel.assign(kernel)
            out = layer(out)
        made.append((layer.kernel.value, out))
    (a, h), (b, y) = made
    return a, b, h, y


def packed(x, a, b, mesh):
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    columns = dtensor.Layout([dtensor.UNSHARDED, "rank"], mesh)
    rows = dtensor.Layout(["rank", dtensor.UNSHARDED], mesh)
    a, b = dtensor.pack([a], columns), dtensor.pack([b], rows)
    return a, b, tf.matmul(tf.tanh(tf.matmul(x, a)), b)


def packed_in_a_graph(x, a, b, mesh):
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    def layout(axis):
        return dtensor.Layout.batch_sharded(mesh, "rank", rank=2, axis=axis)

    @tf.function
    def forward(x, a, b):
        y = tf.einsum("bh,ho->bo", tf.math.tanh(tf.einsum("bw,wh->bh", x, a)), b)
        return dtensor.relayout(y, dtensor.Layout.replicated(mesh, rank=2))

    a, b = dtensor.pack([a], layout(1)), dtensor.pack([b], layout(0))
    return a, b, forward(x, a, b)


def all_on_worker_0(x, a, b, devices):
    return under_tf_device(x, a, b, [devices[0]] * 2)


def all_on_worker_1(x, a, b, devices):
    return under_tf_device(x, a, b, [devices[1]] * 2)


def swapped(x, a, b, devices):
    return under_tf_device(x, a, b, devices[::-1])


def variables_placed_but_not_the_work(x, a, b, devices):
    import tensorflow as tf

    with tf.device(devices[0]):
        a = tf.Variable(a)
    with tf.device(devices[1]):
        b = tf.Variable(b)
    with tf.device(devices[0]):
        h = tf.tanh(x @ a)
        y = h @ b
    return a, b, h, y


def cut_by_numpy(x, a, b, devices):
    """Finds the right outputs, but the tape does not reach a."""
    import tensorflow as tf

    with tf.device(devices[0]):
        a = tf.Variable(a)
        h = tf.tanh(x @ a)
    with tf.device(devices[1]):
        b = tf.Variable(b)
        y = tf.constant(h.numpy()) @ b
    return a, b, h, y


def rows_and_columns(x, a, b, mesh):
    """Swaps the two layouts, so that the whole tensors made of the ranks' parts do not fit."""
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    rows = dtensor.Layout(["rank", dtensor.UNSHARDED], mesh)
    a, b = dtensor.pack([a], rows), dtensor.pack([b], rows)
    whole = dtensor.Layout.replicated(mesh, rank=2)
    y = tf.matmul(tf.tanh(tf.matmul(x, dtensor.relayout(a, whole)[: x.shape[1]])),
                  dtensor.relayout(b, whole)[: a.shape[1]])  # fmt: skip
    return a, b, y


def said_to_be_replicated(x, a, b, mesh):
    """Declares each rank's part to be the whole: it needs no message, and y is wrong."""
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    whole = dtensor.Layout.replicated(mesh, rank=2)
    a, b = dtensor.pack([a], whole), dtensor.pack([b], whole)
    return a, b, tf.matmul(tf.tanh(tf.matmul(x, a)), b)


def gathers_the_weights(x, a, b, mesh):
    """Finds the right numbers, but every rank then holds the whole layers."""
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    whole = dtensor.Layout.replicated(mesh, rank=2)
    a, b, _ = packed(x, a, b, mesh)
    a, b = dtensor.relayout(a, whole), dtensor.relayout(b, whole)
    return a, b, tf.matmul(tf.tanh(tf.matmul(x, a)), b)


RIGHT = [(under_tf_device, packed), (keras_layers, packed_in_a_graph)]
WRONG = {
    "all on worker 0": (all_on_worker_0, packed),
    "all on worker 1": (all_on_worker_1, packed),
    "swapped workers": (swapped, packed),
    "variables placed, the work not": (variables_placed_but_not_the_work, packed),
    "cut by NumPy": (cut_by_numpy, packed),
    "rows instead of columns": (under_tf_device, rows_and_columns),
    "parts said to be the whole": (under_tf_device, said_to_be_replicated),
    "all weights on every rank": (under_tf_device, gathers_the_weights),
    "only the first half": (under_tf_device, lambda x, a, b, mesh: (a, b, x)),
}
