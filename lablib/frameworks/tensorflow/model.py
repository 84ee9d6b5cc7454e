"""The chain of blocks in TensorFlow: Keras layers, and a forward function for each kind of block.

Read it beside `frameworks/torch/model.py`.

Letters: B batch on this rank, F features, H height, W width, C channels, T tokens, D width,
N heads on this rank, K width of a head, V vocabulary.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers

# {canonical name: name in Keras}
_ATTRIBUTES = {
    "dense": {"kernel": "kernel", "bias": "bias"},
    "conv": {"kernel": "kernel", "bias": "bias"},
    "norm": {"scale": "gamma", "bias": "beta"},
    "table": {"table": "embeddings"},
}


class TensorFlowChain:
    """A chain of blocks as a keras.Model. See `frameworks.framework.Model`.

    chain   a `lablib.tasks.chain.Chain`
    """

    def __init__(self, chain):
        self.chain = chain

    def build(self, seed, numbers):
        """Return a keras.Model; `block.number` is the number of the block in the chain."""
        blocks = [Block(number, self.chain.blocks[number]) for number in numbers]
        for block in blocks:
            initial = self.chain.initial(block.number, seed)
            _write(self.chain.blocks[block.number], block, initial)
        return Chain(blocks)

    def loss(self, outputs, y):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=outputs)
        return tf.reduce_mean(losses)

    def arrays(self, model):
        return {
            f"{block.number}.{layer.name}.{name}": np.array(variable.numpy())
            for block in model.blocks
            for layer in self.chain.blocks[block.number].layers
            for name, variable in _variables(layer, getattr(block, layer.name))
        }


def _dense(block, x):
    return _gelu(block.dense(_flat(x)))


def _logits(block, x):
    return block.dense(_flat(x))


def _conv(block, x_BHWC):
    return _gelu(block.conv(x_BHWC))


def _conv_pool(block, x_BHWC):
    return tf.nn.avg_pool2d(_gelu(block.conv(x_BHWC)), 2, 2, "VALID")


def _embed(block, ids_BT):
    positions_TD = block.positions.embeddings[: ids_BT.shape[1]]
    return _look_up(block.tokens.embeddings, ids_BT) + positions_TD


def _attention(block, x_BTD):
    h_BTD = block.norm(x_BTD)
    batch = tf.shape(x_BTD)[0]
    tokens = x_BTD.shape[1]
    width = x_BTD.shape[2]
    q, k, v = (
        tf.transpose(tf.reshape(layer(h_BTD), (batch, tokens, -1, block.head_width)), (0, 2, 1, 3))
        for layer in (block.query, block.key, block.value)  # BNTK
    )
    past_TT = tf.linalg.band_part(tf.ones((tokens, tokens), tf.bool), -1, 0)
    scores_BNTT = tf.matmul(q, k, transpose_b=True) / block.head_width**0.5
    scores_BNTT = tf.where(past_TT, scores_BNTT, -np.inf)
    heads_BNTK = tf.nn.softmax(scores_BNTT) @ v
    joined_BTD = tf.reshape(tf.transpose(heads_BNTK, (0, 2, 1, 3)), (batch, tokens, width))
    return x_BTD + block.out(joined_BTD)


def _feed_forward(block, x_BTD):
    return x_BTD + block.down(_gelu(block.up(block.norm(x_BTD))))


def _head(block, x_BTD):
    return block.dense(block.norm(x_BTD))  # BTV


_FORWARD = {
    "dense": _dense,
    "logits": _logits,
    "conv": _conv,
    "conv_pool": _conv_pool,
    "embed": _embed,
    "attention": _attention,
    "feed_forward": _feed_forward,
    "head": _head,
}


class Block(keras.layers.Layer):
    """A block: Keras layers with the task's names, and the forward function of its kind."""

    def __init__(self, number, block):
        super().__init__(name=f"block_{number}")
        self.number = number
        self.kind = block.kind
        self.head_width = block.head_width
        for layer in block.layers:
            setattr(self, layer.name, _layer(layer))
        self.built = True

    def call(self, x):
        return _FORWARD[self.kind](self, x)


class Chain(keras.Model):
    """A chain of blocks. A keras.Sequential would call every block again to build it."""

    def __init__(self, blocks):
        super().__init__()
        self.blocks = blocks
        self.built = True

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def _layer(layer):
    """Return a Keras layer whose variables exist and are zero."""
    zeros = {"kernel_initializer": "zeros"}
    if layer.kind == "dense":
        made = layers.Dense(layer.shape[-1], use_bias=layer.bias, **zeros)
        shape = layer.shape[:1]
    elif layer.kind == "conv":
        *size, channels_in, channels = layer.shape
        made = layers.Conv2D(channels, size, padding="same", **zeros)
        shape = (None, None, channels_in)
    elif layer.kind == "norm":
        made = layers.LayerNormalization(epsilon=layer.epsilon)
        shape = layer.shape
    else:
        made = layers.Embedding(*layer.shape, embeddings_initializer="zeros")
        shape = ()
    made.build((None, *shape))
    return made


def _write(described, block, initial):
    for layer in described.layers:
        for name, variable in _variables(layer, getattr(block, layer.name)):
            variable.assign(initial[layer.name][name])


def _variables(layer, made):
    for name in layer.arrays:
        yield name, getattr(made, _ATTRIBUTES[layer.kind][name])


def _look_up(table, ids):
    """Look up rows of a table, with a dense gradient as in torch.

    TensorFlow's own gradient is a list of rows, which ranks gather instead of adding up.
    """

    @tf.custom_gradient
    def rows(table):
        def gradient(upstream):
            return tf.math.unsorted_segment_sum(upstream, ids, table.shape[0])

        return tf.gather(table, ids), gradient

    return rows(tf.convert_to_tensor(table))


def _flat(x):
    return tf.reshape(x, (tf.shape(x)[0], -1))


def _gelu(x):
    return tf.nn.gelu(x, approximate=False)
