"""The colours of all plots and diagrams: each has one meaning, and a hatch shows it, too.

The hues are from Masataka Okabe and Kei Ito, "Color Universal Design: How to make figures and
presentations that are friendly to colorblind people" (2002, revised 2008,
jfly.uni-koeln.de/color). They can be distinguished with every common kind of colour blindness.
Areas also have a hatch, because colours can be hard to distinguish in print and on projectors.
"""

from __future__ import annotations

from dataclasses import dataclass

from lablib import frameworks

# Figures have an opaque background, so that they look the same in a dark notebook theme.
PAPER = "#ffffff"
TEXT = "#1a1a1a"
FAINT = "#6b6b6b"
GRID = "#d9d9d9"


@dataclass(frozen=True)
class Ink:
    """How one meaning is drawn: its colour, the hatch of its areas, its words in a legend."""

    color: str
    hatch: str
    label: str


COMPUTE = Ink("#56B4E9", "", "compute")
# A graph that runs as one call shows no waits, so this colour must not suggest that it computed.
BUSY = Ink("#56B4E9", "", "computing or waiting, not told apart")
FORWARD = Ink("#56B4E9", "", "compute, forward pass")
BACKWARD = Ink("#0072B2", "//", "compute, backward pass")
OTHER = Ink("#D3E9F6", "", "compute, other")
PASSES = {"forward": FORWARD, "backward": BACKWARD, "other": OTHER}
COMMUNICATION = Ink("#E69F00", "..", "message under way")
# Only messages for which a rank waits make a step longer.
EXPOSED = Ink("#E69F00", "\\\\", "message, exposed: the rank stands still")
HIDDEN = Ink("#F8E3B5", "..", "message, hidden behind compute")
DERIVED = Ink("#E69F00", "", "message that follows from placement, time not seen")
WAITING = Ink("#D55E00", "xx", "waiting for a message")
BUBBLE = Ink("#F6D3BF", "xx", "idle: waits for another's work (bubble)")
_FRAMEWORKS = dict(zip(frameworks.NAMES, (("#CC79A7", ""), ("#009E73", "\\\\"))))
STEP = Ink("#b0b0b0", "", "a step")
# The parts of a rank's memory. The hues of Okabe and Ito are used elsewhere, so these are from Paul
# Tol's "muted" and "light" schemes (SRON/EPS/TN/09-002, issue 3.2, 2021). Light and dark ones
# alternate, because the parts are stacked.
WEIGHTS = Ink("#332288", "", "weights")
GRADIENTS = Ink("#EEDD88", "//", "gradients")
OPTIMIZER = Ink("#882255", "", "optimizer state")
ACTIVATIONS = Ink("#BBCC33", "..", "activations")
CAPACITY = Ink("#1a1a1a", "", "memory of the device")
CHANGED = Ink("#FFF3B0", "", "changed in this step")
NUMBER = Ink("#ffffff", "", "")  # the background of a number in a bar
IDEAL = Ink("#6b6b6b", "", "ideal")
NEUTRAL = Ink("#1a1a1a", "", "")
# Tints behind text: the word beside it and a sign say the same as the colour.
JOB_STATES = {
    "running": Ink("#FFF3B0", "", "running"),
    "succeeded": Ink("#D3EFE4", "", "succeeded"),
    "failed": Ink("#F6D3BF", "", "failed"),
    "stopped": Ink("#F6D3BF", "", "stopped"),
}

# Phases of messages share their colour and differ in the hatch.
PHASE_HATCH = {"forward": "\\\\\\", "backward": "///", "other": ".."}

# Curves without a framework differ in their markers; shades help where curves cross.
SHADES = ("#1a1a1a", "#7a7a7a", "#4a4a4a", "#a0a0a0")

# Strategies differ in these, because the colour shows the framework.
MARKERS = "osD^vPX*<>p"
DASHES = ("-", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 3)))

# Times that were calculated, not measured, are dashed, or dotted if the run was dry.
CLOCK_LINE = {"measured": "-", "modelled": (0, (4, 2)), "modelled, dry": (0, (1, 2))}


def framework(name: str) -> Ink:
    """Return the ink of a framework; for other names, return a neutral ink.

    >>> framework("torch").color
    '#CC79A7'
    """
    return Ink(*_FRAMEWORKS[name], name) if name in _FRAMEWORKS else NEUTRAL
