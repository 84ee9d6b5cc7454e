"""The rule that decides, from the canary's requests, whether a new version may answer all users."""


def decide(champion, challenger):
    """Return "promote" or "roll back".

    Both arguments have .requests, .errors (requests without an answer), .correct (right answers)
    and .latencies_s (seconds of each answer, a NumPy array).
    """
    if challenger.requests < 30 or challenger.errors > 0.05 * challenger.requests:
        return "roll back"
    accuracy = challenger.correct / challenger.requests
    if accuracy < champion.correct / champion.requests - 0.08:
        return "roll back"
    return "promote"
