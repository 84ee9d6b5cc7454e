"""6.4, what learners never get: other cases, right answers written differently, wrong ones."""

from lablib.teach.exercise import find

_module = find("6.4").module


def cases(seed):
    case_of = _module.case_of
    return [
        case_of(seed, _module.TORCH, steps=9, every=3, lost_at=8, inputs=6),
        case_of(seed + 1, _module.TENSORFLOW, steps=8, every=2, lost_at=3, outputs=5),
    ]


def with_state_dicts(model, optimizer, train_step, steps, every, folder, group):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    def state(done):
        weights, momentum = get_state_dict(model, optimizer)
        return {"model": weights, "optimizer": momentum, "done": done}

    complete = sorted(path.parent for path in folder.glob("*/.metadata"))
    first = 0
    if complete:
        found = state(0)
        dcp.load(found, checkpoint_id=complete[-1], process_group=group)
        set_state_dict(model, optimizer, model_state_dict=found["model"],
                       optim_state_dict=found["optimizer"])  # fmt: skip
        first = found["done"]
    for done in range(first + 1, steps + 1):
        train_step(done - 1)
        if done % every == 0 or done == steps:
            path = folder / f"step-{done:06}"
            dcp.save(state(done), checkpoint_id=path, process_group=group)


def with_a_stateful_object(model, optimizer, train_step, steps, every, folder, group):
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    class Progress:
        done = torch.zeros(1, dtype=torch.int64)

        def state_dict(self):
            weights, momentum = get_state_dict(model, optimizer)
            return {"weights": weights, "momentum": momentum, "done": self.done}

        def load_state_dict(self, found):
            set_state_dict(model, optimizer, model_state_dict=found["weights"],
                           optim_state_dict=found["momentum"])  # fmt: skip
            self.done = found["done"]

    progress = Progress()
    numbers = [int(path.name) for path in folder.iterdir() if (path / ".metadata").exists()]
    if numbers:
        newest = folder / str(max(numbers))
        dcp.load({"all": progress}, checkpoint_id=str(newest), process_group=group)
    while int(progress.done) < steps:
        train_step(int(progress.done))
        progress.done = progress.done + 1
        if int(progress.done) % every == 0 or int(progress.done) == steps:
            path = str(folder / str(int(progress.done)))
            dcp.save({"all": progress}, storage_writer=dcp.FileSystemWriter(path),
                     process_group=group)  # fmt: skip


def with_a_variable(model, optimizer, train_step, steps, every, folder, chief):
    import tensorflow as tf

    done = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, done=done)
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_consumed()
    for step in range(int(done), steps):
        train_step(step)
        done.assign_add(1)
        if chief and (int(done) % every == 0 or int(done) == steps):
            manager.save()


def with_the_number_of_the_file(model, optimizer, train_step, steps, every, folder, chief):
    import tensorflow as tf

    checkpoint = tf.train.Checkpoint(optimizer=optimizer, model=model)
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=3)
    newest = manager.restore_or_initialize()
    first = int(newest.rpartition("-")[2]) if newest else 0
    for step in range(first, steps):
        train_step(step)
        done = step + 1
        if chief and (done == steps or not done % every):
            manager.save(checkpoint_number=done)


def forgets_the_optimizer(model, optimizer, train_step, steps, every, folder, group):
    import torch.distributed.checkpoint as dcp

    complete = sorted(path.parent for path in folder.glob("*/.metadata"))
    found = {"model": model.state_dict(), "done": 0}
    if complete:
        dcp.load(found, checkpoint_id=complete[-1], process_group=group)
    for done in range(found["done"] + 1, steps + 1):
        train_step(done - 1)
        if done % every == 0 or done == steps:
            dcp.save({"model": model.state_dict(), "done": done},
                     checkpoint_id=folder / f"{done:06}", process_group=group)  # fmt: skip


def trains_again_from_the_start(model, optimizer, train_step, steps, every, folder, group):
    for step in range(steps):
        train_step(step)


def forgets_the_step(model, optimizer, train_step, steps, every, folder, group):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    complete = sorted(path.parent for path in folder.glob("*/.metadata"))
    if complete:
        weights, momentum = get_state_dict(model, optimizer)
        found = {"model": weights, "optimizer": momentum}
        dcp.load(found, checkpoint_id=complete[-1], process_group=group)
        set_state_dict(model, optimizer, model_state_dict=found["model"],
                       optim_state_dict=found["optimizer"])  # fmt: skip
    for step in range(steps):
        train_step(step)
        if (step + 1) % every == 0:
            weights, momentum = get_state_dict(model, optimizer)
            dcp.save({"model": weights, "optimizer": momentum},
                     checkpoint_id=folder / f"{step:06}", process_group=group)  # fmt: skip


def with_torch_save(model, optimizer, train_step, steps, every, folder, group):
    """The right weights, from a file that rank 0 writes by hand."""
    import torch

    path, first = folder / "checkpoint.pt", 0
    if path.exists():
        found = torch.load(path)
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        first = found["done"]
    for done in range(first + 1, steps + 1):
        train_step(done - 1)
        if done % every == 0 or done == steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            import torch.distributed as dist

            if dist.get_rank(group) == 0:
                torch.save(state | {"done": done}, path)
            dist.barrier(group)


def overwrites_its_checkpoint(model, optimizer, train_step, steps, every, folder, group):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    def state(done):
        weights, momentum = get_state_dict(model, optimizer)
        return {"model": weights, "optimizer": momentum, "done": done}

    found = state(0)
    if (folder / ".metadata").exists():
        dcp.load(found, checkpoint_id=folder, process_group=group)
        set_state_dict(model, optimizer, model_state_dict=found["model"],
                       optim_state_dict=found["optimizer"])  # fmt: skip
    for done in range(found["done"] + 1, steps + 1):
        train_step(done - 1)
        if done % every == 0 or done == steps:
            dcp.save(state(done), checkpoint_id=folder, process_group=group)


def weights_only(model, optimizer, train_step, steps, every, folder, chief):
    import tensorflow as tf

    done = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, done=done)
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2)
    checkpoint.restore(manager.latest_checkpoint)
    for step in range(int(done), steps):
        train_step(step)
        done.assign_add(1)
        if chief and (int(done) % every == 0 or int(done) == steps):
            manager.save()


def counts_from_zero(model, optimizer, train_step, steps, every, folder, chief):
    import tensorflow as tf

    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2)
    checkpoint.restore(manager.latest_checkpoint)
    for step in range(steps):
        train_step(step)
        if chief and (step + 1) % every == 0:
            manager.save()


def never_saves(model, optimizer, train_step, steps, every, folder, chief):
    for step in range(steps):
        train_step(step)


RIGHT = [
    (with_state_dicts, with_a_variable),
    (with_a_stateful_object, with_the_number_of_the_file),
]
WRONG = {
    "forgets the optimizer": (forgets_the_optimizer, weights_only),
    "trains again from the start": (trains_again_from_the_start, never_saves),
    "forgets the step": (forgets_the_step, counts_from_zero),
    "writes a file by hand": (with_torch_save, with_a_variable),
    "overwrites its checkpoint": (overwrites_its_checkpoint, with_a_variable),
}
