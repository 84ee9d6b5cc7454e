"""6.4 Exact resume after a lost rank, on another number of ranks, in both frameworks.

One run stands for two: in the first part a step raises an error on all ranks of the group, as if
one of them had been killed; in the second part fewer ranks continue with new models. A third part
starts again after the end.
"""

import numpy as np

from lablib.teach.claims import Claim, equal, equal_by_rank, show
from lablib.teach.exercise import Case

ANSWERS = (
    "train_torch(model, optimizer, train_step, steps, every, folder, group)",
    "train_tensorflow(model, optimizer, train_step, steps, every, folder, chief)",
)
TITLE = "Lose a rank, lose nothing"
POINTS = 6
TORCH, TENSORFLOW = 0, 1
LR, MOMENTUM = 0.05, 0.9

_STEPS = (
    "Which steps does a run do? All from the newest checkpoint on, up to steps - 1.",
    "for step in range(first, steps): train_step(step). Do not catch the error of a lost rank.",
)
_FIRST = (
    "How does the second run know with which step it must begin?",
    "Save the number of steps that are done, together with the weights, in the same checkpoint.",
)
_EXACT = (
    "What does the next step depend on, apart from the weights?",
    "SGD with momentum keeps a momentum for each weight: the optimizer's state is a part of the "
    "checkpoint. Is it restored into the optimizer that train_step uses?",
)
_AGAIN = (
    "Write a checkpoint after the last step, too. A run that finds it has nothing to do.",
    "due = (step + 1) % every == 0 or step + 1 == steps",
)
_TOOL = {
    TORCH: (
        "Use torch.distributed.checkpoint: its save and load take the state as a dictionary.",
        "Give each checkpoint a folder of its own, such as folder / f'step-{done:06}'. One "
        "that is overwritten is lost if a rank dies meanwhile. .metadata is written last.",
    ),
    TENSORFLOW: (
        "Use tf.train.Checkpoint for what is saved, and tf.train.CheckpointManager for the files.",
        "manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2); only the chief "
        "calls manager.save().",
    ),
}  # fmt: skip


def cases(seed):
    return [
        case_of(seed, TORCH, steps=7, every=2, lost_at=5),
        case_of(seed + 1, TENSORFLOW, steps=7, every=3, lost_at=5),
    ]


def case_of(seed, answer, steps, every, lost_at, batch=12, inputs=4, outputs=3):
    rng = np.random.default_rng(seed)
    shared = {
        "x": rng.normal(size=(steps, batch, inputs)).astype(np.float32),
        "y": rng.normal(size=(steps, batch, outputs)).astype(np.float32),
        "start": (rng.normal(size=(inputs, outputs)) / 2).astype(np.float32),
        "steps": steps,
        "every": every,
        "lost_at": lost_at,
    }
    ranks, framework = ((3, "torch"), (2, "tensorflow"))[answer]
    name = f"{framework}: {ranks} ranks, lost in step {lost_at}, then {ranks - 1}"
    return Case(name, shared, answer=answer, ranks=ranks, framework=framework, timeout_s=60)


class RankLost(Exception):
    """The error that all ranks of a group see when one of them was killed."""


def observe(me, answer, given):
    return (in_torch if me.framework == "torch" else in_tensorflow)(me, answer, given)


def parts(given, run):
    """Run the three parts. `run(part, lost_at)` returns what it found, or None on other ranks."""
    return [run(part, given.lost_at if part == 0 else None) for part in range(3)]


