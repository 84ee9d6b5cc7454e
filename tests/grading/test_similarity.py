"""Copied code is found anywhere; code from the lab, or that many learners share, is ignored."""

from __future__ import annotations

from textwrap import indent

import pytest

from lablib.grading.intake.similarity import Pair, fingerprints, pairs
from lablib.grading.intake.written_code import written

STARTER = """def mean_of_all(x, rank, ranks):
    \"\"\"The mean.\"\"\"
    # Your code here.
    raise NotImplementedError("not attempted yet")"""
LAB_CODE = """def draw(values):
    picture = blank(9, 3.4)
    axes = picture.subplots()
    axes.plot(values, [3 / (m + 3) for m in values], "k:", label="formula")
    axes.set(title="Bubble of 4 stages", xlabel="micro-batches", ylim=(0, 0.8), xticks=values)
    return picture"""
LAB = [STARTER, LAB_CODE, "draw([1, 2, 4])"]
COPY = """def mean_of_all(x, rank, ranks):
    total = x.clone()
    for other in range(ranks):
        if other != rank:
            total += receive_from(other, size=len(x))
            log.append((rank, other, total.sum().item()))
    return total / ranks"""
BODY = COPY.partition("\n")[2]
OTHER_NAMES = COPY.replace("total", "acc").replace("other", "peer").replace("size=", "size =")
CALLS = "def mean_of_all(x, rank, ranks):\n    return work(x, rank, ranks)"
MOVED = {
    "other names": [OTHER_NAMES],
    "in a helper": [OTHER_NAMES.replace("mean_of_all", "work") + "\n\n" + CALLS],
    "in a helper of another cell": [CALLS, OTHER_NAMES.replace("mean_of_all", "work")],
    "in a text that exec runs": ["exec('''\n" + indent(OTHER_NAMES, "    ") + "''')"],
    "in a helper inside": ["def mean_of_all(x, rank, ranks):\n    def work(x, rank, ranks):\n"
                           + BODY.replace("    ", "        ")
                           + "\n    return work(x, rank, ranks)"],
    "in a class": ["class Mean:\n    def work(self, x, rank, ranks):\n"
                   + BODY.replace("    ", "        ")
                   .replace("total", "self.total") + "\n\n"
                   + CALLS.replace("work(", "Mean().work(")],
    "in two parts": ["""def add(total, x, rank, peer):
    total += receive_from(peer, size=len(x))
    log.append((rank, peer, total.sum().item()))

def mean_of_all(x, rank, ranks):
    total = x.clone()
    for peer in range(ranks):
        if peer != rank:
            add(total, x, rank, peer)
    return total / ranks"""],
    "under a condition": ["if True:\n" + "\n".join("    " + line for line in COPY.split("\n"))],
    "after a line of IPython": ["%time 1\n" + OTHER_NAMES],
    "beside an answer to show": [COPY.replace("mean_of_all", "spare"),
                                 "def mean_of_all(*all):\n    return spare(*all)"],
}  # fmt: skip
OWN_WAY = """def mean_of_all(x, rank, ranks):
    parts = [torch.empty_like(x) for _ in range(ranks)]
    dist.all_gather(parts, x)
    return torch.stack(parts).mean(0)"""


def compared(**notebooks):
    """Return the pairs of learners, each with the cells that they added to the lab's."""
    read = {name: written([*cells, *LAB], LAB, {"9.1": ["mean_of_all"]} if cells else {})
            for name, cells in notebooks.items()}  # fmt: skip
    return pairs({name: answers for name, (answers, _) in read.items()},
                 {name: str(cells) for name, cells in notebooks.items()},
                 {name: whole for name, (_, whole) in read.items()})  # fmt: skip


@pytest.mark.parametrize("way", MOVED)
def test_a_copy_is_noticed_wherever_it_was_put(way):
    (found,) = compared(ann=[COPY], bob=MOVED[way], cid=[OWN_WAY])
    assert (found.ids, found.exercises) == (("ann", "bob"), ("9.1",))
    assert found.shared >= 0.8


def test_another_way_is_not_noticed():
    assert compared(ann=[COPY], cid=[OWN_WAY]) == []


def test_code_that_came_with_the_lab_is_nobodys():
    changed = [LAB_CODE, "draw([1, 2, 4])"]
    assert compared(ann=[COPY, *changed], cid=[OWN_WAY, *changed]) == []
    mine = LAB_CODE.replace("draw", "show")
    assert compared(ann=[f"{mine}\n\n{COPY}"], cid=[f"{mine}\n\n{OWN_WAY}"]) == []


def test_untouched_notebooks_are_like_nobodys():
    assert compared(**{name: [] for name in ("ann", "bob", "cid")}) == []
    untouched = {"ann": {}, "bob": {}}
    assert pairs(untouched, dict.fromkeys(untouched, "one file")) == []


def test_that_claim_can_fail():
    answered = {name: {"9.1": fingerprints(COPY)} for name in ("ann", "bob")}
    assert pairs(answered, dict.fromkeys(answered, "one file")) == [
        Pair(("ann", "bob"), ("9.1",), 1.0, same_file=True)
    ]


def test_what_many_share_tells_nothing():
    answers = {str(n): {"9.1": fingerprints(COPY)} for n in range(8)}
    assert pairs(answers, {name: name for name in answers}) == []


def test_ten_thousand_definitions_are_read_in_time():
    cell = "\n".join(f"x{n} = x{n - 1}" for n in range(1, 10_000))
    answers, whole = written([cell, COPY], [], {"9.1": ["mean_of_all"]})
    assert answers["9.1"] == fingerprints(COPY) and set(answers["9.1"]) <= set(whole)
