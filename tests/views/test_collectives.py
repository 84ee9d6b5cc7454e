"""Collectives drawn step by step: what ranks hold, and which rank sent in which round."""

import matplotlib.text
import pytest
from drawings import data_parallel, illegible, words

import lablib as lab
from lablib.errors import LabError
from lablib.record.trace import Event, Trace
from lablib.views import plots
from lablib.views.plots.message_rounds import rounds


def ring_buffers(ranks):
    """Return [rank][moment] of a ring all-reduce in which rank r begins with r + 1 everywhere."""
    held = [[rank + 1] * ranks for rank in range(ranks)]
    moments = [[list(own)] for own in held]
    for turn in range(2 * (ranks - 1)):
        sent = [held[rank][(rank - turn) % ranks] for rank in range(ranks)]
        for rank in range(ranks):
            chunk = (rank - turn - 1) % ranks
            adds = held[rank][chunk] if turn < ranks - 1 else 0
            held[rank][chunk] = sent[rank - 1] + adds
            moments[rank].append(list(held[rank]))
    return moments


def ring_trace(ranks, clock="measured", steps=False):
    events = []
    for turn in range(2 * (ranks - 1)):
        for rank in range(ranks):
            for name, pair in (("send", (rank, (rank + 1) % ranks)),
                               ("recv", ((rank - 1) % ranks, rank))):  # fmt: skip
                events.append(Event(rank, "message", name, turn, turn + 0.9, 8, pair))
            if steps:
                events.append(Event(rank, "step", f"step {turn}", turn, turn + 0.95))
    return Trace(events, clock)


def gathered():
    before = [[rank if rank == own else None for rank in range(3)] for own in range(3)]
    return [[before[own], [0, 1, 2]] for own in range(3)]


COLLECTIVE = Trace(
    [Event(rank, "message", "all_gather", 0, 1, 4, (0, 1, 2)) for rank in range(3)], "modelled"
)
PICTURES = {
    "ring of 4": lambda: plots.collective(ring_buffers(4), ring_trace(4), "Ring all-reduce"),
    "ring of 3, no trace": lambda: plots.collective(ring_buffers(3)),
    "all-gather": lambda: plots.collective(gathered(), COLLECTIVE, "All-gather"),
    "long words": lambda: plots.collective([[["a0+b0+c0", None]] * 3] * 2, title="Words"),
}


@pytest.fixture(params=PICTURES)
def picture(request):
    return PICTURES[request.param]()


def test_words_are_legible_and_in_their_place(picture):
    assert illegible(picture) == []


def test_the_clock_is_told(picture):
    assert "measured" in picture.alt
    assert any("measured" in text for text in words(picture))


def test_on_modelled_hardware_values_are_still_measured():
    assert "(values measured, messages modelled)" in PICTURES["all-gather"]().alt


def test_what_a_step_changed_is_bold():
    picture = plots.collective(ring_buffers(3), ring_trace(3))
    bold = [t for t in picture.findobj(matplotlib.text.Text) if t.get_weight() == "bold"]
    changed = [t for t in bold if t.get_text().strip() and "(" not in t.get_text()]
    # One chunk for each rank and step; the first moment of a band is drawn again.
    assert len(changed) % 3 == 0 and len(changed) >= 3 * 4
    assert "After step 4: rank 0 holds 6, 6, 6" in picture.alt


def test_an_arrow_for_each_send():
    picture = plots.collective(ring_buffers(3), ring_trace(3))
    arrows = [text for text in picture.axes[0].texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == 3 * 4
    assert "Messages from rank 0 to 1, 1 to 2, 2 to 0, 3 × 8 B." in picture.alt


def test_a_collective_of_the_framework_is_named_and_its_inside_is_not_invented():
    picture = PICTURES["all-gather"]()
    assert "all_gather, 4 B a rank" in picture.alt.replace("\n", ", ")
    assert "message" not in words(picture)
    assert "a framework's collective" in words(picture)


# Rounds


@pytest.mark.parametrize("steps", [False, True])
def test_a_ring_has_two_times_ranks_minus_one_rounds_of_a_send_a_rank(steps):
    assert [len(each) for each in rounds(ring_trace(4, steps=steps))] == [4] * 6


def test_ranks_that_take_turns_are_one_round_only_where_they_mark_steps():
    """Rank 1 receives before it sends: without marks it is unknown that both belong together."""
    two = [
        Event(0, "message", "send", 0, 1, 8, (0, 1)),
        Event(1, "message", "recv", 0, 1, 8, (0, 1)),
        Event(1, "message", "send", 1, 2, 8, (1, 0)),
        Event(0, "message", "recv", 1, 2, 8, (1, 0)),
    ]
    marks = [Event(rank, "step", "step 0", 0, 2) for rank in range(2)]
    assert [len(each) for each in rounds(Trace(two))] == [1, 1]
    assert [len(each) for each in rounds(Trace(two + marks))] == [2]


def test_collectives_are_rounds_where_nothing_is_sent_between_two():
    assert [len(each) for each in rounds(COLLECTIVE)] == [3]
    assert rounds(Trace()) == []


# What cannot be drawn


@pytest.mark.parametrize(
    "buffers, trace, why",
    [
        ([], None, "cannot be drawn"),
        ([[[1]]] * 9, None, "cannot be drawn"),
        ([[[1]], [[1], [2]]], None, "cannot be drawn"),
        ([[["x" * 90]] * 2], None, "too wide"),
        (ring_buffers(3), ring_trace(4), "do not match"),
        (ring_buffers(3), data_parallel(), "do not match"),
    ],
)
def test_what_cannot_be_drawn_is_told(buffers, trace, why):
    with pytest.raises(LabError, match=why):
        plots.collective(buffers, trace)


# A real run


def tree(me):
    import torch
    import torch.distributed as dist

    held = torch.full((4,), 7.0) if me.rank == 0 else None
    seen = [[held]]
    reach = 1
    while reach < me.ranks:
        if me.rank < reach and me.rank + reach < me.ranks:
            dist.send(held, me.rank + reach)
        elif reach <= me.rank < 2 * reach:
            held = torch.empty(4)
            dist.recv(held, me.rank - reach)
        seen.append([held])
        reach *= 2
    return seen


def test_a_real_tree_is_drawn_from_what_its_run_returned():
    with lab.Cluster(4) as cluster:
        run = cluster.run(tree)
    picture = plots.collective(run.values, run.trace, "Broadcast as a tree")
    assert "Before: rank 0 holds 7; rank 1 holds nothing" in picture.alt
    assert "Messages from rank 0 to 1, 1 × 16 B" in picture.alt
    assert picture.alt.count("× 16 B") == 2 and "2 × 16 B" in picture.alt
