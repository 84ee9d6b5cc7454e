"""Hospitals exchange messages, and the last rank hears all of them without sending any."""

from __future__ import annotations

import numpy as np
import pytest

from lablib.cluster.cluster import Cluster
from lablib.teach.exercise import find
from lablib.teach.observation import Seen
from lablib.teach.overheard import Exchange, nothing_else

pytestmark = pytest.mark.timeout(60)


def unequal_numbers_of_messages(me):
    """Rank 0 sends two messages of different lengths, rank 1 one, and rank 2 only listens."""
    exchange = Exchange(most=3)
    got = [exchange.share(np.arange(k)) for k in ((2, 3), (1,), ())[me.rank]]
    return {"got": got, "heard": exchange.listen()}


def sends_beside(me):
    import torch
    import torch.distributed as dist

    if me.rank == 0:
        dist.send(torch.ones(1), 1)
    elif me.rank == 1:
        dist.recv(torch.ones(1), 0)
    return unequal_numbers_of_messages(me)


def test_a_rank_that_sends_less_makes_nobody_wait_and_the_last_rank_hears_everything():
    run = Cluster(3).run(unequal_numbers_of_messages)
    first, second, server = run.values
    heard = [[[0.0, 1.0], [0.0]], [[0.0, 1.0, 2.0], None]]
    assert plain(server["heard"]) == plain(first["got"]) == heard
    assert plain(second["got"]) == heard[:1]
    assert nothing_else(Seen(run.values, run), ranks=3)


def test_a_message_beside_the_exchange_is_seen():
    run = Cluster(3).run(sends_beside)
    assert not nothing_else(Seen(run.values, run), ranks=3)


def test_a_message_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="at most 3 numbers, not 4"):
        Exchange(most=3).share(np.arange(4))


def plain(rounds):
    return [[None if message is None else list(message) for message in now] for now in rounds]


def test_uniform_numbers_pass_the_test_for_masks_and_others_do_not():
    module = find("7.4").module
    rng = np.random.default_rng(5)

    def drawn():
        return rng.integers(2**32, size=module.LENGTH, dtype=np.uint32)

    far = max(module.distance(drawn()) for _ in range(200))
    assert far < 0.8 * module.FARTHEST
    for leaky in (drawn() >> np.uint32(1), drawn() << np.uint32(16), np.full_like(drawn(), 7)):
        assert module.distance(leaky) > module.FARTHEST