def in_torch(me, answer, given):
    import tempfile
    from pathlib import Path

    import torch
    import torch.distributed as dist

    folder = Path(tempfile.gettempdir(), "checkpoints of exercise 6.4")
    folder.mkdir(exist_ok=True)
    sizes = me.ranks, me.ranks - 1, me.ranks - 1
    groups = [dist.new_group(list(range(size))) for size in sizes]

    def run(part, lost_at):
        group, size = groups[part], sizes[part]
        if me.rank >= size:
            return None
        # A new process would start from other weights; only the first part may use the given ones.
        start = torch.tensor(given.start) + 0.5 * part
        model = torch.nn.Linear(*given.start.shape, bias=False)
        model.weight.data.copy_(start.T)
        optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
        done = []

        def train_step(step):
            if step == lost_at:
                raise RankLost(f"a rank was lost in step {step}")
            x, y = (torch.tensor(part[step])[me.rank :: size] for part in (given.x, given.y))
            loss = ((model(x) - y) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            dist.all_reduce(model.weight.grad, group=group)
            model.weight.grad /= size
            optimizer.step()
            done.append(step)

        rank_lost = False
        try:
            answer(model, optimizer, train_step, given.steps, given.every, folder, group)
        except RankLost:
            rank_lost = True
        dist.barrier(group)
        return {"done": done, "weights": model.weight.detach().numpy().T, "lost": rank_lost,
                "files": torch_checkpoints(folder) if me.rank == 0 else None}  # fmt: skip

    return parts(given, run)


def torch_checkpoints(folder):
    """Return the shapes in each of PyTorch's checkpoints, by its folder's name."""
    from torch.distributed.checkpoint import FileSystemReader

    found = {}
    for path in folder.rglob(".metadata"):
        entries = FileSystemReader(path.parent).read_metadata().state_dict_metadata.values()
        shapes = [list(entry.size) for entry in entries if hasattr(entry, "size")]
        found[path.parent.relative_to(folder).as_posix()] = shapes
    return found


def in_tensorflow(me, answer, given):
    import tempfile

    import keras
    import tensorflow as tf

    folder = tempfile.gettempdir() + "/checkpoints of exercise 6.4"
    several = tf.distribute.MultiWorkerMirroredStrategy()
    one = tf.distribute.OneDeviceStrategy("/cpu:0")

    def run(part, lost_at):
        strategy, size = (several, me.ranks) if part == 0 else (one, 1)
        if me.rank >= size:
            return None
        with strategy.scope():
            layer = keras.layers.Dense(given.start.shape[1], use_bias=False)
            model = keras.Sequential([keras.Input((given.start.shape[0],)), layer])
            optimizer = keras.optimizers.SGD(LR, momentum=MOMENTUM)
            optimizer.build(model.trainable_variables)
        layer.kernel.assign(given.start + 0.5 * part)
        done = []

        def on_a_replica(x, y):
            """The gradient of the mean squared error; apply_gradients sums over the replicas."""
            off = x @ layer.kernel - y
            gradient = 2 * tf.transpose(x) @ off / np.prod(off.shape)
            share = gradient / strategy.num_replicas_in_sync
            optimizer.apply_gradients([(share, layer.kernel)])

        in_a_graph = tf.function(lambda x, y: strategy.run(on_a_replica, (x, y)))

        def train_step(step):
            if step == lost_at:
                raise RankLost(f"a rank was lost in step {step}")
            in_a_graph(*(tf.constant(part[step][me.rank :: size]) for part in (given.x, given.y)))
            done.append(step)

        rank_lost = False
        try:
            answer(model, optimizer, train_step, given.steps, given.every, folder, me.rank == 0)
        except RankLost:
            rank_lost = True
        return {"done": done, "weights": layer.kernel.numpy(), "lost": rank_lost,
                "files": tensorflow_checkpoints(folder) if me.rank == 0 else None}  # fmt: skip

    return parts(given, run)


def tensorflow_checkpoints(folder):
    """Return the shapes in the newest checkpoint of a CheckpointManager; {} if there is none."""
    import tensorflow as tf

    newest = tf.train.latest_checkpoint(folder)
    shapes = tf.train.load_checkpoint(newest).get_variable_to_shape_map() if newest else {}
    return {"newest": [list(shape) for shape in shapes.values()]} if newest else {}


def judge(case, seen):
    given, values = case.shared, seen.values
    ranks = case.ranks
    steps, every, lost_at = (given[name] for name in ("steps", "every", "lost_at"))
    saved = lost_at // every * every
    lost, resumed, again = ([value[part] for value in values] for part in range(3))
    left = ranks - 1
    yield equal("the first run does all steps up to the lost rank", [list(range(lost_at))] * ranks,
                [one["done"] for one in lost], hints=_STEPS)  # fmt: skip
    yield equal(f"with fewer ranks, it continues with step {saved}, after the newest checkpoint",
                [list(range(saved, steps))] * left, [one["done"] for one in resumed[:left]],
                weight=2, hints=_FIRST)  # fmt: skip
    due = unbroken(given)
    yield equal_by_rank("the last weights are those of a run that was never interrupted",
                        [due] * left, [one["weights"] for one in resumed[:left]], weight=2,
                        hints=_EXACT)  # fmt: skip
    finished = [one["done"] for one in again[:left]] == [[]] * left
    restored = all(np.shape(one["weights"]) == due.shape and
                   np.allclose(one["weights"], due, rtol=1e-4) for one in again[:left])  # fmt: skip
    had = "the last weights" if restored else "other weights"
    yield Claim("started again after the end, it trains no step and has the last weights",
                finished and restored, "no step, the last weights",
                f"steps {show(again[0]['done'])}, {had}", hints=_AGAIN)  # fmt: skip
    files = lost[0]["files"]
    yield Claim("the checkpoint is one of the framework's own tool, with weights and momentum",
                whole(files, given["start"]), "weights and momentum in a folder of their own",
                show(files), weight=2, hints=_TOOL[case.answer])  # fmt: skip


def whole(files, start):
    """Return whether checkpoints have two arrays of the weights' shape, and none lies in the folder
    itself, where the next one would overwrite it."""
    shapes = (list(start.shape), list(start.shape[::-1]))
    return isinstance(files, dict) and bool(files) and "." not in files and all(
        sum(shape in shapes for shape in found) >= 2 for found in files.values())  # fmt: skip


def unbroken(given):
    """Return the weights after gradient descent with momentum on all the data, in one process."""
    weights, momentum = given["start"].astype(float), 0.0
    for x, y in zip(given["x"].astype(float), given["y"].astype(float)):
        momentum = MOMENTUM * momentum + 2 * x.T @ (x @ weights - y) / y.size
        weights = weights - LR * momentum
    return weights
