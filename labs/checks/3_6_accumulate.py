"""3.6 Process a rank's shard in micro-batches, with one synchronisation for all of them."""

import numpy as np

from lablib.teach.claims import RANK, Claim, equal_by_rank
from lablib.teach.exercise import Case

ANSWERS = ("gradients(model, loss, x, y, micro_batches, ranks)",)
TITLE = "Accumulated gradients"
POINTS = 4

_MEAN = (
    "Micro-batches may differ in size. Does each sample still count the same?",
    "loss() is a mean: weight it by len(part) / len(x). Then average over the ranks, once.",
)
_ONCE = (
    "How often is each gradient sent now? When is it complete?",
    "Backward passes add to parameter.grad. Communicate after the last of them.",
)
_SMALL = (
    "Cut x and y into micro_batches parts. Pass only one part at a time through the model.",
    "x.chunk(micro_batches) cuts x. Run the backward pass right after each forward pass.",
)


def cases(seed):
    return [case_of(seed, ranks=3, micro_batches=4, samples=10, inputs=6, outputs=3),
            case_of(seed + 1, ranks=2, micro_batches=3, samples=12, inputs=600,
                    outputs=500)]  # fmt: skip


def case_of(seed, ranks, micro_batches, samples, inputs, outputs):
    """Return a case with one linear layer and `samples` samples on each rank."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
    own = tuple(
        {
            "x": rng.normal(size=(samples, inputs)).astype(np.float32),
            "y": rng.normal(size=(samples, outputs)).astype(np.float32),
        }
        for _ in range(ranks)
    )
    name = f"{samples} samples on each of {ranks} ranks, {micro_batches} micro-batches"
    shared = {"weights": weights, "micro_batches": micro_batches}
    return Case(name, shared=shared, own=own, ranks=ranks, relay=True)


def observe(me, answer, given):
    import torch

    model = torch.nn.Linear(*given.weights.shape[::-1], bias=False)
    model.weight.data = torch.from_numpy(given.weights)
    sizes, outputs = [], []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))

    def loss(output, y):
        outputs.append(len(output))
        return torch.nn.functional.mse_loss(output, y)

    x, y = torch.from_numpy(given.x), torch.from_numpy(given.y)
    answer(model, loss, x, y, given.micro_batches, me.ranks)
    return {"gradient": model.weight.grad.numpy(), "sizes": sizes, "outputs": outputs}


def judge(case, seen):
    weights, parts = case.shared["weights"], case.shared["micro_batches"]
    x, y = (np.concatenate([own[key] for own in case.own]).astype(float) for key in ("x", "y"))
    mean = 2 * (x @ weights.T - y).T @ x / y.size
    yield equal_by_rank("the gradient is that of all ranks' samples together",
                        [mean] * case.ranks, [value["gradient"] for value in seen.values],
                        rtol=1e-3, weight=2, hints=_MEAN)  # fmt: skip
    samples = len(case.own[0]["x"])
    most = -(-samples // parts)
    told = [[int(size) for size in value["sizes"]] for value in seen.values]
    outputs = [int(size) for value in seen.values for size in value["outputs"]]
    fits = all(sum(sizes) == samples and max([*sizes, *outputs]) <= most for sizes in told)
    yield Claim(f"every sample passes the model once, at most {most} at a time", fits,
                f"{samples} samples in {parts} parts", f"{told[0]} on rank 0",
                hints=_SMALL, evidence=RANK)  # fmt: skip
    yield equal_by_rank("gradients are sent once for all micro-batches, in all-reduces",
                        [{"all_reduce": weights.nbytes}] * case.ranks,
                        [sums(seen, rank) for rank in range(case.ranks)], hints=_ONCE,
                        evidence=seen.evidence)  # fmt: skip


def sums(seen, rank):
    """Return the bytes that a rank put into messages, by name of the operation."""
    total = {}
    for _, name, nbytes in seen.put_in(rank):
        total[name] = total.get(name, 0) + nbytes
    return total
