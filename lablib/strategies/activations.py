"""Measure what the forward pass keeps for the backward pass, in torch and in a TensorFlow graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lablib.tasks import Task


def saved_bytes(task: Task, samples: int) -> int:
    """Return the bytes that autograd keeps of one forward pass over `samples` samples.

    Weights are not counted. Nothing is computed: tensors on the meta device have shapes but no
    memory.
    """
    import torch

    from lablib.frameworks.torch.compat import memory_id

    x, y = (torch.from_numpy(array).to("meta") for array in task.batch_at(0, samples))
    model = task.torch_model().to("meta")
    known = {memory_id(weight.untyped_storage()) for weight in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if memory_id(storage) not in known:
            kept[memory_id(storage)] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = task.torch_loss(model(x), y)  # noqa: F841 - it keeps the saved tensors alive
        return sum(storage.nbytes() for storage in kept.values())


def saved_bytes_in_graph(task: Task, samples: int, blocks: range | None = None) -> int:
    """Return the bytes that are still needed when a traced backward pass begins.

    Weights are not counted. Nothing is computed. A graph runs each operation as soon as it can, so
    the result includes factors of the gradients that need no gradient themselves. Autograd would
    compute these later.

    blocks   a stage of the model; None: the whole model
    """
    import tensorflow as tf

    from lablib.frameworks.tensorflow.graph import causes_first
    from lablib.frameworks.tensorflow.peak_memory import memory_of

    graph = _backward_graph(task, samples, blocks)
    after, kept = {graph.inputs[2].op}, {}
    for op in causes_first([gradient.op for gradient in graph.outputs]):
        if after.isdisjoint(tensor.op for tensor in op.inputs):
            continue
        after.add(op)
        for memory in map(memory_of, op.inputs):
            if memory.op not in after and memory.dtype != tf.resource:
                kept[memory.ref()] = memory.shape.num_elements() * memory.dtype.size
    return sum(kept.values())


def _backward_graph(task, samples, blocks):
    """Return the graph of a backward pass.

    Its inputs are the input of the blocks, the labels, and the gradient of the blocks' output.
    """
    import tensorflow as tf

    x, y = (tf.TensorSpec(array.shape, array.dtype) for array in task.batch_at(0, samples))
    if blocks and blocks[0] > 0:
        x = tf.TensorSpec((samples, *task.chain[blocks[0]].shape_in))
    ends = not blocks or blocks[-1] + 1 == len(task.chain)
    upstream = tf.TensorSpec(() if ends else (samples, *task.chain[blocks[-1]].shape_out))
    model = task.tensorflow_model(blocks=blocks)

    @tf.function
    def backward(x, y, upstream):
        with tf.GradientTape() as tape:
            out = task.tensorflow_loss(model(x), y) if ends else model(x)
        return tape.gradient(out, model.trainable_variables, upstream)

    return backward.get_concrete_function(x, y, upstream).graph
