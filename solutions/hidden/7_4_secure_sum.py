"""7.4, hidden from learners: other cases, other right answers, wrong answers."""

import hashlib

import numpy as np

from lablib.teach.exercise import find

case_of = find("7.4").module.case_of
SCALE = 2**16


def cases(seed):
    return [case_of(seed, hospitals=5, dropped=(0, 3)), case_of(seed + 1, 4, dropped=(3,))]


def drawn(seed, number, length):
    return np.random.default_rng([seed, number]).integers(2**32, size=length, dtype=np.uint32)


def numbers_of(update):
    return np.round(update * SCALE).astype(np.int64).astype(np.uint32)


def masks(rank, others, seeds, number, length, draw=drawn, public=False):
    total = np.zeros(length, np.uint32)
    for other in others:
        if other != rank:
            pair = min(rank, other) * 100 + max(rank, other)
            mask = draw(pair if public else seeds[other], number, length)
            total = total + mask if rank < other else total - mask
    return total


def add_up(messages):
    return sum((m for m in messages if m is not None), np.uint32(0))


def reveals_masks(update, rank, seeds, number, share):
    mine = masks(rank, range(len(seeds)), seeds, number, len(update))
    first = share(numbers_of(update) + mine)
    total = add_up(first)
    missing = [other for other, message in enumerate(first) if message is None]
    if missing:
        total = total - add_up(share(masks(rank, missing, seeds, number, len(update))))
    return total.view(np.int32) / SCALE


def in_python_numbers_from_a_hash(update, rank, seeds, number, share):
    """Masks from SHAKE-256, arithmetic with Python's own whole numbers; always two messages after a
    drop-out."""
    length, modulus = len(update), 2**32

    def mask(other):
        text = f"{seeds[other]} {number}".encode()
        bits = hashlib.shake_256(text).digest(4 * length)
        numbers = [int.from_bytes(bits[k : k + 4], "little") for k in range(0, 4 * length, 4)]
        return [m if other > rank else -m for m in numbers]

    pairs = {other: mask(other) for other in range(len(seeds)) if other != rank}
    mine = [round(u * SCALE) for u in update.tolist()]
    masked = [sum(column) % modulus for column in zip(mine, *pairs.values(), strict=True)]
    first = share(np.array(masked, np.uint32))
    gone = [other for other in pairs if first[other] is None]
    both = [message for message in first if message is not None]
    total = [sum(map(int, column)) for column in zip(*both, strict=True)]
    if gone:
        mine = [sum(column) % modulus for column in zip(*map(pairs.get, gone), strict=True)]
        second = [m for m in share(np.array(mine, np.uint32)) if m is not None]
        for reveal in second:
            total = [t - int(r) for t, r in zip(total, reveal, strict=True)]
    signed = [(t + modulus // 2) % modulus - modulus // 2 for t in total]
    return np.array(signed) / SCALE


def sends_again_with_the_masks_that_cancel(update, rank, seeds, number, share):
    """After a drop-out, a second message is masked among the survivors only, with new masks."""
    length = len(update)
    got = share(numbers_of(update) + masks(rank, range(len(seeds)), seeds, number, length))
    here = [other for other, message in enumerate(got) if message is not None]
    if len(here) < len(got):
        again = 1_000_000 + number
        got = share(numbers_of(update) + masks(rank, here, seeds, again, length))
    return add_up(got).astype(np.int32) / SCALE


def no_masks(update, rank, seeds, number, share):
    return add_up(share(numbers_of(update))).view(np.int32) / SCALE


def with_masks(draw, public=False):
    def answer(update, rank, seeds, number, share):
        def masks_with(others):
            return masks(rank, others, seeds, number, len(update), draw, public)

        first = share(numbers_of(update) + masks_with(range(len(seeds))))
        missing = [other for other, message in enumerate(first) if message is None]
        total = add_up(first)
        if missing:
            total = total - add_up(share(masks_with(missing)))
        return total.view(np.int32) / SCALE

    return answer


def one_number(seed, number, length):
    return np.full(length, drawn(seed, number, 1))


def small(seed, number, length):
    return np.random.default_rng([seed, number]).integers(2**20, size=length, dtype=np.uint32)


def upper_half(seed, number, length):
    return drawn(seed, number, length) << np.uint32(16)


def ignores_drop_outs(update, rank, seeds, number, share):
    mine = masks(rank, range(len(seeds)), seeds, number, len(update))
    return add_up(share(numbers_of(update) + mine)).view(np.int32) / SCALE


def reveals_everything(update, rank, seeds, number, share):
    """Takes away all masks after a drop-out: the server can then do it for each message, too."""
    mine = masks(rank, range(len(seeds)), seeds, number, len(update))
    first = share(numbers_of(update) + mine)
    total = add_up(first)
    if any(message is None for message in first):
        total = total - add_up(share(mine))
    return total.view(np.int32) / SCALE


def sends_the_update_again(update, rank, seeds, number, share):
    """After a drop-out, starts again without masks."""
    mine = masks(rank, range(len(seeds)), seeds, number, len(update))
    got = share(numbers_of(update) + mine)
    if any(message is None for message in got):
        got = share(numbers_of(update))
    return add_up(got).view(np.int32) / SCALE


def always_adds(update, rank, seeds, number, share):
    total = numbers_of(update)
    for other in range(len(seeds)):
        if other != rank:
            total = total + drawn(seeds[other], number, len(update))
    return add_up(share(total)).view(np.int32) / SCALE


def forgets_the_sign(update, rank, seeds, number, share):
    return (reveals_masks(update, rank, seeds, number, share) * SCALE) % 2**32 / SCALE


def sends_the_plain_update_beside(update, rank, seeds, number, share):
    import torch
    import torch.distributed as dist

    plain = torch.from_numpy(update.copy())
    if rank == 0:
        dist.send(plain, 1)
    elif rank == 1:
        dist.recv(plain, 0)
    return reveals_masks(update, rank, seeds, number, share)


RIGHT = [
    reveals_masks,
    in_python_numbers_from_a_hash,
    sends_again_with_the_masks_that_cancel,
]
WRONG = {
    "no masks": no_masks,
    "one mask number for all": with_masks(one_number),
    "small masks": with_masks(small),
    "masks the upper half only": with_masks(upper_half),
    "the same masks in each round": with_masks(lambda s, number, length: drawn(s, 0, length)),
    "public masks": with_masks(drawn, public=True),
    "ignores drop-outs": ignores_drop_outs,
    "reveals all masks": reveals_everything,
    "sends the update again": sends_the_update_again,
    "always adds": always_adds,
    "forgets the sign": forgets_the_sign,
    "sends the plain update beside": sends_the_plain_update_beside,
}
