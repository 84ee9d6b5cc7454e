"""6.1 A test that catches ten planted bugs of a distributed training loop.

The learner's test runs on rank 0. The training loops run on ranks 1 and 2, which never call the
learner's code, and rank 0 knows none of them: it sends a command and gets results. So a test can
judge a loop only by what the loop does.
"""

import json
from types import SimpleNamespace

import numpy as np

from lablib.teach.claims import Claim
from lablib.teach.exercise import Case

ANSWERS = ("check_training(train)",)
TITLE = "A test for ten bugs"
POINTS = 6

LR, MOMENTUM, KEPT = 0.05, 0.9, 0.8
MOST = {"samples": 200, "epochs": 20, "batch": 64}

BUGS = {
    "unsynchronised gradients": "each rank applies only its own gradient",
    "sum": "the ranks add their mean gradients and do not divide by the number of ranks",
    "same shard": "all ranks train on the same shard",
    "no reshuffling": "every epoch uses the order of the first epoch",
    "unsynchronised buffers": "each rank updates the running mean from its own samples only",
    "alone": "rank 0 does all the work",
    "stale optimizer": "a resumed run starts with the momentum of an earlier epoch",
    "padding": "samples that were added to make the shards equal are counted twice",
    "early clipping": "each rank clips its gradient before the gradients are averaged",
    "one shard": "the checkpoint has only the part of the momentum that rank 0 wrote",
}
_RIGHT = (
    "Your test rejects a right loop. Which of its demands is not in the contract? Right loops may "
    "shuffle and divide the samples in different ways, and their sums differ by rounding.",
    "Compare numbers with np.allclose. Compare a run on 2 ranks with a run of the same loop on 1 "
    "rank: both see the samples in the same global batches. If you resume a run, `epochs` must "
    "include the epochs before the checkpoint.",
)
_HINTS = {
    "unsynchronised gradients": (
        "After a run, what must be true of the weights of the two ranks?",
        "The weights of both ranks must be equal to each other, and equal to those of 1 rank.",
    ),
    "sum": (
        "The loss falls even if every step is twice as long. What does one rank get?",
        "Compare the weights of 2 ranks with those of 1 rank, with clip=None: clipping hides the "
        "wrong length of a gradient.",
    ),
    "same shard": (
        "Look at `seen`. Which samples should the ranks have seen together after one epoch?",
        "sorted(seen of rank 0 + seen of rank 1) must be 0, 1, ..., samples - 1 in each epoch.",
    ),
    "no reshuffling": (
        "Train for at least two epochs and look at `seen`.",
        "The order of epoch 0 and the order of epoch 1 must differ. Use at least 8 samples.",
    ),
    "unsynchronised buffers": (
        "Weights are not all that a model holds.",
        "Compare `running_mean` between the ranks, and with that of 1 rank.",
    ),
    "alone": (
        "All numbers of this loop are right. Which rank did the work?",
        "Compare len(seen[0]) of the two ranks: they should differ by one sample per step at most.",
    ),
    "stale optimizer": (
        "Compare an unbroken run with a run that was stopped and resumed.",
        "train(x, y, epochs=4, resume=train(x, y, epochs=2)[0]['saved']) must end with the weights "
        "of train(x, y, epochs=4).",
    ),
    "padding": (
        "When does a loop have to pad? Choose the number of samples accordingly.",
        "Use an odd number of samples, and compare the weights of 2 ranks with those of 1 rank.",
    ),
    "early clipping": (
        "Does your test ever clip?",
        "With a small value such as clip=0.1, compare the weights of 2 ranks with those of 1 rank.",
    ),
    "one shard": (
        "On 2 ranks, this loop resumes as it should, because rank 1 still has its own part.",
        "Resume on another number of ranks: save with ranks=2, resume with ranks=1.",
    ),
}  # fmt: skip


def cases(seed):
    return [case_of(seed)]


def case_of(seed):
    """Ten faulty loops and two right ones in an order drawn from the seed."""
    rng = np.random.default_rng(seed)
    plain = [*BUGS, "", ""]
    order = rng.permutation(len(plain))
    styles = rng.integers(0, 2, len(plain))
    styles[-2:] = 0, 1  # the two right loops differ in style
    loops = [(plain[k], int(styles[k]), int(rng.integers(2**31))) for k in order]
    number = {"number": len(loops)}
    own = (number, *[number | {"loops": loops}] * 2)
    return Case("ten faulty loops and two right ones", own=own, ranks=3, timeout_s=60)


def observe(me, answer, given):
    import torch.distributed as dist

    dist.new_group([1, 2])  # all ranks must take part, although only two are members
    if me.rank == 0:
        return run_test(answer, given.number)
    serve(me, given.loops)
    return None


