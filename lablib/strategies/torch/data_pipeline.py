"""Data x pipeline parallelism on a 2-D mesh: several pipelines, each with its shard of the batch.

Activations are sent along one axis of the mesh. Along the other axis, the replicas of a stage
average their gradients.
"""

from lablib.record.wire_bytes import wire_bytes
from lablib.strategies import stages
from lablib.strategies.expected import Expected
from lablib.strategies.strategy import Job, Strategy
from lablib.strategies.torch_stage import mean_loss, pass_through, torch_stage


def _why_not(task, ranks, batch, micro_batches, pipelines):
    if not isinstance(pipelines, int) or pipelines < 1 or ranks % pipelines:
        return f"{ranks} ranks can form no {pipelines!r} equal pipelines"
    length = ranks // pipelines
    if not 2 <= length <= task.blocks:
        return f"pipelines of {length} stages, and {task.blocks} blocks"
    if batch % pipelines:
        return f"it cannot be divided evenly among {pipelines} pipelines"
    return stages.why_not(task, length, batch // pipelines, micro_batches)


STRATEGY = Strategy(
    name="data_pipeline",
    framework="torch",
    family="combined",
    about="Ranks are a grid: along its rows a pipeline with GPipe, along its columns replicas of "
    "one stage, whose gradients are averaged by all-reduce.",
    read="https://docs.pytorch.org/tutorials/recipes/distributed_device_mesh.html",
    splits="blocks",
    least_ranks=4,
    fits=_why_not,
    options={"micro_batches": 4, "pipelines": 2},
)


def train(me, job: Job) -> dict:
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.pipelining import ScheduleGPipe
    from torch.nn.utils import parameters_to_vector

    task, pipelines = job.task, job.options["pipelines"]
    pieces = job.options["micro_batches"]
    length = me.ranks // pipelines
    device, names = me.torch_device, ("data", "pipeline")
    mesh = init_device_mesh(device.type, (pipelines, length), mesh_dim_names=names)
    row, column = mesh.get_coordinate()
    cut = task.cut(length)
    model = me.put(task.torch_model(job.seed, cut[column]))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=task.lr, momentum=task.momentum)
    piece = job.batch // pipelines // pieces
    stage = torch_stage(model, task, cut, column, piece, device, mesh.get_group("pipeline"))
    schedule = ScheduleGPipe(stage, pieces, loss_fn=task.torch_loss)
    losses = []
    for step in range(job.steps):
        x, y = (part.chunk(pipelines)[row] for part in me.put(job.batch_at(step)))
        with me.step(samples=len(x)):
            optimizer.zero_grad()
            parts = pass_through(schedule, x, y, stage.is_first, stage.is_last)
            flat = parameters_to_vector([weight.grad for weight in weights])
            dist.all_reduce(flat, group=mesh.get_group("data"))
            flat /= pipelines
            _copy_back(flat, weights)
            del flat
            optimizer.step()
        losses += mean_loss(parts)
    return {"losses": losses, "weights": task.torch_arrays(model) if row == 0 else {}}


def _copy_back(flat, weights):
    for weight, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
        weight.grad.copy_(part.view_as(weight))


def expected(task, ranks, batch, micro_batches=4, pipelines=2) -> Expected:
    length, shard = ranks // pipelines, batch // pipelines
    along = stages.messages(task, length, shard, micro_batches)
    messages = {name: (pipelines * n, pipelines * size) for name, (n, size) in along.items()}
    order = [stages.passes(stage, micro_batches, ahead=micro_batches) for stage in range(length)]
    piece, cut = shard // micro_batches, task.cut(length)
    held_bytes = stages.live_bytes(task, cut, order, piece, buffers=micro_batches)
    if held_bytes is not None:
        weights = [sum(task.chain[number].weight_bytes for number in blocks) for blocks in cut]
        # momentum, gradients and their flat copy are as large as the weights
        held_bytes = max(held_bytes, 4 * max(weights))
    messages |= {"all_reduce": (ranks, pipelines * task.weight_bytes)}
    return Expected(messages, _wire_bytes(task, length, shard, pipelines), held_bytes)


def _wire_bytes(task, length, shard, pipelines):
    """Return the busiest rank's bytes: activations in its pipeline, gradients of its stage."""
    along = stages.wire_bytes_by_rank(task, length, length, shard)
    weights = [sum(task.chain[n].weight_bytes for n in blocks) for blocks in task.cut(length)]
    across = (wire_bytes("all_reduce", nbytes, pipelines) for nbytes in weights)
    return max(map(sum, zip(along, across, strict=True)))
