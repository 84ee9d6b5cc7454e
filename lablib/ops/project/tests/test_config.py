import track


def test_the_learning_rate_is_reasonable():
    assert 0 < track.config()["learning_rate"] <= 1


def test_training_has_enough_steps():
    assert track.config()["steps"] >= 10