# --- rank 0: the learner's test


def run_test(answer, number):
    """Return for each loop whether the test rejected it, and the first words of its reason."""
    verdicts = []
    for loop in range(number):
        try:
            answer(trainer(loop))
            verdicts.append(["passes", ""])
        except AssertionError as error:
            verdicts.append(["fails", str(error)[:200]])
        except NotImplementedError:
            raise
        except Exception as error:
            verdicts.append(["breaks", f"{type(error).__name__}: {error}"[:200]])
    for rank in (1, 2):
        send({"stop": True}, rank)
    return verdicts


def trainer(loop):
    """Return the function `train` that the learner's test gets."""

    def train(x, y, *, ranks=2, epochs=2, batch=4, clip=None, resume=None):
        x, y = np.asarray(x, float), np.asarray(y, float)
        sizes = {"samples": len(x), "epochs": epochs, "batch": batch}
        if x.ndim != 2 or y.shape != x.shape[:1] or ranks not in (1, 2):
            raise ValueError("x must be [samples, inputs], y must be [samples], ranks 1 or 2")
        if too_large := [name for name, size in sizes.items() if not 1 <= size <= MOST[name]]:
            raise ValueError(f"{too_large[0]} must be 1 to {MOST[too_large[0]]}")
        asked = {"loop": loop, "x": x.tolist(), "y": y.tolist(), "ranks": ranks, "clip": clip,
                 "epochs": int(epochs), "batch": int(batch), "resume": plain(resume)}  # fmt: skip
        for rank in (1, 2):
            send(asked, rank)
        return [as_arrays(receive(rank)) for rank in range(1, ranks + 1)]

    return train


def plain(saved):
    return saved and {name: np.asarray(value).tolist() for name, value in saved.items()}


def as_arrays(result):
    for values in filter(None, (result, result["saved"])):
        for name in {"weights", "momentum", "running_mean"} & set(values):
            values[name] = np.array(values[name])
    return result


def send(value, rank):
    """Send plain data as JSON: first its length, then the text."""
    import torch
    import torch.distributed as dist

    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    dist.send(torch.tensor([len(text)]), rank)
    dist.send(text, rank)


def receive(rank):
    import torch
    import torch.distributed as dist

    length = torch.zeros(1, dtype=torch.int64)
    dist.recv(length, rank)
    text = torch.empty(int(length), dtype=torch.uint8)
    dist.recv(text, rank)
    return json.loads(text.numpy().tobytes())


# --- ranks 1 and 2: the loops


def serve(me, loops):
    """Run the loops that rank 0 asks for, until it has no more questions."""
    own_disks = [{} for _ in loops]  # what this rank has saved for itself, by loop
    while "stop" not in (asked := receive(0)):
        if me.rank <= asked["ranks"]:
            bug, style, seed = loops[asked["loop"]]
            job = SimpleNamespace(**asked, bug=bug, style=style, seed=seed)
            job.worker = me.rank - 1
            job.x, job.y = np.array(job.x), np.array(job.y)
            send(run_loop(job, own_disks[asked["loop"]]), 0)


def run_loop(job, own_disk):
    """Train a linear model by gradient descent with momentum; return what this rank has then."""
    inputs = job.x.shape[1]
    state = SimpleNamespace(
        weights=np.zeros(inputs), momentum=np.zeros(inputs), running_mean=np.zeros(inputs)
    )
    first = restore(job, state, own_disk) if job.resume else 0
    seen, losses = [], []
    before = state.momentum.copy()
    for epoch in range(first, job.epochs):
        before = state.momentum.copy()
        order = shuffled(job, 0 if job.bug == "no reshuffling" else epoch)
        seen.append([])
        loss = 0.0
        for start in range(0, len(order), job.batch):
            whole = order[start : start + job.batch]
            mine = shard(job, whole)
            loss += step(job, state, mine)
            seen[-1] += [int(sample) for sample in mine]
        losses.append(loss / len(order))
    saved = save(job, state, before, own_disk)
    return {
        "weights": state.weights.tolist(),
        "running_mean": state.running_mean.tolist(),
        "losses": losses,
        "seen": seen,
        "saved": saved if job.worker == 0 else None,
    }


def shuffled(job, epoch):
    rng = np.random.default_rng([job.seed, epoch])
    samples = len(job.x)
    return rng.permutation(samples) if job.style == 0 else np.argsort(rng.random(samples))


