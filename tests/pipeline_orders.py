"""The passes of a stage under GPipe and 1F1B."""

from __future__ import annotations

from lablib.strategies.stages import passes


def gpipe(stage, pieces):
    return passes(stage, pieces, ahead=pieces)


def one_f_one_b(stage, stages, pieces):
    return passes(stage, pieces, ahead=min(stages - 1 - stage, pieces))
