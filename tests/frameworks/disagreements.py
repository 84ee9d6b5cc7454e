"""Functions for two ranks that pass different things to one message, and twins that do not."""

from __future__ import annotations

import torch
import torch.distributed as dist


def sizes(me):
    dist.all_reduce(torch.ones(2 + me.rank))


def sizes_of_equal_length(me):
    dist.broadcast(torch.ones(2, 3) if me.rank else torch.ones(3, 2), 0)


def types(me):
    dist.all_reduce(torch.ones(2, dtype=torch.int32 if me.rank else torch.float32))


def operations(me):
    dist.all_reduce(torch.ones(2), op=dist.ReduceOp.MAX if me.rank else dist.ReduceOp.SUM)


def operations_of_reduce_scatter(me):
    op = dist.ReduceOp.MAX if me.rank else dist.ReduceOp.SUM
    dist.reduce_scatter_tensor(torch.ones(2), torch.ones(4), op=op)


def sources(me):
    dist.broadcast(torch.ones(2), src=me.rank)


def destinations(me):
    dist.reduce(torch.ones(2), dst=me.rank)


def destinations_of_gather(me):
    dist.gather(torch.ones(2), [torch.ones(2), torch.ones(2)], dst=me.rank)


def lists(me):
    dist.all_gather([torch.ones(2 + me.rank) for _ in range(2)], torch.ones(2 + me.rank))


def layouts(me):
    x = torch.arange(6.0).reshape(2, 3)
    dist.all_reduce(x if me.rank else x.t().contiguous().t())


def sparse_and_dense(me):
    x = torch.eye(2)
    dist.all_reduce(x if me.rank else x.to_sparse())


def sizes_in_a_group(me):
    dist.all_reduce(torch.ones(2 + me.rank), group=dist.new_group([0, 1]))


def sizes_under_way(me):
    work = dist.all_reduce(torch.ones(2 + me.rank), async_op=True)
    dist.barrier()
    work.wait()


def many(me):
    x = [torch.ones(2), torch.ones(2 + me.rank)]
    dist.all_reduce_coalesced(x)


def smaller_than_its_message(me):
    if me.rank == 0:
        dist.send(torch.ones(4), 1)
    else:
        dist.recv(torch.empty(3), 0)


def larger_than_its_message(me):
    if me.rank == 0:
        dist.isend(torch.ones(4), 1).wait()
    else:
        dist.irecv(torch.empty(5), 0).wait()


def smaller_than_a_message_from_anybody(me):
    if me.rank == 0:
        dist.send(torch.ones(4), 1)
    else:
        dist.recv(torch.empty(3))


def message_of_another_type(me):
    x = torch.ones(4, dtype=torch.int32 if me.rank else torch.float32)
    dist.batch_isend_irecv([dist.P2POp(dist.irecv if me.rank else dist.isend, x, 1 - me.rank)])[
        0
    ].wait()


def first_of_many(me, dtype=torch.int32):
    """Rank 0 is 300 messages ahead when rank 1 receives the first of them."""
    if me.rank == 0:
        under_way = [dist.isend(torch.ones(4), 1) for _ in range(300)]
        dist.send(torch.ones(1), 1, tag=7)
        for work in under_way:
            work.wait()
        return None
    dist.recv(torch.ones(1), 0, tag=7)
    first = torch.zeros(4, dtype=dtype)
    dist.recv(first, 0)
    for _ in range(299):
        dist.recv(torch.zeros(4), 0)
    return first.tolist()


def first_of_many_of_the_right_type(me):
    return first_of_many(me, torch.float32)


def splits(me):
    mine = [[1, 3], [2, 2]][me.rank]
    dist.all_to_all_single(torch.empty(4), torch.ones(4), [2, 2], mine)


def types_of_all_to_all(me):
    x = torch.ones(4, dtype=torch.int32 if me.rank else torch.float32)
    dist.all_to_all_single(x.clone(), x)


