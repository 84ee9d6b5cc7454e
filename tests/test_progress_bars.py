"""A bar of steps: it follows the slowest rank and leaves nothing behind."""

from __future__ import annotations

import pytest
from tqdm import notebook

from lablib import progress_bars
from lablib.record.board import Board


@pytest.fixture
def bars(monkeypatch):
    """Return the bars that were made, as a notebook shows them."""
    made = []

    def make(**options):
        made.append(notebook.tqdm(**options, display=False))
        return made[-1]

    monkeypatch.setattr(progress_bars, "_in_notebook", lambda: True)
    monkeypatch.setattr("tqdm.auto.tqdm", make)
    return made


def shown(bar):
    _, widget, _ = bar.container.children
    return widget.value, widget.bar_style


def test_the_slowest_rank_counts(bars):
    steps = progress_bars.Steps("ddp on 2", 40, shown=True)
    steps([Board(steps=12), Board(steps=10)])
    assert bars[0].n == 10
    steps.close()


def test_a_resumed_run_that_took_only_the_missing_steps_does_not_look_failed(bars):
    steps = progress_bars.Steps("restart on 2", 40, shown=True)
    steps([Board(steps=20), Board(steps=20)])
    steps.close()
    assert shown(bars[0])[1] != "danger"
    left = progress_bars.bar("restart on 2", 40)
    left.update(20)
    left.close()
    assert shown(bars[1])[1] == "danger"