def shard(job, whole):
    """Return this rank's part of a global batch: every second sample, or half of a block."""
    if job.ranks == 1:
        return whole
    if job.bug == "alone":
        return whole if job.worker == 0 else whole[:0]
    if job.bug == "padding":
        whole = np.resize(whole, len(whole) + len(whole) % 2)
    worker = 0 if job.bug == "same shard" else job.worker
    return whole[worker::2] if job.style == 0 else np.array_split(whole, 2)[worker]


def step(job, state, mine):
    """Take one step in place; return the sum of the samples' losses on all ranks."""
    x, off = job.x[mine], job.x[mine] @ state.weights - job.y[mine]
    gradient, count = 2 * x.T @ off, np.array([float(len(mine))])
    own_mean = gradient / max(len(mine), 1)
    total, everybody, inputs, loss = map(
        lambda part: over_ranks(job, part), (gradient, count, x.sum(0), np.array([off @ off]))
    )
    mean = total / everybody
    if job.bug == "unsynchronised gradients":
        mean = own_mean
    if job.bug == "sum":
        mean = over_ranks(job, own_mean)
    if job.bug == "early clipping":
        mean = over_ranks(job, count * clipped(own_mean, job.clip)) / everybody
    if job.bug == "unsynchronised buffers":
        inputs, everybody = x.sum(0), np.maximum(count, 1)
    state.momentum = MOMENTUM * state.momentum + clipped(mean, job.clip)
    state.weights = state.weights - LR * state.momentum
    state.running_mean = KEPT * state.running_mean + (1 - KEPT) * inputs / everybody
    return float(loss[0])


def over_ranks(job, array):
    """Return the sum over the ranks: by an all-reduce, or by messages and a sum on each rank."""
    import torch
    import torch.distributed as dist

    if job.ranks == 1:
        return array
    mine, theirs = torch.from_numpy(array.copy()), torch.zeros(array.shape, dtype=torch.float64)
    other = 2 - job.worker
    for turn in (0, 1):
        if turn == job.worker:
            dist.send(mine, other)
        else:
            dist.recv(theirs, other)
    # In one style the sums are made in another order, so that they differ by rounding.
    parts = torch.stack([mine, theirs] if job.worker == 0 else [theirs, mine]).numpy()
    return parts.sum(0) if job.style == 0 else ((parts / 3).sum(0)) * 3


def clipped(gradient, clip):
    norm = np.linalg.norm(gradient)
    return gradient if clip is None or norm <= clip else gradient * (clip / norm)


def save(job, state, before, own_disk):
    momentum = before if job.bug == "stale optimizer" else state.momentum
    if job.bug == "one shard" and job.ranks == 2:
        own_disk[state.weights.tobytes()] = state.momentum
        momentum = state.momentum * (np.arange(len(momentum)) < len(momentum) / 2)
    return {
        "epoch": job.epochs,
        "weights": state.weights.tolist(),
        "momentum": momentum.tolist(),
        "running_mean": state.running_mean.tolist(),
    }


def restore(job, state, own_disk):
    """Continue from a checkpoint; return the epoch to begin with."""
    for name in ("weights", "momentum", "running_mean"):
        setattr(state, name, np.array(job.resume[name], float))
    if job.ranks == 2:
        state.momentum = own_disk.get(state.weights.tobytes(), state.momentum)
    return int(job.resume["epoch"])


# --- outside the ranks


def judge(case, seen):
    loops, verdicts = case.own[1]["loops"], seen.values[0]
    by_bug = {}
    for (bug, *_), verdict in zip(loops, verdicts, strict=True):
        by_bug.setdefault(bug, []).append(verdict)
    accepts = all(verdict == ["passes", ""] for verdict in by_bug[""])
    rejected = [bug for bug in BUGS if by_bug[bug][0][0] == "fails"]
    wrongly = next((v for v in by_bug[""] if v[0] != "passes"), ["passes", ""])
    hints = _HINTS["unsynchronised gradients"] if accepts else _RIGHT
    yield Claim("the test passes on two right loops, and fails on some faulty one",
                accepts and bool(rejected), "passes on right loops, fails on faulty ones",
                spoken(wrongly), hints=hints, weight=2)  # fmt: skip
    for bug, words in BUGS.items():
        # A test that rejects right loops must be corrected first: what it says of others is noise.
        told = ("AssertionError", spoken(by_bug[bug][0])) if accepts else ("", "")
        yield Claim(f"the test fails if {words}", accepts and bug in rejected, *told,
                    hints=_HINTS[bug])  # fmt: skip


def spoken(verdict):
    what, reason = verdict
    if what == "passes":
        return "the test passes"
    kind = "AssertionError" if what == "fails" else "another error"
    return f"the test ends with {kind}: {reason}" if reason else f"the test ends with {kind}"
