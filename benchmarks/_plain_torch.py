"""The 4-rank all-reduce as torchrun runs it: what a warm `cluster.run` is compared with."""

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
x = torch.full((1000,), float(dist.get_rank()))
dist.all_reduce(x)
dist.destroy_process_group()