def lists_of_all_to_all(me):
    mine = torch.ones(2 + me.rank)
    dist.all_to_all([mine.clone(), mine.clone()], [mine, mine])


DISAGREE = [
    (sizes, "different shapes", ["float32 [2], SUM", "float32 [3], SUM"]),
    (sizes_of_equal_length, "different shapes", ["float32 [3, 2], root 0", "float32 [2, 3]"]),
    (types, "different types", ["rank 0 passes float32 [2]", "rank 1 passes int32 [2]"]),
    (operations, "different operations", ["SUM", "MAX", "op="]),
    (operations_of_reduce_scatter, "different operations to this reduce_scatter", ["SUM", "MAX"]),
    (sources, "different roots", ["root 0", "root 1", "src="]),
    (destinations, "different roots to this reduce", ["root 0", "root 1"]),
    (destinations_of_gather, "different roots to this gather", ["root 0", "root 1"]),
    (lists, "different shapes to this all_gather", ["float32 [3]"]),
    (layouts, "different memory layouts", ["strides [1, 2]", "contiguous"]),
    (sparse_and_dense, "different memory layouts", ["layout sparse_coo", "float32 [2, 2], SUM"]),
    (sizes_in_a_group, "different shapes", ["float32 [3], SUM"]),
    (sizes_under_way, "different shapes", ["float32 [3], SUM"]),
    (many, "different shapes", ["float32 [2], float32 [3]"]),
    (smaller_than_its_message, "does not fit", ["sends 4 elements", "receives 3 elements"]),
    (larger_than_its_message, "does not fit", ["sends 4 elements", "receives 5 elements"]),
    (message_of_another_type, "does not fit", ["elements of float32", "elements of int32"]),
    (splits, "sizes in this all_to_all", ["rank 0 sends 3 elements to rank 1", "expects 2"]),
    (types_of_all_to_all, "different types to this all_to_all", ["float32", "int32"]),
    (lists_of_all_to_all, "sizes in this all_to_all", ["sends 2", "expects 3"]),
]


def _column():
    return torch.ones(3, 2)[:, 0]


def reduces_a_column(me):
    dist.all_reduce(_column())


def reduces_an_expanded_tensor(me):
    dist.all_reduce(torch.ones(1).expand(3))


def broadcasts_a_column(me):
    dist.broadcast(_column(), 0)


def reduces_a_column_to_one(me):
    dist.reduce(_column(), 0)


def scatters_into_a_column(me):
    dist.scatter(_column(), [torch.ones(3)] * 2 if me.rank == 0 else None, 0)


def scatters_columns(me):
    dist.scatter(torch.ones(3), [_column(), _column()] if me.rank == 0 else None, 0)


def reduces_and_scatters_transposed(me):
    dist.reduce_scatter(torch.ones(2, 2), [torch.ones(2, 2).t() @ torch.ones(2, 2), _square().t()])


def _square():
    return torch.arange(4.0).reshape(2, 2)


def exchanges_into_a_transposed(me):
    dist.all_to_all_single(_square().t(), _square())


def sends_a_column(me):
    dist.send(_column(), 1) if me.rank == 0 else dist.recv(torch.ones(3), 0)


def receives_into_a_column(me):
    dist.send(torch.ones(3), 1) if me.rank == 0 else dist.recv(_column(), 0)


def reduces_a_conjugated_view(me):
    dist.reduce(torch.ones(2, dtype=torch.complex64).conj(), 0)


def splits_too_few(me):
    dist.all_to_all_single(torch.empty(4), torch.ones(4), [1, 2], [2, 2])


def cannot_be_split(me):
    dist.all_to_all_single(torch.empty(3), torch.ones(3))


def sends_out_of_range(me):
    dist.send(torch.ones(1), 5)


def broadcasts_out_of_range(me):
    dist.broadcast(torch.ones(1), 5)


