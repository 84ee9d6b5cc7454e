"""1.5, hidden from learners: other cases, other right answers, wrong answers."""

import numpy as np

from lablib.teach.exercise import find

case_of = find("1.5").module.case_of


def cases(seed):
    return [
        case_of(seed, 0.2, [1, 2, 4, 8, 16], one_rank_s=8.0),
        case_of(seed + 1, 0.08, [4, 8, 64], one_rank_s=0.5),
    ]


def straight_line(ranks, seconds):
    parallel_s, serial_s = np.polyfit(1 / np.array(ranks), seconds, 1)
    return serial_s / (serial_s + parallel_s)


def from_fewest_and_most(ranks, seconds):
    """Solves two equations, seconds = a + b / ranks, by hand."""
    few, many = 1 / ranks[0], 1 / ranks[-1]
    parallel_s = (seconds[0] - seconds[-1]) / (few - many)
    serial_s = seconds[-1] - parallel_s * many
    return float(serial_s / (serial_s + parallel_s))


def normal_equations(ranks, seconds):
    table = np.stack([np.ones(len(ranks)), 1 / np.array(ranks)], axis=1)
    serial_s, parallel_s = np.linalg.solve(table.T @ table, table.T @ np.array(seconds))
    return serial_s / (serial_s + parallel_s)


def one_over_speedup(ranks, seconds):
    return seconds[-1] / seconds[0]


def lost_efficiency(ranks, seconds):
    return 1 - seconds[0] / seconds[-1] / ranks[-1]


def believes_that_the_first_is_one_rank(ranks, seconds):
    """Uses Karp and Flatt's formula, but takes the first measurement for one rank's."""
    inverse = seconds[-1] / seconds[0]
    return (inverse - 1 / ranks[-1]) / (1 - 1 / ranks[-1])


def serial_seconds(ranks, seconds):
    return np.polyfit(1 / np.array(ranks), seconds, 1)[1]


RIGHT = [straight_line, from_fewest_and_most, normal_equations]
WRONG = {
    "one over the speed-up": one_over_speedup,
    "the efficiency that is lost": lost_efficiency,
    "believes that the first time is one rank's": believes_that_the_first_is_one_rank,
    "seconds instead of a share": serial_seconds,
    "always a tenth": lambda ranks, seconds: 0.1,
}
