"""Diagrams drawn by code: the architecture of distributed training, clusters, hardware."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from lablib.errors import LabError
from lablib.views import palette
from lablib.views.diagrams.machine_drawing import hardware
from lablib.views.diagrams.svg import Diagram, Sheet

__all__ = ["ARROWS", "COMPONENTS", "Part", "architecture", "cluster", "hardware"]


class Part(NamedTuple):
    """A component (its key is a number) or an arrow (a letter) of the architecture."""

    key: str
    name: str
    role: str


COMPONENTS = (
    Part(
        "1",
        "Driver",
        "Your notebook. It starts one process for each rank, sends it the function to run, "
        "and collects values, logs and traces.",
    ),
    Part(
        "2",
        "Data set",
        "The samples, stored where every node can read them. Each rank gets one shard of them.",
    ),
    Part(
        "3",
        "Monitoring",
        "Shows loss, step times, bytes and memory of every rank, and which rank fails or lags.",
    ),
    Part("4", "Node", "A machine. Its ranks divide its memory and devices, and share its network."),
    Part(
        "5",
        "Rank",
        "One process and its number. All run the same program; the number says which part of "
        "the work is theirs.",
    ),
    Part("6", "Shard", "The samples of this rank. All shards together are the data set."),
    Part(
        "7",
        "Model",
        "With data parallelism, every rank has the same whole model; with model parallelism, "
        "each rank has a different part of it.",
    ),
    Part("8", "Device", "The GPU or CPU cores that hold this rank's model and do its arithmetic."),
    Part(
        "9",
        "Gradients",
        "They say how this rank's batch would change the model. The all-reduce, here a ring of "
        "messages E and F, averages them over all ranks, so that all models take the same step.",
    ),
    Part(
        "10",
        "Checkpoint storage",
        "Keeps weights and optimizer state outside the nodes. If a rank dies, only the steps since "
        "the last save are lost, not the whole run.",
    ),
    Part(
        "11",
        "Parameter server",
        "The alternative to the all-reduce: a process that keeps the weights. The ranks send it "
        "gradients and fetch weights. They need not wait for one another.",
    ),
)

ARROWS = (
    Part("A", "Start", "Driver to every rank: the function, settings, addresses of all ranks."),
    Part("B", "Read", "Data set to each rank: only the rank's own shard."),
    Part("C", "Forward pass", "Shard to model: the next batch."),
    Part("D", "Backward pass", "Model to gradients, computed on the device."),
    Part("E", "Link in a node", "Rank to rank by shared memory, PCIe or NVLink: fast."),
    Part(
        "F",
        "Network",
        "Node to node by Ethernet or InfiniBand: slower, and often the limit of the speed-up.",
    ),
    Part("G", "Report", "Every rank to monitoring: metrics, logs, who waited for whom."),
    Part(
        "H",
        "Save and restore",
        "One rank saves everything, or each rank saves its part. All ranks read it back when the "
        "run restarts.",
    ),
    Part("I", "Push and pull", "Gradients to the parameter server, weights back from it."),
)

_ROLE = {part.key: f"{part.name}. {part.role}" for part in COMPONENTS + ARROWS}
_SHADE = "#eef3f7"


def architecture(chosen: str = "") -> Diagram:
    """Draw the parts of distributed training, with a legend that explains the role of each.

    Components have numbers, and arrows have letters.

    chosen   the number or letter of one part: it is ringed, and the legend explains only this
             part; "" for all parts. Raises LabError if there is no such part
    """
    if chosen and chosen not in _ROLE:
        raise LabError(
            "There is no such part.", saw=repr(chosen), do=f"choose one of {', '.join(_ROLE)}"
        )
    title = "Distributed training, node by node, arrow by arrow"
    sheet = Sheet(900, marked=chosen)
    sheet.text(450, 34, title, size=20, bold=True)
    _draw_outside(sheet)
    sheet.box(14, 176, 872, 388, fill=_SHADE)
    for node, x in ((0, 30), (1, 463)):
        _draw_node(sheet, node, x)
    _draw_ring(sheet)
    if chosen:
        (part,) = (part for part in COMPONENTS + ARROWS if part.key == chosen)
        return sheet.finish(_draw_legend(sheet, 34, [part], 110) + 2, title, _ROLE[chosen])
    left = _draw_legend(sheet, 34, COMPONENTS[:9])
    right = _draw_legend(sheet, 475, COMPONENTS[9:] + ARROWS)
    words = " ".join(f"{key}: {role}" for key, role in _ROLE.items())
    return sheet.finish(max(left, right) + 2, title, f"Two nodes with two ranks each. {words}")


def _draw_outside(sheet):
    """Draw the parts around the cluster, and the arrows between them."""
    for key, x, y, width, name, note, dashed in (
        ("1", 30, 60, 250, "Driver", "your notebook", False),
        ("2", 325, 60, 250, "Data set", "a shard for each rank", False),
        ("3", 620, 60, 250, "Monitoring", "metrics, logs, traces", False),
        ("10", 30, 624, 330, "Checkpoint storage", "weights, optimizer state", False),
        ("11", 463, 624, 407, "Parameter server", "instead of the all-reduce", True),
    ):
        sheet.box(x, y, width, 62, dashed=dashed, about=_ROLE[key])
        sheet.badge(x + 22, y + 31, key, _ROLE[key])
        sheet.text(x + width / 2 + 14, y + 27, name, size=15, bold=True)
        sheet.text(x + width / 2 + 14, y + 47, note, size=13)
    for key, points, both, dashed in (
        ("A", [(155, 122), (155, 175)], False, False),
        ("B", [(450, 122), (450, 175)], False, False),
        ("G", [(745, 176), (745, 123)], False, False),
        ("H", [(195, 565), (195, 623)], True, False),
        ("I", [(666, 565), (666, 623)], True, True),
    ):
        sheet.arrow(points, both=both, dashed=dashed)
        (x, y1), (_, y2) = points
        sheet.badge(x + 22, (y1 + y2) / 2, key, _ROLE[key])


def _draw_node(sheet, node, x):
    sheet.box(x, 190, 407, 360, about=_ROLE["4"])
    sheet.badge(x + 22, 212, "4", _ROLE["4"])
    sheet.text(x + 42, 217, f"Node {node}", size=15, bold=True, anchor="start")
    for place in (0, 1):
        _draw_rank(sheet, 2 * node + place, x + 14 + place * 210)


def _draw_rank(sheet, rank, x):
    sheet.box(x, 234, 169, 272, fill=_SHADE, about=_ROLE["5"])
    sheet.badge(x + 20, 255, "5", _ROLE["5"])
    sheet.text(x + 38, 260, f"Rank {rank}", size=15, bold=True, anchor="start")
    sheet.box(x + 12, 340, 145, 92, fill=palette.PAPER, about=_ROLE["8"])
    for key, y, name, fill in (
        ("6", 278, "Shard", palette.PAPER),
        ("7", 350, "Model", palette.COMPUTE.color),
        ("9", 456, "Gradients", palette.COMMUNICATION.color),
    ):
        sheet.box(x + 22, y, 125, 38, fill=fill, about=_ROLE[key])
        sheet.badge(x + 40, y + 19, key, _ROLE[key])
        sheet.text(x + 58, y + 24, name, anchor="start")
    sheet.badge(x + 40, 412, "8", _ROLE["8"])
    sheet.text(x + 58, 417, "Device", anchor="start")
    sheet.arrow([(x + 84, 316), (x + 84, 349)])
    sheet.badge(x + 106, 330, "C", _ROLE["C"])
    sheet.arrow([(x + 128, 388), (x + 128, 455)])
    sheet.badge(x + 146, 443, "D", _ROLE["D"])


def _draw_ring(sheet):
    """Draw the all-reduce as a ring: rank 0, 1, 2, 3 and back to 0."""
    ink = dict(color=palette.TEXT, width=3)
    for key, x1, x2 in (("E", 192, 275), ("F", 402, 498), ("E", 625, 708)):
        sheet.arrow([(x1, 475), (x2, 475)], **ink)
        sheet.badge((x1 + x2) / 2 - 3, 475, key, _ROLE[key])
    sheet.arrow([(772, 494), (772, 528), (128, 528), (128, 495)], **ink)
    sheet.badge(450, 528, "F", _ROLE["F"])
    sheet.text(320, 523, "all-reduce: a ring of messages", size=13)


def _draw_legend(sheet, x, parts, letters=54):
    """Write each part's role in a column; return its lower end."""
    y = 724
    for part in parts:
        sheet.badge(x, y + 2, part.key)
        y = sheet.paragraph(x + 22, y + 6, part.role, lead=f"{part.name}.", letters=letters) + 5
    return y


