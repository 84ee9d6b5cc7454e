import digits
import model
import numpy as np


def test_the_probabilities_of_an_image_add_up_to_one():
    images, _ = digits.load("held_out")
    found = model.probabilities(model.initial_weights(hidden=8, seed=0), images)
    assert found.shape == (len(images), 10)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)


def test_the_same_seed_gives_the_same_weights():
    first, second = (model.initial_weights(hidden=8, seed=3) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_two_ranks_have_shards_of_equal_size_that_do_not_overlap():
    images, _ = digits.load("train")
    shards = [digits.shard("train", rank, 2)[0] for rank in (0, 1)]
    assert len(shards[0]) == len(shards[1]) == len(images) // 2
    assert np.array_equal(np.concatenate(shards), images[: 2 * len(shards[0])])
