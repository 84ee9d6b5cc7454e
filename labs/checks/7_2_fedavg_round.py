"""7.2 A round of federated averaging, with unequal hospitals of which some are absent."""

import numpy as np

from lablib.teach.claims import alike, equal_by_rank, only_all_reduces, volume
from lablib.teach.exercise import Case

ANSWERS = (
    "fedavg_round(weights, train, records, present)",
    "fedavg_round_tf(weights, train, records, present)",
)
TITLE = "A round of federated averaging"
POINTS = 5

SPARE_BYTES = 100
_OWN = (
    "A hospital still has its own weights. It needs a message to learn about the others.",
    "After an all-reduce every hospital has a sum. Pass records x weights to it.",
)
_EQUAL = (
    "Here a hospital with 1 record counts as much as one with 100.",
    "Multiply the weights by the number of records before you add up, and divide by the sum of the "
    "records.",
)
_ABSENT = (
    "The records of an absent hospital still count in your mean: in the sum of weights, or in the "
    "number by which you divide.",
    "An absent hospital passes zeros instead of records x weights, and 0 instead of its number of "
    "records.",
)
_STAYS = (
    "A hospital that was absent keeps old weights. How does it take part in the next round?",
    "All hospitals return the average, also an absent one: an all-reduce gives it to everybody.",
)
_NOBODY = (
    "If no hospital takes part, what is the sum of the records?",
    "Return the weights of the start if the sum of the records is 0.",
)
_VALUE = (
    "The new weights are a sum over hospitals divided by another sum. Which two sums?",
    "Sum records x trained weights, and sum records, over the hospitals that take part.",
)
_TRAINS = (
    "Which hospitals may call train(), and how often?",
    "Call train(weights) once if `present`, and never otherwise.",
)
_SENDS = (
    "Which messages does a hospital send in a round, and who can read its weights then?",
    "One all-reduce for each tensor of weights and one for the number of records are enough. A sum "
    "shows nobody the weights of one hospital.",
)


def cases(seed):
    return [
        case_of(seed, (5, 200, 40), "torch", absent=(1,)),
        case_of(seed + 1, (3, 60), "tensorflow", absent=(0,)),
    ]


def case_of(seed, records, framework, absent, shapes=((40, 30), (30,), ())):
    """Three rounds: all hospitals take part, then not those in `absent`, then none."""
    rng = np.random.default_rng(seed)
    everybody = range(len(records))
    rounds = [
        {"weights": arrays(rng, shapes), "present": [rank not in missing for rank in everybody]}
        for missing in ((), absent, everybody)
    ]
    own = tuple(
        {"records": count, "trained": [arrays(rng, shapes) for _ in rounds]} for count in records
    )
    name = f"{framework}, hospitals with {', '.join(map(str, records))} records"
    return Case(name, {"rounds": rounds}, own, ranks=len(records), framework=framework,
                answer=int(framework != "torch"), relay=framework == "torch")  # fmt: skip


def arrays(rng, shapes):
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def observe(me, answer, given):
    """Return for each round the weights that the answer returned, and how often it trained."""
    tensor, call = tools(me)
    found = []
    for now, trained in zip(given.rounds, given.trained, strict=True):
        calls = []

        def train(weights, calls=calls, trained=trained):
            calls.append(len(weights))
            return [tensor(array) for array in trained]

        weights = [tensor(array) for array in now["weights"]]
        present = now["present"][me.rank]
        returned = call(answer, (weights, train, given.records, present))
        found.append({"weights": list(returned), "trained": len(calls)})
    return found


def tools(me):
    """Return a function that makes tensors, and one that calls an answer."""
    if me.framework == "torch":
        import torch

        return torch.tensor, lambda answer, arguments: answer(*arguments)
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return tf.constant, strategy.run


def judge(case, seen):
    records = [own["records"] for own in case.own]
    for number, now in enumerate(case.shared["rounds"]):
        got = [rounds[number] for rounds in seen.values]
        trained = [own["trained"][number] for own in case.own]
        due = mean_of(trained, records, now["present"]) or now["weights"]
        text = f"round {number + 1}, {words(now['present'])}"
        yield equal_by_rank(
            f"{text}: every hospital has the average", [due] * case.ranks,
            [each["weights"] for each in got], weight=2,
            hints=hints_for(got, now, trained, records, due),
        )  # fmt: skip
        yield equal_by_rank(f"{text}: present hospitals train once, and no others",
                            [int(present) for present in now["present"]],
                            [each["trained"] for each in got], hints=_TRAINS)  # fmt: skip
    nbytes, rounds = sum(array.nbytes for array in due), len(case.shared["rounds"])
    yield only_all_reduces(
        "only all-reduces are sent, each hospital's weights at most once in a round",
        seen, case.ranks, rounds * (nbytes + SPARE_BYTES), hints=_SENDS,
    )  # fmt: skip
    if nbytes >= 2**20 and case.framework == "tensorflow":
        # In the last round nobody takes part, so an answer may send the number of records only.
        passed = 2 * (case.ranks - 1) * nbytes
        yield volume("two or three averages pass the network", seen, (rounds - 1) * passed,
                     spare_bytes=passed, hints=_SENDS)  # fmt: skip


def mean_of(trained, records, present):
    """Return the mean of the present hospitals' weights by records; None if none is present."""
    shares = np.array(records, float) * present
    if not shares.sum():
        return None
    shares /= shares.sum()
    return [np.tensordot(shares, np.stack(parts), 1).astype(np.float32) for parts in zip(*trained)]


def words(present):
    missing = present.count(False)
    return {0: "all take part", len(present): "none takes part"}.get(missing, f"{missing} absent")


def hints_for(got, now, trained, records, due):
    """Return the hints that fit the mistake behind the values."""
    present, first = now["present"], got[0]["weights"]
    everybody = [True] * len(records)
    absent = present.index(False) if False in present else None
    if not any(present):
        return _NOBODY
    if absent is not None and any(alike(due, each["weights"]) for each in got):
        return _STAYS
    over_all = [
        array * np.float32(sum(np.array(records) * present) / sum(records)) for array in due
    ]
    known = [
        (trained[0], _OWN),
        (mean_of(trained, [1] * len(records), present), _EQUAL),
        (mean_of(trained, [1] * len(records), everybody), _EQUAL),
    ]
    if absent is not None:
        of_start = [now["weights"] if not here else own for own, here in zip(trained, present)]
        known += [
            (mean_of(trained, records, everybody), _ABSENT),
            (over_all, _ABSENT),
            (mean_of(of_start, records, everybody), _ABSENT),
        ]
    return next((hints for value, hints in known if alike(value, first)), _VALUE)
