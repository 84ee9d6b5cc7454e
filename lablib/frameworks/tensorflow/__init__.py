"""TensorFlow for the rest of the kit. Importing this module does not import TensorFlow."""

from __future__ import annotations

import json
import sys

from lablib.frameworks.framework import Framework, NoPlainValues


class TensorFlow(Framework):
    """TensorFlow with Keras: every rank has a server, and TF_CONFIG lists their addresses."""

    name = "tensorflow"
    packages = ("tensorflow", "keras", "tf_keras")
    first_imports = ("tensorflow", "lablib.frameworks.tensorflow.recorder")
    own_network = True
    memory_counted = "graph"
    cures = {
        ("tensorflow", "RaggedTensor"): "use x.to_list() or x.to_tensor()",
        ("tensorflow", "SparseTensor"): "use tf.sparse.to_dense(x)",
        ("tensorflow", "IndexedSlices"): "use tf.convert_to_tensor(x)",
        ("tensorflow", "TensorShape"): "use x.as_list()",
        ("tensorflow", "DType"): "use x.name",
        ("tensorflow", "TensorArray"): "use x.stack()",
        ("tensorflow", "DistributedValues"): "use strategy.experimental_local_results(x)",
        ("tensorflow", "DatasetV2"): "use list(x.as_numpy_iterator())",
        ("tensorflow", "Tensor"): (
            "it has no value while a graph is traced; return it from the graph"
        ),
        ("keras", "KerasTensor"): "it has a shape but no values; use x.shape",
        ("keras", "Layer"): "use model.get_weights()",
        ("keras", "Optimizer"): "use [v.numpy() for v in optimizer.variables]",
    }

    def threads_of_a_rank(self, cores):
        # TensorFlow 2.21 started 107 threads on 2 cores, 148 on 32 and 309 on 192.
        return 128 + 2 * cores

    def counts_cpu_seconds(self, threads):
        return threads == 1

    def serves(self, roles, role):
        """Under parameter servers the chief hands out the work, and the other ranks serve."""
        return {"ps", "chief"} <= roles and role in ("ps", "worker")

    def environment(self, seats, seat, ports):
        """Set TF_CONFIG. Node n has the loopback address 127.0.0.(n+1).

        The evaluator is not part of the cluster whose tasks communicate with one another:
        https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
        """
        cluster: dict[str, list[str]] = {}
        for other in seats:
            if other.role != "evaluator":
                address = f"127.0.0.{other.node + 1}:{ports[other.rank]}"
                cluster.setdefault(other.role, []).append(address)
        task = {"type": seat.role, "index": seat.index}
        return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}

    def limit_threads(self, threads):
        from lablib.frameworks.tensorflow import thread_pools

        thread_pools.limit(threads)

    def forget_random_state(self):
        """Change nothing, because random numbers already differ between forks.

        Keras draws its seeds from `random`, which Python seeds again in every fork. TensorFlow's
        own state starts when a rank draws its first number.
        """

    def join(self, recorder, config):
        from lablib.frameworks.tensorflow.recorder import join

        join(recorder, config)

    def server(self):
        from lablib.frameworks.tensorflow import recorder

        return recorder.server()

    def owns(self, value):
        package = type(value).__module__.partition(".")[0]
        return package in self.packages and hasattr(value, "numpy")

    def as_array(self, tensor):
        import numpy as np

        try:
            return np.asarray(tensor.numpy())
        except (AttributeError, NotImplementedError, TypeError, ValueError):
            raise NoPlainValues from None

    def chain(self, chain):
        from lablib.frameworks.tensorflow.model import TensorFlowChain

        return TensorFlowChain(chain)

    def out_of_memory(self):
        tensorflow = sys.modules.get("tensorflow")
        return (tensorflow.errors.ResourceExhaustedError,) if tensorflow else ()

    def lost_peer(self):
        tensorflow = sys.modules.get("tensorflow")
        if not tensorflow:
            return ()
        errors = tensorflow.errors
        return errors.UnavailableError, errors.AbortedError, errors.CancelledError

    def timed_work(self):
        from lablib.frameworks.tensorflow.work_to_measure import TensorFlowWork

        return TensorFlowWork()


TENSORFLOW = TensorFlow()
