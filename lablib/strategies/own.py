"""Use the learner's own function as a strategy: `lab.train(my_ddp, task="digits-mlp", ranks=4)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lablib.errors import LabError
from lablib.strategies.strategy import Job, Strategy

_RETURNED = "return {'losses': [the loss of each step], 'weights': {name: NumPy array}}"


@dataclass(frozen=True)
class OwnStrategy:
    """A function with the contract of a strategy's `train(me, job)`, and its description.

    Like a strategy's module it has `STRATEGY` and `train`.
    """

    STRATEGY: Strategy
    function: Callable

    def train(self, me: object, job: Job) -> dict | None:
        """Call the function on a rank; raise LabError if its result has the wrong form."""
        returned = self.function(me, job)
        if returned is None or _is_a_result(returned):
            return returned
        raise LabError(
            f"{self.STRATEGY.name} must return its losses and its weights.",
            saw=f"{type(returned).__name__} on rank {me.rank}: {returned!r:.80}",
            do=f"{_RETURNED}, or None on a rank that has neither",
        )


def own_strategy(function: Callable, framework: str, known: list[str]) -> OwnStrategy:
    """Describe the function, so that it can be used like the official strategies.

    framework   the framework for which the function is written
    known       names of strategies; a function with such a name is called, for example, "my ddp"
    """
    name = getattr(function, "__name__", type(function).__name__)
    described = Strategy(
        name=f"my {name}" if name in known else name,
        framework=framework,
        family="own",
        about=(function.__doc__ or "A function of the learner.").strip().partition("\n")[0],
        read="",
        splits="nothing",
    )
    return OwnStrategy(described, function)


def _is_a_result(returned):
    return (
        isinstance(returned, dict)
        and returned.keys() == {"losses", "weights"}
        and isinstance(returned["losses"], list)
        and isinstance(returned["weights"], dict)
    )
