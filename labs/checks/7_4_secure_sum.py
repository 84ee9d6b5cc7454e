"""7.4 Add up the updates of hospitals so that nobody sees the update of one of them.

The last rank plays a curious server. It reads every message and never calls the learner's function,
so the claims about messages rest on what the hospitals really sent.
"""

from math import log, sqrt

import numpy as np

from lablib.teach.claims import Claim, equal_by_rank
from lablib.teach.exercise import Case
from lablib.teach.overheard import Exchange, nothing_else

ANSWERS = ("secure_sum(update, rank, seeds, number, share)",)
TITLE = "Secure aggregation"
POINTS = 6

SCALE, LENGTH = 2**16, 3000
# A right answer's messages are uniform. By the inequality of Dvoretzky, Kiefer and Wolfowitz (with
# Massart's constant), one test of LENGTH uniform numbers fails with a probability of at most 1e-9.
# A case makes fewer than 500 tests, so it rejects a right answer once in two million times.
FARTHEST = sqrt(log(2 / 1e-9) / (2 * LENGTH))

_SUM = (
    "Do the masks of each pair cancel, and do negative numbers come back as negative ones? Both "
    "hospitals of a pair must make the same mask, and only one of them may subtract it.",
    "Add up the messages as uint32. Then total.view(np.int32) / 2**16 gives real numbers: it reads "
    "the upper half of the uint32 numbers as negative.",
)
_DROPPED = (
    "The sum is right as long as nobody drops out. Which masks are in the messages of the other "
    "hospitals, although their partner's message never came?",
    "Share a second message: the sum, with signs, of your masks with the hospitals whose message "
    "is None. Subtract everybody's second message from the sum of the first ones.",
)
_SHOWS = (
    "The server can read an update. Look at each message, also at one after a drop-out: is each "
    "number masked by a number of its own, and may this number have any of the 2**32 values?",
    "rng.integers(2**32, size=len(update), dtype=np.uint32) draws one mask number for each number "
    "of the update, from the whole range.",
)
_REVEALS = (
    "The first message alone is safe, but the server has both messages of a hospital. What is "
    "left if it subtracts the second one from the first one?",
    "Reveal only the masks that you share with hospitals that dropped out. The masks that you "
    "share with the others must stay secret: they still protect your first message.",
)
_ROUNDS = (
    "A hospital uses the same mask in two rounds. What does the server learn if it subtracts one "
    "of its messages from the other one?",
    "Make the mask from the pair's seed and the number of the round: "
    "np.random.default_rng([seed, number]).",
)
_SECRET = (
    "With other secret seeds, the masks are the same. So they are made from numbers that everybody "
    "knows, and the server can make them, too.",
    "Use seeds[other], which only you and the hospital `other` know: "
    "np.random.default_rng([seeds[other], number]).",
)
_ONLY = (
    "Send nothing by yourself: call share(message), at most twice.",
    "One message with your masked update; one more only if a hospital dropped out.",
)


def cases(seed):
    return [case_of(seed, hospitals=3, dropped=()), case_of(seed + 1, hospitals=4, dropped=(1,))]


def case_of(seed, hospitals, dropped):
    """Three rounds: two with the same seeds, and the first one again with other seeds."""
    rng = np.random.default_rng(seed)
    secrets = [pair_seeds(rng, hospitals) for _ in range(2)]
    first = int(rng.integers(100))
    rounds = [(secrets[0], first), (secrets[0], first + 1), (secrets[1], first)]
    sizes = rng.uniform(1, 20, hospitals)
    updates = sizes[:, None] * rng.uniform(-1, 1, (len(rounds), hospitals, LENGTH))
    # Half of the numbers are 0, as after a ReLU. The update is a multiple of 1 / SCALE, so that
    # a right sum is exact.
    updates *= rng.random(updates.shape) < 0.5
    updates = np.round(updates * SCALE) / SCALE
    own = tuple(
        {"rounds": [(updates[k, rank], seeds[rank], number, rank not in dropped)
                    for k, (seeds, number) in enumerate(rounds)]}
        for rank in range(hospitals)
    )  # fmt: skip
    words = ("none drops out", "one drops out", f"{len(dropped)} drop out")[min(len(dropped), 2)]
    name = f"{hospitals} hospitals, {words}"
    server = {"rounds": [(None, None, None, False)] * len(rounds)}
    return Case(name, own=(*own, server), ranks=hospitals + 1, relay=True)


def pair_seeds(rng, hospitals):
    """Return seeds[i][j], the secret of hospitals i and j, as a list of lists of ints."""
    drawn = rng.integers(2**31, size=(hospitals, hospitals))
    return [
        [None if i == j else int(drawn[min(i, j), max(i, j)]) for j in range(hospitals)]
        for i in range(hospitals)
    ]


