"""Train on several ranks with PyTorch: python -m lablib run train_torch.py --ranks 2"""

import digits
import model
import torch
import torch.distributed as dist
import track
from torch.nn.functional import cross_entropy


def main():
    config = track.config()
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    images, labels = digits.shard("train", rank, ranks)
    x, y = torch.from_numpy(model.scale(images)), torch.from_numpy(labels)
    initial = model.initial_weights(config["hidden"], config["seed"])
    weights = {name: torch.tensor(array, requires_grad=True) for name, array in initial.items()}

    for _ in range(config["steps"]):
        hidden = torch.relu(x @ weights["w1"] + weights["b1"])
        loss = cross_entropy(hidden @ weights["w2"] + weights["b2"], y)
        loss.backward()
        with torch.no_grad():
            for weight in weights.values():
                dist.all_reduce(weight.grad)  # the sum over all ranks
                weight -= config["learning_rate"] * weight.grad / ranks
                weight.grad = None

    if rank == 0:
        arrays = {name: weight.detach().numpy() for name, weight in weights.items()}
        track.save("torch", arrays, loss.item())


if __name__ == "__main__":
    main()