_RANK_WIDTH = 90
_RANK_HEIGHT = 52
_RANKS_A_ROW = 4
_NODE_WIDTH = _RANKS_A_ROW * (_RANK_WIDTH + 10) + 10
_TRUNK = 26  # space at the right for the line that joins the networks of several rows


def cluster(ranks: Iterable[tuple[int, str, int]]) -> Diagram:
    """Draw the nodes of a cluster, and in each node its ranks with their roles.

    ranks    (rank, role, node) of each rank

    Raises LabError if there are no ranks.

    >>> cluster([(0, "worker", 0), (1, "worker", 1)]).description
    'node 0: rank 0 (worker). node 1: rank 1 (worker).'
    """
    rows = sorted(ranks, key=lambda row: (row[2], row[0]))
    if not rows:
        raise LabError("There is no rank to draw.", saw="no rows", do="pass (rank, role, node)")
    nodes = {node: list(members) for node, members in groupby(rows, key=lambda row: row[2])}
    a_row = min(2, len(nodes))
    sheet = Sheet(a_row * (_NODE_WIDTH + 14) + 14 + _TRUNK * (len(nodes) > 2))
    y, buses = 14, []
    for start in range(0, len(nodes), a_row):
        row = list(nodes.items())[start : start + a_row]
        y = _draw_nodes(sheet, row, y)
        if len(nodes) > 1:
            buses.append(y)
            y = _draw_network(sheet, len(row), y, label=start == 0)
    if len(buses) > 1:
        sheet.line(sheet.width - 14, buses[0] + 6, sheet.width - 14, buses[-1] + 10, width=4)
    said = (
        f"node {node}: " + ", ".join(f"rank {rank} ({role})" for rank, role, _ in members) + "."
        for node, members in nodes.items()
    )
    title = f"{len(rows)} rank{'s' * (len(rows) > 1)} on {len(nodes)} node{'s' * (len(nodes) > 1)}"
    return sheet.finish(y + 14 * (not buses), title, " ".join(said))


