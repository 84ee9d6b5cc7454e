"""torch for the rest of the kit. Importing this module does not import torch."""

from __future__ import annotations

import sys

from lablib.frameworks.framework import Framework


class Torch(Framework):
    """torch: ranks meet at a store that rank 0 serves."""

    name = "torch"
    packages = ("torch",)
    first_imports = (
        "torch",
        "torch.distributed",
        "lablib.frameworks.torch.arrays",
        "lablib.frameworks.torch.recorder",
    )
    later_imports = ("torch._dynamo", "torch.distributed.pipelining")
    one_port = True
    devices = ("cpu", "cuda")
    dry_runs = True
    memory_counted = "tensors"
    senders = (  # DistributedDataParallel sends when it is built, and in the backward pass
        "lablib.frameworks.torch.recorder",
        "torch.distributed.",
        "torch.nn.parallel.",
        "torch.autograd.",
    )
    cures = {
        ("torch", "DTensor"): "use x.full_tensor(), called on every rank, or x.to_local()",
        ("torch", "FakeTensor"): "it has a shape but no values; use list(x.shape)",
        ("torch", "MaskedTensor"): "use x.to_tensor(0)",
        ("torch", "Module"): "use model.state_dict()",
        ("torch", "dtype"): "use str(x)",
        ("torch", "device"): "use str(x)",
        ("torch", "Generator"): "use x.get_state()",
        ("torch", "Work"): "call x.wait() on the rank, and use the tensor",
        ("torch", "Future"): "use x.wait()",
    }

    def threads_of_a_rank(self, cores):
        return 8 + cores  # 4 threads were measured on 2 cores

    def counts_cpu_seconds(self, threads):
        return True

    def environment(self, seats, seat, ports):
        together = [other.rank for other in seats if other.node == seat.node]
        return {
            "RANK": str(seat.rank),
            "WORLD_SIZE": str(len(seats)),
            "LOCAL_RANK": str(together.index(seat.rank)),
            "LOCAL_WORLD_SIZE": str(len(together)),
            "GROUP_RANK": str(seat.node),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(ports[0]),
        }

    def limit_threads(self, threads):
        import torch

        torch.set_num_threads(threads)

    def forget_random_state(self):
        import torch

        torch.default_generator.seed()

    def join(self, recorder, config):
        from lablib.frameworks.torch.recorder import join

        join(recorder, config)

    def explained(self, function):
        from lablib.frameworks.torch.dry import explained

        return explained(function)

    def device(self, name):
        import torch

        return torch.device(name)

    def put(self, value, name):
        from lablib.frameworks.torch.devices import put

        return put(value, name)

    def owns(self, value):
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(value, torch.Tensor)

    def as_array(self, tensor):
        from lablib.frameworks.torch.arrays import as_array

        return as_array(tensor)

    def chain(self, chain):
        from lablib.frameworks.torch.model import TorchChain

        return TorchChain(chain)

    def out_of_memory(self):
        torch = sys.modules.get("torch")
        return (torch.OutOfMemoryError,) if torch else ()

    def lost_peer(self):
        torch = sys.modules.get("torch")
        return (torch.distributed.DistError,) if torch else ()

    def timed_work(self):
        from lablib.frameworks.torch.work_to_measure import TorchWork

        return TorchWork()


TORCH = Torch()