def observe(me, answer, given):
    """Return the sums of all rounds, and on the server what it heard in each round."""
    sums, heard = [], []
    for update, seeds, number, takes_part in given.rounds:
        exchange = Exchange(LENGTH)
        if takes_part:

            def share(message, exchange=exchange):
                return shared(exchange, message)

            sums.append(answer(update.copy(), me.rank, list(seeds), number, share))
        heard.append(exchange.listen())
    return heard if me.rank == me.ranks - 1 else sums


def shared(exchange, message):
    if not isinstance(message, np.ndarray) or (message.dtype, message.shape) != ("u4", (LENGTH,)):
        saw = f"{getattr(message, 'dtype', type(message).__name__)} {np.shape(message)}"
        raise ValueError(f"share() takes an array of type uint32 and shape ({LENGTH},), not {saw}")
    return [None if got is None else got.astype(np.uint32) for got in exchange.share(message)]


def judge(case, seen):
    hospitals = case.ranks - 1
    there = [rank for rank in range(hospitals) if case.own[rank]["rounds"][0][3]]
    updates = [[own["rounds"][k][0] for own in case.own[:hospitals]] for k in range(3)]
    due = [sum(now[rank] for rank in there) for now in updates]
    yield equal_by_rank("every hospital gets the sum of the updates that arrived",
                        [due] * len(there), [seen.values[rank] for rank in there], rtol=1e-6,
                        weight=3, hints=_SUM if len(there) == hospitals else _DROPPED)  # fmt: skip
    by_round = [[messages_of(rank, now) for rank in range(hospitals)] for now in seen.values[-1]]
    counts = {len(now[rank]) for now in by_round for rank in there}
    told = ", ".join(map(str, sorted(counts)))
    spoke = min(counts) > 0
    kept = max(counts) <= 1 + (len(there) < hospitals)
    alone = nothing_else(seen, case.ranks)
    yield Claim("a hospital shares one message, and a second one only after a drop-out",
                spoke and kept and alone, "1 message, 2 after a drop-out",
                f"{told} messages by share()" if alone else "other messages than those of share()",
                hints=_ONLY, evidence=seen.evidence)  # fmt: skip
    if not spoke:
        return
    for text, hints, found in (
        ("no message shows an update", _SHOWS, leaks_alone(by_round, there)),
        ("both messages of a hospital together do not show its update", _REVEALS,
         leaks_together(by_round, there)),
        ("masks of different rounds differ", _ROUNDS, leaks_between(by_round, updates, there, 1)),
        ("masks of different secret seeds differ", _SECRET,
         leaks_between(by_round, updates, there, 2)),
    ):  # fmt: skip
        far, rank = max(found, default=(0.0, None))
        yield Claim(text, far <= FARTHEST, f"uniform within {FARTHEST:.2f}",
                    f"{far:.2f} away from uniform", rank, hints)  # fmt: skip


def messages_of(rank, rounds):
    return [now[rank].astype(np.uint32) for now in rounds if now[rank] is not None]


def leaks_alone(by_round, there):
    """Yield (distance from uniform, rank) of each message. Without a drop-out partner in it, a
    second message may be all zeros."""
    for now in by_round:
        for rank in there:
            yield from ((distance(m), rank) for m in now[rank] if m is now[rank][0] or m.any())


def leaks_together(by_round, there):
    for now in by_round:
        for rank in there:
            first, *more = now[rank]
            yield from ((distance(first - m), rank) for m in more)
            yield from ((distance(first + m), rank) for m in more)


def leaks_between(by_round, updates, there, other):
    """Yield the distances of the change of masks from round 0 to another round."""
    for rank in there:
        change = by_round[other][rank][0] - by_round[0][rank][0]
        yield distance(change - (fixed(updates[other][rank]) - fixed(updates[0][rank]))), rank


def fixed(update):
    return np.round(update * SCALE).astype(np.int64).astype(np.uint32)


def distance(numbers):
    """Return how far numbers [n] modulo 2^32 are from uniform, 0 to 1: the larger of the
    Kolmogorov-Smirnov distances of all 32 bits and of the lower 16 bits."""
    return max(kolmogorov(numbers / 2**32), kolmogorov((numbers % 2**16 + 0.5) / 2**16))


def kolmogorov(shares):
    n, ordered = len(shares), np.sort(shares)
    above, below = np.arange(1, n + 1) / n - ordered, ordered - np.arange(n) / n
    return float(max(above.max(), below.max()))
