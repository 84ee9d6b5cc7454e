"""Ranks that pass different things to one message get an error at once, with both lines."""

from __future__ import annotations

import time

import disagreements
import pytest
from disagreements import ALONE, DISAGREE

import lablib as lab
from lablib.frameworks.torch.message_table import Entry, MessageTable


def name(value):
    return getattr(value, "__name__", None) or ""


@pytest.fixture(scope="module")
def cluster():
    return lab.Cluster(2, timeout_s=60)


@pytest.mark.parametrize("job, wrong, seen", DISAGREE, ids=name)
def test_the_error_says_what_differs_and_names_both_ranks_and_lines(cluster, job, wrong, seen):
    started_s = time.monotonic()
    with pytest.raises(lab.RankFailed) as caught:
        cluster.run(job)
    text = caught.value.wrong  # the error of the last rank
    assert wrong in text and all(piece in text for piece in seen), text
    assert text.count("(disagreements.py, line ") == 2, text
    assert time.monotonic() - started_s < 30  # much less than its limit of 60 s


@pytest.mark.parametrize("job, wrong", ALONE, ids=name)
def test_what_is_wrong_on_one_rank_alone_is_said_at_its_line(cluster, job, wrong):
    with pytest.raises(lab.RankFailed) as caught:
        cluster.run(job)
    assert wrong in caught.value.wrong
    assert "disagreements.py, line" in caught.value.saw


def test_a_tensor_too_small_for_a_message_from_anybody_is_named_as_the_cause(cluster):
    with pytest.raises(lab.RankFailed, match="rank 1 of 2 was killed by signal SIGABRT") as caught:
        cluster.run(disagreements.smaller_than_a_message_from_anybody)
    assert "larger than the tensor" in caught.value.saw


def test_the_first_of_many_messages_is_compared_though_its_words_are_no_longer_there(cluster):
    with pytest.raises(lab.RankFailed, match="Rank 0 passes something else") as caught:
        cluster.run(disagreements.first_of_many)
    assert "int32, 4 elements (disagreements.py, line" in caught.value.wrong
    assert "many messages ahead" in caught.value.wrong
    right = cluster.run(disagreements.first_of_many_of_the_right_type)
    assert right.values == [None, [1.0] * 4]


@pytest.mark.parametrize("hardware", [None, "dgx-a100"])
def test_what_may_differ_from_rank_to_rank_is_accepted(hardware):
    first, second = lab.Cluster(2, hardware=hardware).run(disagreements.agrees).values
    assert first == [
        [1, 1], [1, 1], [[0, 4], [2, 6]], 16, [0, 0, 1, 1], [2], [0, 1, 1, 1],
        [1, 10],
    ]  # fmt: skip
    assert second == [
        [1, 1], [2, 2], [[0, 4], [2, 6]], 16, [0, 0, 1, 1], [2, 2], [0, 0, 1, 1, 1, 1],
        6, 4, [1, 10],
    ]  # fmt: skip


def test_the_same_fault_on_modelled_hardware_has_the_same_error():
    with pytest.raises(lab.RankFailed, match="different shapes to this all_reduce"):
        lab.Cluster(2, hardware="dgx-a100").run(disagreements.sizes)


@pytest.fixture
def tables(tmp_path):
    return [MessageTable(str(tmp_path / "messages"), rank, 3) for rank in range(3)]


def differing(table, entry, ranks=(0, 1, 2)):
    return [rank for rank, _ in table.different(entry, ranks)]


def test_whoever_comes_last_finds_what_differs(tables):
    first, second = Entry("0", 1, "sum: 2", "a.py:3"), Entry("0", 1, "sum: 3", "b.py:4")
    tables[0].write(first)
    assert differing(tables[0], first) == []
    tables[1].write(second)
    assert list(tables[1].different(second, (0, 2))) == [(0, first)]
    assert differing(tables[2], second) == [0]


def test_entries_of_other_messages_are_not_compared(tables):
    tables[0].write(Entry("0", 1, "sum: 2"))
    assert differing(tables[1], Entry("0", 2, "sum: 3")) == []
    assert differing(tables[1], Entry("1", 1, "sum: 3")) == []
    assert differing(tables[1], Entry("0", 1 + 16384, "sum: 3")) == []  # the same slot


def test_a_rank_that_is_far_ahead_is_compared_without_its_words(tables):
    for order in range(1, 1000):
        tables[0].write(Entry("0", order, "sum: 2"))
    assert differing(tables[1], Entry("0", 1, "sum: 2")) == []
    assert list(tables[1].different(Entry("0", 1, "sum: 3"), (0,))) == [(0, Entry("0", 1, ""))]
    assert differing(tables[1], Entry("0", 1, "sum", sends=(1,))) == [0]


def test_a_long_entry_is_compared_whole_though_it_is_shown_in_part(tables):
    tables[0].write(Entry("0", 1, "x" * 5000 + "1"))
    assert differing(tables[1], Entry("0", 1, "x" * 5000 + "1")) == []
    assert differing(tables[1], Entry("0", 1, "x" * 5000 + "2")) == [0]


def test_an_entry_with_numbers_is_always_handed_out(tables):
    entry = Entry("0", 1, "all_to_all", sends=(1, 2), receives=(3, 4))
    tables[0].write(entry)
    assert list(tables[1].different(entry, (0,))) == [(0, entry)]


def test_a_rank_that_receives_from_anybody_is_known(tables):
    assert tables[0].is_predictable(1)
    tables[1].receives_from_anybody()
    assert not tables[0].is_predictable(1) and tables[0].is_predictable(2)
