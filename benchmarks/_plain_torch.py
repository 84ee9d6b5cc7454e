"""Run the 4-rank all-reduce with torchrun, for comparison with a warm `cluster.run`."""

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
x = torch.full((1000,), float(dist.get_rank()))
dist.all_reduce(x)
dist.destroy_process_group()