ALONE = [
    (reduces_a_column, "all_reduce needs a contiguous tensor"),
    (reduces_an_expanded_tensor, "all_reduce needs a contiguous tensor"),
    (broadcasts_a_column, "broadcast needs a contiguous tensor"),
    (reduces_a_column_to_one, "reduce needs a contiguous tensor"),
    (scatters_into_a_column, "scatter needs a contiguous tensor"),
    (scatters_columns, "scatter needs a contiguous tensor"),
    (reduces_and_scatters_transposed, "reduce_scatter needs a contiguous tensor"),
    (exchanges_into_a_transposed, "all_to_all needs a contiguous tensor"),
    (sends_a_column, "send needs a contiguous tensor"),
    (receives_into_a_column, "recv needs a contiguous tensor"),
    (reduces_a_conjugated_view, "reduce needs a tensor whose memory holds its values"),
    (splits_too_few, "output split sizes of all_to_all_single do not match"),
    (cannot_be_split, "cannot cut its input into 2 equal parts"),
    (sends_out_of_range, "There is no rank 5"),
    (broadcasts_out_of_range, "There is no rank 5"),
]


def _any_layout(me):
    return torch.ones(4, 2)[:, 1] if me.rank else torch.ones(4)


def agrees(me):
    """Use everything that may differ between ranks; all results are right."""
    one, two = torch.ones(2), torch.full((2,), 2.0)
    seen = []

    x = one.clone()
    dist.broadcast(x, 1)
    seen.append(x.tolist())
    parts = [torch.empty(2), torch.empty(2)] if me.rank == 0 else None
    dist.gather(one * me.rank, parts, 0)
    dist.scatter(x, [one, two] if me.rank == 0 else None, 0)
    seen.append(x.tolist())
    transposed = torch.arange(4.0).reshape(2, 2).t()
    dist.all_reduce(transposed)
    seen.append(transposed.tolist())
    images = torch.ones(1, 2, 2, 2).to(memory_format=torch.channels_last)
    dist.all_reduce(images)
    seen.append(images.sum().item())
    flat = torch.empty(4)
    dist.all_gather_into_tensor(flat, one * me.rank)
    seen.append(flat.tolist())
    dist.all_gather([torch.ones(4, 2)[:, 0], torch.ones(4)], _any_layout(me))
    uneven = [torch.ones(1), torch.ones(2)]
    mine = torch.empty(1 + me.rank)
    dist.reduce_scatter(mine, uneven)
    seen.append(mine.tolist())
    sends, receives = [[1, 2], [3, 4]][me.rank], [[1, 3], [2, 4]][me.rank]
    out = torch.empty(sum(receives))
    dist.all_to_all_single(out, torch.full((sum(sends),), float(me.rank)), receives, sends)
    seen.append(out.tolist())
    if me.rank == 0:
        dist.send(torch.ones(2, 3), 1)  # sent with one shape, received with another one
        dist.send(one, 1, tag=7)
        dist.send(torch.ones(3), 1)
        dist.send(torch.ones(4), 1)
    else:
        six = torch.empty(6)
        dist.recv(six, 0)
        dist.recv(x, 0, tag=7)
        seen.append(six.sum().item())
        three, four = torch.empty(3), torch.empty(4)
        dist.recv(three)  # from any rank
        dist.recv(four, 0)
        seen.append(four.sum().item())
    objects = [None, None]
    dist.all_gather_object(objects, {"rank": me.rank, "text": "x" * 10**me.rank})
    seen.append([len(thing["text"]) for thing in objects])
    listed = [list(range(5)) if me.rank == 0 else None]
    dist.broadcast_object_list(listed, 0)
    dist.all_reduce(torch.ones(2, dtype=torch.int64), op=dist.ReduceOp.MAX)
    dist.all_reduce(torch.tensor(1.0))
    dist.all_reduce(torch.eye(2 + me.rank)[:2, :2].to_sparse())
    return seen
