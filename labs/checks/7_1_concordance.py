"""7.1 Compute the concordance of a study under different definitions, with its interval."""

from math import sqrt

import numpy as np

from lablib.teach.claims import Claim, real, show
from lablib.teach.exercise import Case

ANSWERS = ("concordance(verdicts, agreeing, left_out=(), review=None)",)
TITLE = "Concordance"
POINTS = 3

YES, MAYBE, NO, NONE = "recommended", "for consideration", "not recommended", "not supported"
VERDICTS = (YES, MAYBE, NO, NONE)
Z, WITHIN = 1.96, 1e-3

_SHARE = (
    "Divide the number of patients with a verdict in `agreeing` by the number of all patients that "
    "count.",
    "Count with sum(verdict in agreeing for verdict in verdicts).",
)
_PERCENT = ("A share is a number from 0 to 1, and not per cent.",)
_LEFT_OUT = (
    "A patient with a verdict in `left_out` belongs neither to the numerator nor to the "
    "denominator. How many patients are left?",
    "First make a list without these patients, then compute everything from this list.",
)
_REVIEW = (
    "The second review changes some verdicts. What does it do to a patient who agreed before?",
    "Make a copy of the list, set copy[patient] = verdict for each pair in `review`, and only then "
    "leave out and count.",
)
_INTERVAL = (
    "The share is right, and its interval is not. Which formula does the contract give, and what "
    "is n after patients have been left out?",
    "Wilson's interval: ((p + z²/2n) ± z sqrt(p (1 - p)/n + z²/4n²)) / (1 + z²/n), with z = 1.96.",
)
_EXTREME = (
    "If all patients agree, or none, the interval still has a width: a few patients cannot prove "
    "that everybody agrees.",
    "p ± z sqrt(p (1 - p)/n) has no width at p = 0 and p = 1. Use Wilson's formula.",
)
_NOBODY = (
    "What is the share of no patients at all?",
    "Return None if no patient is left, before you divide.",
)
_HINTS = {
    "patients without support are left out": _LEFT_OUT,
    "a second review replaces verdicts": _REVIEW,
    "after a review, patients are left out": _REVIEW,
    "no patient agrees": _LEFT_OUT,
    "nobody is left": _NOBODY,
}


def cases(seed):
    return [case_of(seed, patients=65), case_of(seed + 1, patients=140)]


def case_of(seed, patients):
    rng = np.random.default_rng(seed)
    verdicts = drawn(rng, patients)
    reviewed = rng.permutation(patients)[: patients // 3].tolist()
    review = dict(zip(reviewed, drawn(rng, len(reviewed)), strict=True))
    few = int(rng.integers(8, 15))
    questions = [
        ("one verdict counts as agreement", verdicts, (YES,), (), None),
        ("two verdicts count as agreement", verdicts, (YES, MAYBE), (), None),
        ("patients without support are left out", verdicts, (YES, MAYBE), (NONE,), None),
        ("a second review replaces verdicts", verdicts, (YES, MAYBE), (), review),
        ("after a review, patients are left out", verdicts, (YES,), (NONE, NO), review),
        ("all patients agree", few * [YES], (YES,), (), None),
        ("no patient agrees", few * [NO] + 3 * [NONE], (YES,), (NONE,), None),
        ("nobody is left", few * [NONE], (YES,), (NONE,), None),
    ]
    return Case(f"a study of {patients} patients", {"questions": questions})


def drawn(rng, patients):
    return [VERDICTS[k] for k in rng.choice(4, patients, p=(0.4, 0.25, 0.2, 0.15))]


def observe(me, answer, given):
    return [
        answer(list(verdicts), agreeing, left_out, review and dict(review))
        for _, verdicts, agreeing, left_out, review in given.questions
    ]


def judge(case, seen):
    for (text, *asked), got in zip(case.shared["questions"], seen.values[0], strict=True):
        due, hints = expected(*asked), _HINTS.get(text, _SHARE)
        if due is None:
            yield Claim(f"{text}: None", got is None, "None", show(got), hints=hints)
            continue
        share, *ends = numbers_of(got)
        right = near(share, due[0])
        hints = _PERCENT if near(share / 100, due[0]) and share > 1 else hints
        yield Claim(f"{text}: the share", right, f"{due[0]:.3f}", show(got), hints=hints)
        yield Claim(f"{text}: the interval", right and all(map(near, ends, due[1:])),
                    f"{due[1]:.3f} to {due[2]:.3f}", show(got),
                    hints=_INTERVAL if 0 < due[0] < 1 else _EXTREME)  # fmt: skip


def expected(verdicts, agreeing, left_out, review):
    now = [(review or {}).get(patient, verdict) for patient, verdict in enumerate(verdicts)]
    counted = [verdict for verdict in now if verdict not in left_out]
    n = len(counted)
    if not n:
        return None
    p = sum(verdict in agreeing for verdict in counted) / n
    middle, half = p + Z**2 / (2 * n), Z * sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return p, (middle - half) / (1 + Z**2 / n), (middle + half) / (1 + Z**2 / n)


def numbers_of(got):
    """Return three floats; NaN for what is not a number, or if there are not three."""
    is_three = isinstance(got, (list, tuple, np.ndarray)) and len(got) == 3
    found = [real(value) for value in got] if is_three else [None] * 3
    return [np.nan if value is None else value for value in found]


def near(value, due):
    return abs(value - due) <= WITHIN
