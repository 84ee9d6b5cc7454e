"""Strategies in PyTorch. Solutions of exercises are in solutions/, if it exists."""

from lablib.computer.facts import ROOT

__path__.append(str(ROOT / "solutions/strategies/torch"))
