"""Functions that ranks run dry: some need no values, each of the others needs a value."""

from __future__ import annotations


def _loss(width=8):
    import torch

    model = torch.nn.Linear(width, 4)
    return model, model(torch.randn(5, width)).sum()


def prints_and_sums_its_losses(me):
    import torch

    model, loss = _loss()
    optimizer = torch.optim.AdamW(model.parameters())
    total = 0.0
    for _ in range(2):
        with me.step(samples=5):
            loss = model(torch.randn(5, 8)).square().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        total += loss.item()
        print(f"loss {loss.item():.3f}, {loss:.3f}")
    me.log(loss=total / 2, steps=2)
    return [total, list(loss.shape), me.dry]


def converts_its_model(me):
    import torch

    model = _loss()[0].to(torch.bfloat16)
    with me.step():
        model(torch.ones(2, 8, dtype=torch.bfloat16)).sum().backward()
    return str(model.weight.dtype), list(model.weight.grad.shape)


def gathers_objects(me):
    import torch.distributed as dist

    found = [None] * me.ranks
    dist.all_gather_object(found, {"rank": me.rank})
    return found


def calls_an_operation_of_its_own(me):
    import torch

    twice = torch.library.custom_op(
        "mine::twice", lambda x: x * 2, mutates_args=(), schema="(Tensor x) -> Tensor"
    )
    twice.register_fake(torch.empty_like)
    with me.step():
        torch.ones(3, 3) + twice(torch.ones(3, 3))


def branches_on_a_tensor(me):
    if _loss()[1] < 1:
        return


def branches_on_an_item(me):
    if _loss()[1].item() < 1:
        return


def looks_for_nan(me):
    import math

    math.isnan(_loss()[1].item())


def counts_with_an_item(me):
    range((_loss()[1] > 0).item())


def makes_a_float(me):
    float(_loss()[1])


def makes_an_int(me):
    int(_loss()[1])


def makes_an_array(me):
    _loss()[1].detach().numpy()


def makes_a_list(me):
    _loss()[0].weight.tolist()


def chooses_by_a_mask(me):
    weight = _loss()[0].weight.detach()
    weight[weight > 0]


def saves_its_model(me):
    import io

    import torch

    torch.save(_loss()[0].state_dict(), io.BytesIO())


def receives_from_any_rank(me):
    import torch
    import torch.distributed as dist

    dist.recv(torch.zeros(2))


def calls_an_operation_without_shapes(me):
    import torch

    library = torch.library.Library("mine", "FRAGMENT")
    library.define("thrice(Tensor x) -> Tensor")
    library.impl("thrice", lambda x: x * 3, "CPU")
    torch.ops.mine.thrice(torch.ones(3))


def calls_an_unknown_collective(me):
    import torch
    from torch.distributed import _functional_collectives as functional

    functional.all_reduce_coalesced([torch.ones(3)], "sum", list(range(me.ranks)))


def only_rank_0_sends(me):
    import torch
    import torch.distributed as dist

    if me.rank == 0:
        dist.all_reduce(torch.ones(3))


NEED_VALUES = {
    branches_on_a_tensor: "a condition (if, while, and, or, not) on a tensor of shape []",
    branches_on_an_item: "a comparison or conversion of the result of .item()",
    looks_for_nan: "a comparison or conversion of the result of .item()",
    counts_with_an_item: "a comparison or conversion of the result of .item()",
    makes_a_float: "float(...) on a tensor of shape []",
    makes_an_int: "int(...) on a tensor of shape []",
    makes_an_array: ".numpy() on a tensor of shape []",
    makes_a_list: ".tolist() on a tensor of shape [4, 8]",
    chooses_by_a_mask: "aten.nonzero.default",
    saves_its_model: "pickling or saving a tensor of shape [4, 8]",
}
