"""4.4 1F1B: go backward as early as possible, so that a stage keeps few micro-batches at once."""

from dataclasses import dataclass

import numpy as np

from lablib.teach import tanh_chain
from lablib.teach.claims import Claim, equal, equal_by_rank, show
from lablib.teach.exercise import Case

ANSWERS = ("one_f_one_b(stage, stages, pieces)",)
TITLE = "1F1B"
POINTS = 4
# The durations of one micro-batch's passes in a stage. A backward pass takes two matrix products
# for each one in the forward pass.
FORWARD, BACKWARD = 1, 2

_FORM = (
    "Each stage has `pieces` times F and `pieces` times B. Count yours, also on the last stage and "
    "when there are fewer micro-batches than stages.",
    "The n-th B comes after the n-th F. With fewer micro-batches than stages, no stage can be "
    "further ahead than the number of micro-batches.",
)
_WAITS = (
    "A stage waits forever. The first stage must send enough micro-batches before it waits.",
    "Stage s goes forward stages - 1 - s times before its first pair of F and B.",
)
_KEPT = (
    "A stage keeps a micro-batch from its F to its B. When does the last stage do its first B?",
    "The last stage: FBFB... The stage before it is one F ahead, the one before that two.",
)
_LENGTH = (
    "Draw the passes on squared paper, with a row for each stage. When is a stage idle?",
    "After its first F's, a stage alternates F and B until no F is left, then does the other B's.",
)


def cases(seed):
    return [order_of(4, 8), order_of(5, 3), run_of(seed, ranks=3, pieces=5)]


def order_of(stages, pieces):
    name = f"{stages} stages, {pieces} micro-batches, played on paper"
    return Case(name, {"stages": stages, "pieces": pieces, "shape": None})


def run_of(seed, ranks, pieces, samples=4, width=6):
    """Return a case with real ranks, which send activations and gradients in this order."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0, 1, (2, pieces, samples, width)).astype(np.float32)
    own = [{"chain": tanh_chain.layers(rng, 1, width), "x": None, "y": None} for _ in range(ranks)]
    own[0]["x"], own[-1]["y"] = x, y
    name = f"{ranks} ranks train by your order, with {pieces} micro-batches"
    shared = {"stages": ranks, "pieces": pieces, "shape": [pieces, samples, width]}
    return Case(name, shared, tuple(own), ranks=ranks, relay=True, timeout_s=8)


def observe(me, answer, given):
    if given.shape is None:
        return [answer(stage, given.stages, given.pieces) for stage in range(given.stages)]
    return train_in_order(me, answer(me.rank, me.ranks, given.pieces), given)


def train_in_order(me, order, given):
    """Run one step of this rank's stage in the given order of passes."""
    import torch
    import torch.distributed as dist

    stage, last = tanh_chain.torch_stage(given.chain), me.rank == me.ranks - 1
    x = torch.empty(given.shape) if given.x is None else torch.from_numpy(given.x)
    y = None if given.y is None else torch.from_numpy(given.y)
    kept, sent, total, number = [], [], 0.0, 0
    for kind in order:
        if kind == "F":
            piece = x[number].clone()
            if me.rank > 0:
                dist.recv(piece, me.rank - 1)
            h = stage(piece.requires_grad_())
            if last:
                h = tanh_chain.torch_loss(h, y[number]) / given.pieces
                total += h.item()
            else:
                sent.append(dist.isend(h.detach(), me.rank + 1))
            kept, number = [*kept, (piece, h)], number + 1
        else:
            piece, h = kept.pop(0)
            gradient = None if last else torch.empty_like(h)
            if not last:
                dist.recv(gradient, me.rank + 1)
            h.backward(gradient)
            if me.rank > 0:
                sent.append(dist.isend(piece.grad, me.rank - 1))
    for message in sent:
        message.wait()
    return {"loss": total, "gradients": tanh_chain.torch_gradients(stage)}


def judge(case, seen):
    of = case.shared
    if of["shape"] is not None:
        return of_ranks(case, seen)
    return of_orders(seen.values[0], of["stages"], of["pieces"])


