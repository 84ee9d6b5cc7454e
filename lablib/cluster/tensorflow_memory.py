"""How many bytes of tensors a TensorFlow rank holds, counted by the allocator that they come from.

TensorFlow's usual allocator for a CPU keeps no account. Its other one, BFC, does.
"""

from __future__ import annotations

import os

import tensorflow as tf

_CPU = "CPU:0"


class LiveBytes:
    """What TensorFlow's allocator has given out: to variables, results and temporary buffers.

    It gives out a free piece whole when that is less than twice what is asked for, so that this is
    up to twice what the tensors need, and not quite the same in every run. Make one before
    TensorFlow allocates anything.

    peak_bytes   the most at once since `restart`
    """

    def __init__(self):
        os.environ["TF_CPU_ALLOCATOR_USE_BFC"] = "1"

    def restart(self) -> None:
        """Forget the peak, not what is alive."""
        tf.config.experimental.reset_memory_stats(_CPU)

    @property
    def peak_bytes(self) -> int:
        return tf.config.experimental.get_memory_info(_CPU)["peak"]
