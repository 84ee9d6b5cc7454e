"""Every exercise accepts right answers, rejects wrong ones, and gives the starter no points.

`pytest -s` prints a table: exercise, right answers accepted, wrong ones rejected, and the largest
share of points that a wrong answer earned.
"""

from __future__ import annotations

from functools import cache
from itertools import zip_longest

import pytest

from lablib.teach import checks, exercise
from lablib.teach.claims import earned

EVERY = exercise.every()
_SEED = 20_000  # not used by a learner's check
LEAST_RIGHT, LEAST_WRONG = 2, 3
MOST_OF_WRONG = 0.6


def halves_of(one, which=None):
    """Return the cases that grade all functions of the exercise, or one.

    They are the public cases with another seed, and the hidden ones.
    """
    halves = one.module.cases(_SEED), one.hidden.cases(_SEED)
    return [[case for case in half if which in (None, case.answer)] for half in halves]


def together(answer):
    return answer if isinstance(answer, tuple) else (answer,)


def result(one, answer):
    public, hidden = halves_of(one)
    return checks.Result(one, tuple(checks.try_all(one, public + hidden, together(answer))))


@cache
def lost(one, name):
    """Try a wrong answer until each function has lost enough points or had all its cases.

    A function that also belongs to a right answer is not tried here, because
    `test_a_right_answer_gets_all_points` tries it in all its cases.

    Returns what was tried, and the most that each function can still earn.
    """
    answers, found, most = together(one.hidden.WRONG[name]), [], []
    for which in range(len(one.answers)):
        if answers[which] in [together(right)[which] for right in one.hidden.RIGHT]:
            most.append(1.0)
            continue
        halves = halves_of(one, which)
        # Alternate between the halves, because points are lost in each of them.
        in_turn = [case for pair in zip_longest(*halves) for case in pair if case]
        shares = {}
        for tried in checks.try_all(one, in_turn, answers):
            found.append(tried)
            shares[id(tried.case)] = tried.share
            if most_earned(halves, shares) <= MOST_OF_WRONG:
                break
        most.append(most_earned(halves, shares))
    return checks.Result(one, tuple(found)), most


def most_earned(halves, shares):
    """Return the share of points that one function earns if it is right in all cases not tried.

    Public and hidden cases count the same.
    """
    parts = [earned((0, shares.get(id(case), 1.0)) for case in half) for half in halves]
    return sum(parts) / len(parts)


def named(answer):
    first = answer[0] if isinstance(answer, tuple) else answer
    return first.__name__


PROVED = {one.number: {"right": 0, "wrong": []} for one in EVERY}


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    print(f"\n{'exercise':44}right accepted  wrong rejected  most of a wrong one")
    for one in EVERY:
        right, wrong = PROVED[one.number].values()
        counts = f"{right} of {len(one.hidden.RIGHT)}", f"{len(wrong)} of {len(one.hidden.WRONG)}"
        title = f"{one.number} {one.title}"
        print(f"{title:44}{counts[0]:>14}{counts[1]:>16}{max(wrong, default=0):>20.0%}")


RIGHT = [(one, answer) for one in EVERY for answer in one.hidden.RIGHT]
WRONG = [(one, name) for one in EVERY for name in one.hidden.WRONG]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "one, answer", RIGHT, ids=[f"{one.number} {named(answer)}" for one, answer in RIGHT]
)
def test_a_right_answer_gets_all_points(one, answer, home):
    found = result(one, answer)
    assert found.points == found.of, found
    PROVED[one.number]["right"] += 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("one, name", WRONG, ids=[f"{one.number} {name}" for one, name in WRONG])
def test_a_wrong_function_gets_little_more_than_half(one, name, home):
    found, most = lost(one, name)
    wrong = [part for part in most if part < 1]
    assert found.attempted and wrong and max(wrong) <= MOST_OF_WRONG, found
    PROVED[one.number]["wrong"].append(max(wrong))


