"""The job `deploy`: try a registered version on requests, then promote it or roll it back.

1. The server loads the version as the challenger, with no share of the requests.
2. Smoke test: it answers two blank images with two digits.
3. Canary: it answers a share of the labelled stream, the champion answers the rest.
4. The project's rule compares the two and says "promote" or "roll back".

Only the aliases of the registry move, so the champion serves without a break.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lablib.errors import LabError
from lablib.ops import client, traffic
from lablib.ops.job_report import report, variable
from lablib.ops.registry import Registry

PROMOTE, ROLL_BACK = "promote", "roll back"
_REQUESTS, _SHARE = 359, 0.3  # each image of the stream once; about 108 for the challenger
_MOST_ERRORS = 5  # of the challenger; a version that hangs takes 2 s for each
_FIRST_ACCURACY = 0.8


@dataclass(frozen=True)
class Observed:
    """What one version did on the canary's requests.

    errors        requests without an answer
    correct       answers that were right
    latencies_s   seconds of each answer, [requests - errors]
    """

    requests: int = 0
    errors: int = 0
    correct: int = 0
    latencies_s: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def accuracy(self) -> float:
        """Return the share of right answers, of all requests."""
        return self.correct / max(self.requests, 1)


def main(arguments: list[str], decide: Callable[[Observed, Observed], str]) -> int:
    """Deploy a version and return the exit status: 0 promoted, 1 rolled back.

    arguments   the number of the version, as the job `gate` passes it on
    decide      the project's rule: from the champion's and the challenger's `Observed` to
                "promote" or "roll back". It is not asked about a first version, which has no
                champion: that needs 80 % right answers.

    Raises LabError if there is no such version, or if the server does not run. Whatever fails, the
    champion keeps serving.
    """
    state = variable("PIPELINE_STATE")
    registry, version = Registry(state), _number(arguments)
    promoted = False
    try:
        promoted, reason = _try(registry, version, decide)
    finally:
        registry.promote(version) if promoted else registry.drop_challenger()
        client.reload(state)
    return report("deploy", promoted, reason, version)


def _try(registry, version, decide):
    """Return whether the version may become the champion, and why."""
    has_champion = registry.serving().champion is not None
    if problem := _smoke_test(registry, version):
        return False, f"Rolled back: {problem}"
    return _canary(registry, version, decide) if has_champion else _first_version(registry, version)


def _smoke_test(registry, version):
    """Return what is wrong, or "" if the version answers."""
    registry.set_challenger(version, share=0)
    if problem := client.reload(registry.state).get(str(version)):
        return f"the version could not be loaded: {problem}"
    answer = client.ask(registry.state, np.zeros((2, 64)), version=version)
    if answer.status == 200 and answer.version == version and len(answer.digits) == 2:
        return ""
    return f"the smoke test failed with status {answer.status}: {answer.error}"


def _canary(registry, version, decide):
    registry.set_challenger(version, _SHARE)
    client.reload(registry.state)
    seen = traffic.send(registry.state, _REQUESTS, enough=lambda rows: _errors(rows, version))
    champion = observe(seen.table[seen.table["version"] != version])
    challenger = observe(seen.table[seen.table["version"] == version])
    decision = decide(champion, challenger)
    if decision not in (PROMOTE, ROLL_BACK):
        raise LabError(
            "The rule of the canary has no decision.",
            saw=f"canary_rule.decide returned {decision!r}",
            do=f'return "{PROMOTE}" or "{ROLL_BACK}"',
        )
    done = "Promoted" if decision == PROMOTE else "Rolled back"
    saw = f"challenger {_words(challenger)}; champion {_words(champion)}"
    return decision == PROMOTE, f"{done} by the rule of the canary: {saw}."


def _first_version(registry, version):
    seen = traffic.send(registry.state, version=version, enough=lambda rows: _errors(rows, version))
    first = observe(seen.table)
    passed = first.accuracy >= _FIRST_ACCURACY
    done = "Promoted" if passed else "Rolled back"
    return passed, f"{done} as the first version: {_words(first)}."


def _errors(rows, version):
    errors = sum(row["error"] for row in rows if row["version"] == version)
    return errors >= _MOST_ERRORS


def observe(table) -> Observed:
    """Return the counts of the requests in a table (see `traffic.Traffic`)."""
    answered = table[~table["error"]]
    return Observed(
        requests=len(table),
        errors=int(table["error"].sum()),
        correct=int(answered["correct"].sum()),
        latencies_s=answered["latency_s"].to_numpy(),
    )


def _words(seen):
    return f"{seen.requests} requests, {seen.errors} errors, {seen.accuracy:.1%} right answers"


def _number(arguments):
    if len(arguments) != 1 or not arguments[0].isdecimal():
        raise LabError(
            "The job needs the number of one version.",
            saw=" ".join(arguments) or "nothing",
            do="python deploy.py ${{ needs.gate.outputs.version }}",
        )
    return int(arguments[0])
