"""6.1, what learners never get: other cases, right answers written differently, wrong ones."""

import numpy as np

from lablib.teach.exercise import find

case_of = find("6.1").module.case_of


def cases(seed):
    return [case_of(seed)]


def one_by_one(train):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(11, 4)), rng.normal(size=11)
    two, one = train(x, y), train(x, y, ranks=1)[0]
    for rank in two:
        assert np.allclose(rank["weights"], one["weights"]), "weights differ from those of 1 rank"
        assert np.allclose(rank["running_mean"], one["running_mean"]), "buffers differ"
    for epoch in range(2):
        shards = [rank["seen"][epoch] for rank in two]
        assert sorted(shards[0] + shards[1]) == list(range(11)), "not every sample once"
        assert abs(len(shards[0]) - len(shards[1])) <= 3, "uneven shards"
    assert one["seen"][0] != one["seen"][1], "the order of two epochs is the same"
    clipped = [train(x, y, clip=0.05, ranks=ranks)[0]["weights"] for ranks in (1, 2)]
    assert np.allclose(*clipped), "clipping"
    unbroken = train(x, y, epochs=4)[0]["weights"]
    for ranks in (1, 2):
        resumed = train(x, y, epochs=4, ranks=ranks, resume=two[0]["saved"])[0]
        assert np.allclose(unbroken, resumed["weights"]), f"resumed on {ranks} ranks"


def with_a_reference(train):
    """Computes the right weights itself, from the order in which one rank saw the samples."""
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-1, 1, (9, 3)), rng.uniform(-1, 1, 9)

    def expected(order, clip):
        weights, momentum, mean = np.zeros(3), np.zeros(3), np.zeros(3)
        for samples in order:
            for start in range(0, 9, 4):
                part = samples[start : start + 4]
                gradient = 2 * x[part].T @ (x[part] @ weights - y[part]) / len(part)
                norm = np.linalg.norm(gradient)
                if clip and norm > clip:
                    gradient *= clip / norm
                momentum = 0.9 * momentum + gradient
                weights = weights - 0.05 * momentum
                mean = 0.8 * mean + 0.2 * x[part].mean(0)
        return weights, mean

    for clip in (None, 0.1):
        order = train(x, y, ranks=1, epochs=3, clip=clip)[0]["seen"]
        weights, mean = expected(order, clip)
        for rank in train(x, y, epochs=3, clip=clip):
            np.testing.assert_allclose(rank["weights"], weights, rtol=1e-6)
            np.testing.assert_allclose(rank["running_mean"], mean, rtol=1e-6)
            assert 3 * 9 / 3 < sum(map(len, rank["seen"])) < 3 * 9 * 2 / 3
        assert order[0] != order[1] or order[1] != order[2]
        saved = train(x, y, epochs=1, clip=clip)[0]["saved"]
        for ranks in (1, 2):
            (last, *_) = train(x, y, epochs=3, clip=clip, ranks=ranks, resume=saved)
            np.testing.assert_allclose(last["weights"], weights, rtol=1e-6)
    for epoch in zip(*(rank["seen"] for rank in train(x, y))):
        assert len(set(sum(epoch, []))) == sum(map(len, epoch)) == 9


def rejects_everything(train):
    raise AssertionError("something is wrong")


def accepts_everything(train):
    assert train is not None


def looks_at_the_loss(train):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 4))
    losses = train(x, x @ np.ones(4), epochs=5)[0]["losses"]
    assert losses[-1] < losses[0]


def demands_equal_bits(train):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(33, 4)), rng.normal(size=33)
    two, one = train(x, y, epochs=5), train(x, y, epochs=5, ranks=1)
    assert two[0]["weights"].tolist() == one[0]["weights"].tolist()
    one_by_one(train)


def compares_the_ranks_only(train):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 4)), rng.normal(size=12)
    first, second = train(x, y)
    assert np.allclose(first["weights"], second["weights"])
    assert np.allclose(first["running_mean"], second["running_mean"])


def resumes_only_on_two_ranks(train):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(11, 4)), rng.normal(size=11)
    unbroken = train(x, y, epochs=4)[0]["weights"]
    saved = train(x, y)[0]["saved"]
    resumed = train(x, y, epochs=4, resume=saved)[0]["weights"]
    assert np.allclose(unbroken, resumed)
    two, one = train(x, y), train(x, y, ranks=1)[0]
    assert all(np.allclose(rank["weights"], one["weights"]) for rank in two)


def looks_for_the_name_of_a_bug(train):
    """A cheat: it searches the frames and the function for the names of bugs."""
    import sys

    words = ("sum", "alone", "padding", "one shard", "stale optimizer", "early clipping")
    frame, found = sys._getframe(), [repr(train.__closure__)]
    while frame := frame.f_back:
        found += [repr(value)[:5000] for name, value in frame.f_locals.items() if name != "me"]
    assert not any(f"('{word}'" in text or f"['{word}'" in text for word in words for text in found)


RIGHT = [one_by_one, with_a_reference]
WRONG = {
    "rejects everything": rejects_everything,
    "accepts everything": accepts_everything,
    "looks at the loss only": looks_at_the_loss,
    "demands equal bits": demands_equal_bits,
    "compares the ranks only": compares_the_ranks_only,
    "resumes only on two ranks": resumes_only_on_two_ranks,
    "searches the frames for the name of a bug": looks_for_the_name_of_a_bug,
}