@pytest.mark.parametrize(
    "number, name, words",
    [
        ("0.1", "the sum", "the sum of all numbers"),
        ("0.1", "only its own numbers", "has the mean of its own numbers"),
        ("0.1", "only rank 0 knows", "Rank 0 has the mean"),
        ("1.3", "calls all_reduce", "sends and receives"),
        ("1.4", "calls broadcast", "dist.send and dist.recv"),
        ("1.5", "seconds instead of a share", "it has no unit"),
        ("1.6", "compares 8 ranks with 1", "Compare them with 4"),
        ("6.1", "rejects everything", "Your test rejects a right loop"),
        ("6.1", "demands equal bits", "Your test rejects a right loop"),
        ("6.1", "compares the ranks only", "What does one rank get?"),
        ("6.1", "resumes only on two ranks", "Train for at least two epochs"),
        ("6.2", "compares the accuracies", "How far apart may they be by chance alone"),
        ("6.2", "unpaired resampling", "Both models answered the same samples"),
        ("6.2", "always passes", "Both models answered the same samples"),
        ("6.3", "no order", "Jobs without `needs`"),
        ("6.3", "failure() alone", "roll_back ran although deploy did not fail"),
        ("6.3", "no status function", "Without a status function"),
        ("6.3", "no outputs of the job", "not yet an output of its job"),
        ("6.3", "one framework", "once for each value of a list"),
        ("6.4", "forgets the optimizer", "apart from the weights"),
        ("6.4", "forgets the step", "with which step it must begin"),
        ("6.4", "overwrites its checkpoint", "torch.distributed.checkpoint"),
        ("6.5", "forgets accuracy", "without an error, and wrongly"),
        ("6.5", "rolls back too soon", "rolls back healthy models"),
        ("6.5", "always promotes", "Does your rule look at"),
        ("7.1", "the simple interval", "Which formula does the contract give"),
        ("7.1", "ignores left_out", "neither to the numerator nor to the denominator"),
        ("7.1", "reviews for the better only", "a patient who agreed before"),
        ("7.1", "in per cent", "not per cent"),
        ("7.1", "nobody is 0", "no patients at all"),
        ("7.2", "all hospitals count the same", "counts as much as one with 100"),
        ("7.2", "counts the records of absent hospitals", "an absent hospital still count"),
        ("7.2", "adds old weights of absent hospitals", "an absent hospital still count"),
        ("7.2", "absent hospitals train", "an absent hospital still count"),
        ("7.2", "absent hospitals keep their weights", "keeps old weights"),
        ("7.2", "no number if none takes part", "what is the sum of the records"),
        ("7.2", "no communication", "still has its own weights"),
        ("7.2", "every hospital gets everybody's weights", "who can read its weights"),
        ("7.3", "no correction", "This is plain federated averaging"),
        ("7.3", "wrong sign", "has the wrong sign"),
        ("7.3", "keeps its own weights", "the weights of one hospital"),
        ("7.3", "own without the correction", "that this hospital computed"),
        ("7.3", "own from a new gradient", "that this hospital computed"),
        ("7.3", "shared stays", "the mean of something over all hospitals"),
        ("7.3", "corrects by the newest gradient", "Start from y = weights"),
        ("7.3", "averages in every step", "Start from y = weights"),
        ("7.3", "changes its argument", "The argument `weights` has changed"),
        ("7.4", "no masks", "The server can read an update"),
        ("7.4", "one mask number for all", "a number of its own"),
        ("7.4", "masks the upper half only", "any of the 2**32 values"),
        ("7.4", "the same masks in each round", "the same mask in two rounds"),
        ("7.4", "public masks", "With other secret seeds"),
        ("7.4", "ignores drop-outs", "as long as nobody drops out"),
        ("7.4", "reveals all masks", "the server has both messages"),
        ("7.4", "sends the update again", "also at one after a drop-out"),
        ("7.4", "always adds", "Do the masks of each pair cancel"),
        ("7.4", "forgets the sign", "negative numbers come back as negative"),
        ("7.4", "sends the plain update beside", "Send nothing by yourself"),
        ("7.5", "clips the sum", "Do you clip each record's gradient"),
        ("7.5", "stretches short gradients", "that are shorter than `clip`"),
        ("7.5", "no noise", "All hospitals add noise"),
        ("7.5", "full noise at each hospital", "the noise in their sum"),
        ("7.5", "noise without clip", "another size than the rules ask for"),
        ("7.5", "a fixed seed", "Does your noise repeat itself"),
        ("7.5", "the same noise in each step", "Does your noise repeat itself"),
        ("7.5", "the same noise everywhere", "Does your noise repeat itself"),
        ("7.5", "batches of a fixed size", "The accountant assumes that each record is drawn"),
        ("7.5", "draws with replacement", "The accountant assumes that each record is drawn"),
        ("7.5", "one step too many", "The budget is overspent"),
        ("7.5", "stops early", "There is budget left"),
        ("7.5", "divides by its own batch", "Divide the sum by the expected batch size"),
        ("7.5", "sends its batch size", "Each message of a hospital counts as a step"),
        ("7.6", "mean of the hospitals' errors", "A mean of the hospitals' own errors is larger"),
        ("7.6", "leaves out the ones", "a probability of exactly 1"),
        ("7.6", "mean of the hospitals' rates", "A mean of the hospitals' rates counts"),
        ("7.6", "of all patients in the group", "Which patients are in the denominator"),
        ("7.6", "small groups, too", "does the rate of each group rest on"),
        ("7.6", "zero for small groups", "does the rate of each group rest on"),
        ("7.6", "gap of all groups", "of those groups whose rate is not None"),
        ("7.6", "error from all patients", "How many patients does each of them rest on"),
        ("7.6", "gathers the records", "Records stay in their hospital"),
        ("7.6", "one hospital", "No hospital sent anything"),
        ("7.1", "leaves out of the numerator only", "neither to the numerator"),
        ("7.1", "ignores the review", "The second review changes some verdicts"),
        ("7.1", "leaves out before the review", "The second review changes some verdicts"),
        ("7.1", "n of all patients", "what is n after patients have been left out"),
        ("7.2", "sends everything twice", "Which messages does a hospital send in a round"),
        ("7.2", "right in torch only", "counts as much as one with 100"),
        ("7.3", "own divided by the steps only", "that this hospital computed"),
        ("7.4", "small masks", "any of the 2**32 values"),
        ("7.5", "clips each number", "One record may move the sum by `clip`"),
        ("7.5", "does not clip", "One record may move the sum by `clip`"),
        ("7.5", "noise divided by hospitals", "All hospitals add noise"),
        ("7.5", "ignores the budget", "The budget is overspent"),
        ("7.6", "mean over bins", "the one of all patients together"),
        ("7.6", "Brier score", "the one of all patients together"),
        ("7.6", "false positives", "Which patients are in the denominator"),
        ("7.6", "small in each hospital", "Which patients are in the denominator"),
        ("7.6", "error of one group", "The gap is a difference of two rates"),
    ],
)
def test_a_hint_fits_the_mistake(number, name, words, home):
    (one,) = (one for one in EVERY if one.number == number)
    found, _ = lost(one, name)
    assert words in found.hint


@pytest.mark.parametrize("one", EVERY, ids=[one.number for one in EVERY])
def test_an_exercise_brings_what_proves_its_check(one):
    assert len(one.hidden.RIGHT) >= LEAST_RIGHT and len(one.hidden.WRONG) >= LEAST_WRONG
    assert all(all(halves_of(one, which)) for which in range(len(one.answers)))


def test_no_two_exercises_of_a_lab_ask_for_one_name():
    """If two functions in a notebook had the same name, the last one would replace the first."""
    asked = [(one.lab, name) for one in EVERY for name in one.names]
    assert len(asked) == len(set(asked))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("one", EVERY, ids=[one.number for one in EVERY])
def test_the_starter_gets_nothing(one, home):
    def starter(*_):
        raise NotImplementedError("not attempted yet")

    found = result(one, (starter,) * len(one.answers))
    assert not found.attempted and found.points == 0


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make the folder in which failed runs store their logs."""
    monkeypatch.setenv("LABLIB_HOME", str(tmp_path))