def _draw_nodes(sheet, nodes, y):
    """Draw nodes side by side, with their ranks in rows of four; return the next free height."""
    deepest = max(-(-len(members) // _RANKS_A_ROW) for _, members in nodes)
    height = 36 + deepest * (_RANK_HEIGHT + 10)
    for place, (node, members) in enumerate(nodes):
        x = 14 + place * (_NODE_WIDTH + 14)
        sheet.box(x, y, _NODE_WIDTH, height, fill=_SHADE)
        sheet.text(x + 12, y + 23, f"Node {node}", size=15, bold=True, anchor="start")
        for number, (rank, role, _) in enumerate(members):
            row, column = divmod(number, _RANKS_A_ROW)
            left = x + 10 + column * (_RANK_WIDTH + 10)
            top = y + 34 + row * (_RANK_HEIGHT + 10)
            sheet.box(left, top, _RANK_WIDTH, _RANK_HEIGHT, dashed=role in ("ps", "evaluator"))
            sheet.text(left + _RANK_WIDTH / 2, top + 22, f"rank {rank}", bold=True)
            sheet.text(left + _RANK_WIDTH / 2, top + 41, role, size=13)
    return y + height


def _draw_network(sheet, nodes, y, label):
    """Draw the network of all nodes as a thick line below; return the next free height."""
    for place in range(nodes):
        x = 14 + place * (_NODE_WIDTH + 14) + _NODE_WIDTH / 2
        sheet.line(x, y, x, y + 8)
    sheet.line(14, y + 8, sheet.width - 12, y + 8, width=4)
    if label:
        sheet.text(14, y + 27, "network", size=13, anchor="start")
    return y + 38
