"""Strategies in TensorFlow. Those that answer an exercise by hand are in solutions/, if there."""

from lablib.computer.facts import ROOT

__path__.append(str(ROOT / "solutions/strategies/tensorflow"))