def of_orders(orders, stages, pieces):
    """Yield the claims on the passes of all stages, simulated without ranks."""
    bad = next((s for s in range(stages) if not well_formed(orders[s], pieces)), None)
    yield Claim(f"each stage has {pieces} F and {pieces} B, no B before its F", bad is None,
                f'a text such as "{"F" * pieces + "B" * pieces}"',
                "" if bad is None else show(orders[bad]), bad, _FORM)  # fmt: skip
    played = play(orders) if bad is None else Played()
    yield Claim("no stage waits forever", bad is None and played.whole, "all passes done",
                played.stuck or "no order to play", hints=_WAITS)  # fmt: skip
    most = [min(stages - stage, pieces) for stage in range(stages)]
    kept = [most_kept(order) for order in orders] if bad is None else None
    fits = kept is not None and all(a <= b for a, b in zip(kept, most, strict=True))
    yield Claim("stage s keeps at most p - s micro-batches, so none keeps more than p", fits,
                f"at most {most}, by stage", str(kept), weight=2, hints=_KEPT)  # fmt: skip
    length = (pieces + stages - 1) * (FORWARD + BACKWARD)
    yield Claim("the step is no longer than GPipe's: (m + p - 1) (F + B)",
                played.whole and played.length <= length,
                f"{length}, with F = {FORWARD} and B = {BACKWARD}", str(played.length), weight=2,
                hints=_LENGTH)  # fmt: skip


def of_ranks(case, seen):
    """Yield the claims on the ranks that trained in the learner's order."""
    x, y = (case.own[rank][name].reshape(-1, case.shared["shape"][2])
            for rank, name in ((0, "x"), (-1, "y")))  # fmt: skip
    loss, gradients = tanh_chain.loss_and_gradients([own["chain"][0] for own in case.own], x, y)
    yield equal("the loss is that of one process", loss, seen.values[-1]["loss"],
                rank=case.ranks - 1, hints=_FORM)  # fmt: skip
    yield equal_by_rank("each stage has the gradient that one process finds",
                        [[gradient] for gradient in gradients],
                        [value["gradients"] for value in seen.values], hints=_FORM)  # fmt: skip
    # The last rank sends nothing forward, so its messages do not show what it keeps.
    due = [case.ranks - rank for rank in range(case.ranks - 1)]
    kept = [most_kept(order_sent(seen, rank)) for rank in range(case.ranks - 1)]
    yield Claim("rank r keeps at most p - r micro-batches",
                all(a <= b for a, b in zip(kept, due, strict=True)), f"at most {due}", show(kept),
                hints=_KEPT, evidence=seen.evidence)  # fmt: skip


def order_sent(seen, rank):
    """Return the order of a rank's passes, found from its messages: F sends forward, B sends back.

    Rank 0 sends nothing back. For rank 0, the order in which the relay received the messages shows
    when each B was possible at the earliest. Without a relay this order is unknown, and the result
    is "".
    """
    if rank > 0:
        return "".join("F" if to > rank else "B" for _, to, _ in seen.sent(rank))
    between = [source for source, to, _ in seen.messages or () if {source, to} == {0, 1}]
    return "".join("FB"[source] for source in between)


def well_formed(order, pieces):
    if not isinstance(order, str) or sorted(order) != ["B"] * pieces + ["F"] * pieces:
        return False
    ahead = 0
    for kind in order:
        ahead += 1 if kind == "F" else -1
        if ahead < 0:
            return False
    return True


def most_kept(order):
    return max(order[:n].count("F") - order[:n].count("B") for n in range(len(order) + 1))


@dataclass(frozen=True)
class Played:
    """The result of simulating the passes of all stages.

    whole    True if all passes were done; if not, `stuck` says which stage waits for what
    length   the time when the last pass ended, in the unit of FORWARD and BACKWARD
    """

    whole: bool = False
    length: float | None = None
    stuck: str = ""


def play(orders):
    """Simulate the passes: each starts when its stage is free and its input is there.

    Messages take no time.
    """
    ended, at, free = {}, [0] * len(orders), [0] * len(orders)
    moved = True
    while moved:
        moved = False
        for stage, order in enumerate(orders):
            while at[stage] < len(order):
                kind = order[at[stage]]
                number = order[: at[stage]].count(kind)
                needs = (kind, stage - 1 if kind == "F" else stage + 1, number)
                if 0 <= needs[1] < len(orders) and needs not in ended:
                    break
                start = max(free[stage], ended.get(needs, 0))
                free[stage] = start + (FORWARD if kind == "F" else BACKWARD)
                ended[kind, stage, number] = free[stage]
                at[stage] += 1
                moved = True
    waiting = [stage for stage, order in enumerate(orders) if at[stage] < len(order)]
    if waiting:
        told = (f"stage {s} waits at pass {at[s] + 1} of {orders[s]}" for s in waiting)
        return Played(stuck="; ".join(told))
    return Played(True, max(free))
