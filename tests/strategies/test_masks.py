"""Masks cancel exactly, also when hospitals drop out; until then a message is only noise."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from noise import looks_like_noise

import lablib as lab
from lablib.strategies import masks
from lablib.strategies.federated import Round

BITS = 20
WEIGHTS = np.concatenate([a.ravel() for a in lab.tasks.get("actg175-mlp").weights().values()])
SEEDS = range(100)


def seeds_of(ranks, seed):
    """Return the seeds of each rank: both ranks of a pair have the same one."""

    def pair(*both):
        return hashlib.sha256(repr((seed, *sorted(both))).encode()).digest()

    return [[pair(rank, other) for other in range(ranks)] for rank in range(ranks)]


def hospitals(ranks, missing=(), number=0):
    """Return a round in which hospital r has r + 1 parts of the records."""
    records = np.arange(1, ranks + 1)
    used = np.where(np.isin(records - 1, list(missing)), 0, records)
    return Round(number, tuple((used / used.sum()).tolist()), tuple(records.tolist()))


def weights_of(rank):
    return WEIGHTS + np.float32(0.1) * np.random.default_rng(rank).standard_normal(
        len(WEIGHTS), np.float32
    )


def messages(now, seed=0, weights=weights_of, bits=BITS):
    """Return what each rank passes to its all-reduces, uint32 [calls, ranks, length]."""
    ranks, sent = len(now.shares), []
    for rank, own in enumerate(seeds_of(ranks, seed)):
        mine = []

        def all_reduce(numbers, mine=mine):
            mine.append(numbers.copy())
            return np.zeros_like(numbers)

        masks.average(weights(rank), now, rank, own, bits, all_reduce)
        sent.append(mine)
    return np.array(sent).swapaxes(0, 1)


def plain(now, weights=weights_of, bits=BITS):
    """Return the whole numbers of each hospital that takes part, without masks."""
    return np.array([
        masks.whole_numbers(weights(rank), share, bits)
        for rank, share in enumerate(now.shares) if share
    ])  # fmt: skip


def total(numbers):
    return numbers.sum(axis=0, dtype=np.uint32)


@pytest.mark.parametrize("ranks", [2, 3, 4, 7])
@pytest.mark.parametrize("seed", range(5))
def test_masks_cancel_bit_for_bit(ranks, seed):
    now = hospitals(ranks)
    (sent,) = messages(now, seed)
    assert np.array_equal(total(sent), total(plain(now)))


DROPPED = [(2, [0]), (3, [1]), (4, [3]), (4, [0, 2]), (5, [0, 1, 4]), (4, [0, 1, 2])]


@pytest.mark.parametrize("ranks, missing", DROPPED)
def test_the_masks_of_missing_hospitals_cancel_too(ranks, missing):
    now = hospitals(ranks, missing)
    masked, revealed = messages(now)
    assert not masked[missing].any()
    assert not revealed[missing].any()
    assert np.array_equal(total(masked) - total(revealed), total(plain(now)))


@pytest.mark.parametrize("ranks, missing", DROPPED)
def test_that_claim_can_fail_without_the_second_sum_nothing_is_right(ranks, missing):
    now = hospitals(ranks, missing)
    masked, _ = messages(now)
    assert np.mean(total(masked) == total(plain(now))) < 0.01


def test_that_claim_can_fail_masks_that_both_add_do_not_cancel(monkeypatch):
    def both_add(rank, others, seeds, number, length):
        return total(np.array([masks.mask(seeds[other], number, length) for other in others]))

    monkeypatch.setattr(masks, "masks", both_add)
    now = hospitals(4)
    assert np.mean(total(messages(now)[0]) == total(plain(now))) < 0.01


@pytest.mark.parametrize("some", [[0], [3], [1, 2], [0, 1, 2]])
def test_without_the_last_message_all_others_are_noise(some):
    sums = [total(messages(hospitals(4), seed)[0][some]) for seed in SEEDS]
    assert looks_like_noise(sums, weights_of(some[0]))


def test_so_are_messages_of_survivors_whose_masks_with_the_missing_are_known():
    now = hospitals(4, missing=[2])
    both = [messages(now, seed) for seed in SEEDS]
    assert looks_like_noise([masked[0] - revealed[0] for masked, revealed in both], weights_of(0))


def test_and_so_is_the_difference_of_two_rounds():
    sums = [messages(hospitals(4, number=1), seed)[0][0] - messages(hospitals(4), seed)[0][0]
            for seed in SEEDS]  # fmt: skip
    assert looks_like_noise(sums, weights_of(0))


NOT_NOISE = {
    "no masks": lambda seed: plain(hospitals(4))[0],
    "all messages": lambda seed: total(messages(hospitals(4), seed)[0]),
    "masks of 24 bits": lambda seed: plain(hospitals(4))[0] + np.random.default_rng(seed).integers(
        2**24, size=len(WEIGHTS), dtype=np.uint32
    ),
    "every second mask": lambda seed: plain(hospitals(4))[0] + messages(hospitals(4), seed)[0][0]
    * (np.arange(len(WEIGHTS)) % 2).astype(np.uint32),
    "the masks of the last round": lambda seed: messages(hospitals(4), seed)[0][0]
    - messages(hospitals(4), seed, weights=lambda rank: 0 * weights_of(rank))[0][0],
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_NOISE)
def test_that_claim_about_noise_can_fail(name):
    assert not looks_like_noise([NOT_NOISE[name](seed) for seed in range(5)], weights_of(0))


def agreed(ranks):
    """Return the seeds of each rank, and what the ranks have sent; every rank is a thread."""
    tables, together = {}, threading.Barrier(ranks, timeout=10)

    def seeds(rank):
        def all_reduce(table):
            tables[rank] = table
            together.wait()
            return total(np.array(list(tables.values())))

        return masks.agree(rank, ranks, all_reduce)

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(seeds, range(ranks))), tables


@pytest.mark.timeout(30)
def test_both_ranks_of_a_pair_get_one_seed_that_no_other_pair_has():
    seeds, tables = agreed(4)
    assert all(seeds[a][b] == seeds[b][a] for a in range(4) for b in range(4))
    assert len({seeds[a][b] for a in range(4) for b in range(a)}) == 6
    assert {table.shape for table in tables.values()} == {(4, masks.KEY_BYTES // 4)}
    sent = b"".join(table.tobytes() for table in tables.values())
    assert not any(
        seeds[a][b][n : n + 8] in sent for a in range(4) for b in range(a) for n in range(24)
    )


def test_numbers_are_right_within_half_of_the_last_digit_of_each_hospital():
    for bits in (8, 16, 24):
        now = hospitals(4)
        mean = masks.real_numbers(total(plain(now, bits=bits)), bits)
        right = sum(share * weights_of(rank).astype(float)
                    for rank, share in enumerate(now.shares))  # fmt: skip
        apart = np.abs(mean - right).max()
        assert apart <= 4 / 2 * 2.0**-bits + 2.0**-24
        assert bits == 24 or apart > 2.0**-bits / 4  # the bound is not far too generous


@pytest.mark.parametrize("bits", [8, 20, 24])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_weights_still_fit(bits, sign):
    largest = sign * (2.0 ** (31 - bits) - 1)
    numbers = total(plain(hospitals(7), lambda rank: np.array([largest], np.float32), bits))
    assert masks.real_numbers(numbers, bits)[0] == pytest.approx(largest, rel=1e-6)


@pytest.mark.parametrize("weight", [2.0**11, -(2.0**11), np.inf, np.nan])
def test_larger_ones_are_an_error_that_says_so(weight):
    with pytest.raises(lab.LabError, match="do not fit") as caught:
        masks.whole_numbers(np.array([0.0, weight]), share=0.1, fraction_bits=20)
    assert "2047" in caught.value.saw


def test_that_limit_is_needed_larger_ones_would_wrap_around():
    numbers = np.array([2.0**11 * 2**20]).astype(np.int64).astype(np.uint32)
    assert masks.real_numbers(numbers, 20)[0] == -(2.0**11)
