"""Draw a modelled machine: nodes, devices, links, and a run's traffic on the links."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lablib.hardware.hardware import Hardware
from lablib.hardware.network import Link
from lablib.record.trace import Trace
from lablib.units import show_bytes, show_s
from lablib.views import palette
from lablib.views.diagrams.svg import Diagram, Sheet
from lablib.views.traffic import RULE, has_collectives, traffic
from lablib.views.window import only, window

_SHADE, _SLOW = "#eef3f7", "#f6d3bf"
_WIDEST = 900
_NARROWEST = 600
_EDGE = 14
_GAP = 10
_PLACE, _LINE = 94, 18  # width of a device; height of a line of text
_A_ROW = 4
_MOST_DEVICES = 8
_MOST_NODES = 4
# Heights of a node's name, its bus, and its connection to the network.
_HEAD = 34
_BUS = 26
_ADAPTER = 34
_THIN, _THICK = 1.5, 9.0


@dataclass(frozen=True)
class _Loads:
    """Wire bytes on each link, by direction; `most` is the largest sum of both directions."""

    near_out: Counter
    near_in: Counter
    far_out: Counter
    far_in: Counter

    def near(self, rank):
        return self.near_out[rank] + self.near_in[rank]

    def far(self, node):
        return self.far_out[node] + self.far_in[node]

    @property
    def most(self):
        ranks = self.near_out | self.near_in
        nodes = self.far_out | self.far_in
        return max([*map(self.near, ranks), *map(self.far, nodes)], default=0)


def hardware(
    machine: Hardware, trace: Trace | None = None, steps: int | range | None = None
) -> Diagram:
    """Draw a machine's nodes, devices and links with their speeds, and the traffic of a trace.

    machine    a machine of `lab.Hardware` or `lab.hardware.get`
    trace      the trace of a run, measured or modelled: its ranks fill the machine node by node
    steps      the training step to count, from 0, or a range of steps; None: all steps

    A line is thicker if more bytes pass; `lablib.views.traffic` says what is counted. Slow ranks
    are shaded, and degrading links are dashed. The figure shows at most 4 nodes, with 8 devices in
    each and slow ones first, and says how many it does not show. Raises LabError if the run has
    more ranks than the machine, or does not have these steps.

    >>> from lablib.hardware import get
    >>> hardware(get("ethernet-10")).title
    'ethernet-10: 64 nodes with 1 t4 each (modelled)'
    """
    used = machine.ranks if trace is None else trace.ranks
    machine.check_ranks(used)
    plan = _Plan(machine, used, None if trace is None else _loads(machine, trace, steps))
    title = f"{machine.name}: {_count(machine.nodes, 'node')} with {_devices(machine)} (modelled)"
    sheet = Sheet(plan.width)
    sheet.text(_EDGE, 30, title, size=17, bold=True, anchor="start")
    y = plan.draw(sheet, 46)
    notes = dict(_notes(machine, trace, steps, plan.loads))
    for lead, note in notes.items():
        y = sheet.paragraph(_EDGE, y, note, lead=lead, letters=int(plan.width / 7.4)) + 2
    description = [f"{lead} {note}" for lead, note in notes.items()]
    return sheet.finish(int(y) - 6, title, " ".join([*plan.describe(), *description]))


def _loads(machine, trace, steps):
    span = None if steps is None else window(trace, steps)
    loads = _Loads(Counter(), Counter(), Counter(), Counter())
    for (source, to), size in traffic(trace, span).items():
        here, there = machine.node(source), machine.node(to)
        near = here == there
        (loads.near_out if near else loads.far_out)[source if near else here] += size
        (loads.near_in if near else loads.far_in)[to if near else there] += size
    return loads


class _Plan:
    """The layout of the drawing.

    A node has a name, devices in one or two rows, and a bus for them.
    """

    def __init__(self, machine: Hardware, used: int, loads: _Loads | None):
        self.machine = machine
        self.used = used
        self.loads = loads
        slow_nodes = {machine.node(rank) for rank in machine.slow}
        self.nodes = _first(range(machine.nodes), slow_nodes, _MOST_NODES)
        shown = min(machine.per_node, _MOST_DEVICES)
        columns = min(_A_ROW, shown)
        self.rows = -(-shown // _A_ROW)
        idle = used < (max(self.nodes) + 1) * machine.per_node
        lines = 2 + bool(machine.slow) + (idle or (loads is not None and machine.per_node > 1))
        self.place_height = 12 + _LINE * lines
        self.bus_height = _BUS if machine.per_node > 1 else _GAP
        # Leave space for the link's speed or traffic beside a narrow node's name.
        narrowest = 280 if machine.per_node > 1 else 206
        self.node_width = max(columns * (_PLACE + _GAP) + _GAP, narrowest)
        second = self.place_height + _GAP if self.rows > 1 else 0
        self.node_height = _HEAD + self.place_height + self.bus_height + second
        boxes = len(self.nodes) + (len(self.nodes) < machine.nodes)
        self.a_row = min(boxes, (_WIDEST - _EDGE) // (self.node_width + _EDGE))
        self.width = max(_EDGE + self.a_row * (self.node_width + _EDGE), _NARROWEST)

    def draw(self, sheet: Sheet, y: int) -> int:
        """Draw the nodes in rows, each row above the network; return the next free height."""
        more = self.machine.nodes - len(self.nodes)
        places = [*self.nodes, *([None] if more else [])]
        networks = []
        for start in range(0, len(places), self.a_row):
            row = places[start : start + self.a_row]
            for number, node in enumerate(row):
                x = _EDGE + number * (self.node_width + _EDGE)
                if node is None:
                    self._draw_others(sheet, more, x, y)
                else:
                    self._draw_node(sheet, node, x, y)
            y += self.node_height
            if self.machine.nodes > 1:
                y = self._draw_network(sheet, y + _ADAPTER, named=start == 0)
                networks.append(y)
                y += _LINE if start == 0 else 0
            y += _GAP
        if len(networks) > 1:
            right = self.width - 6
            sheet.line(right, networks[0], right, networks[-1], width=4)
        return y + 16

    def _draw_network(self, sheet, y, named):
        """Draw the network of a row of nodes, the first time with its speed in words."""
        link = self.machine.between
        sheet.line(_EDGE, y, self.width - 4, y, width=4, dashed=_degrades(link))
        if named:
            sheet.text(_EDGE, y + 18, _between(self.machine), size=13, anchor="start")
        return y

    def _draw_node(self, sheet, node, x, y):
        machine = self.machine
        ranks = range(node * machine.per_node, (node + 1) * machine.per_node)
        sheet.box(x, y, self.node_width, self.node_height, fill=_SHADE)
        sheet.text(x + 12, y + 23, f"Node {node}", size=15, bold=True, anchor="start")
        if machine.nodes > 1:
            self._draw_adapter(sheet, node, x, y + self.node_height)
        shown = _first(ranks, machine.slow, _MOST_DEVICES)
        if machine.per_node > 1:
            speed = f"inside: {_speed(machine.within)}"
            sheet.text(x + self.node_width - 12, y + 22, speed, size=13, anchor="end")
            self._draw_bus(sheet, shown, x, y)
        for number, rank in enumerate(shown):
            self._draw_device(sheet, rank, *self._place(number, x, y))
        if len(ranks) > len(shown):
            left, top = self._place(len(shown), x, y)
            self._draw_more(sheet, left, top, len(ranks) - len(shown))

    def _draw_adapter(self, sheet, node, x, y):
        """Draw the connection from a node to the network, with its traffic."""
        middle = x + 24
        sheet.line(middle, y, middle, y + _ADAPTER, width=self._thick(node, "far"))
        if self.loads:
            sheet.text(middle + 12, y + 21, self._passed(node), size=13, anchor="start")

    def _draw_bus(self, sheet, shown, x, y):
        """Draw the link inside a node: a line, and each device's connection to it."""
        level = y + _HEAD + self.place_height + _BUS / 2
        for number, rank in enumerate(shown):
            left, top = self._place(number, x, y)
            middle = left + _PLACE / 2
            sheet.line(middle, top + 5, middle, level, width=self._thick(rank, "near"))
        end = x + self.node_width - _GAP
        sheet.line(x + _GAP, level, end, level, width=4, dashed=_degrades(self.machine.within))

    def _place(self, number, x, y):
        """Return left and top of a device in a node at (x, y); the bus is below the first row."""
        row, column = divmod(number, _A_ROW)
        below = row * (self.place_height + self.bus_height)
        return x + _GAP + column * (_PLACE + _GAP), y + _HEAD + below

    def _draw_device(self, sheet, rank, left, top):
        times = self.machine.slow.get(rank)
        free = rank >= self.used
        sheet.box(left, top, _PLACE, self.place_height, dashed=free,
                  fill=_SLOW if times else palette.PAPER)  # fmt: skip
        words = [_short(self.machine.device.name)]
        words += [f"{times:.3g} × slower"] if times else []
        words += ["no rank"] if free else []
        if self.loads and not free and self.machine.per_node > 1:
            words.append(f"out {show_bytes(self.loads.near_out[rank])}")
        middle = left + _PLACE / 2
        sheet.text(middle, top + 21, f"place {rank}" if free else f"rank {rank}", bold=True)
        for number, line in enumerate(words, start=1):
            sheet.text(middle, top + 21 + number * _LINE, line, size=13)

    def _draw_more(self, sheet, left, top, more):
        sheet.box(left, top, _PLACE, self.place_height, dashed=True)
        sheet.text(left + _PLACE / 2, top + 21, f"and {more}", bold=True)
        sheet.text(left + _PLACE / 2, top + 21 + _LINE, "more", size=13)

    def _draw_others(self, sheet, more, x, y):
        """Say how many nodes are not drawn, whether they have ranks, and what they send."""
        sheet.box(x, y, self.node_width, self.node_height, dashed=True)
        for number, line in enumerate(self._others(more)):
            sheet.text(x + 12, y + 23 + number * 20, line, size=15 if number == 0 else 13,
                       bold=number == 0, anchor="start")  # fmt: skip

    def _others(self, more):
        machine = self.machine
        others = [node for node in range(machine.nodes) if node not in self.nodes]
        used = [node for node in others if node * machine.per_node < self.used]
        yield f"and {_count(more, 'more node')}"
        if len(used) < len(others):
            yield f"{_count(len(others) - len(used), 'node')} without a rank"
        if used and self.loads:
            sizes = sorted({show_bytes(self.loads.far_out[node]) for node in used})
            yield f"out {sizes[0]} each" if len(sizes) == 1 else self._extremes(used)
        slow = sum(machine.node(rank) in others for rank in machine.slow)
        if slow:
            yield f"{_count(slow, 'slow rank')} among them"

    def _passed(self, node):
        out = self.loads.far_out[node]
        back = self.loads.far_in[node]
        return f"out {show_bytes(out)}, in {show_bytes(back)}"

    def _extremes(self, nodes):
        sizes = [self.loads.far_out[node] for node in nodes]
        return f"out {show_bytes(min(sizes))} to {show_bytes(max(sizes))} each"

    def _thick(self, place, where):
        """Return the width of a link's line: by its bytes, and thin if there are none."""
        if not (self.loads and self.loads.most):
            return 2
        share = getattr(self.loads, where)(place) / self.loads.most
        return round(_THIN + (_THICK - _THIN) * share, 1)

    def describe(self) -> Iterable[str]:
        """Yield sentences that describe the drawing."""
        if self.machine.per_node > 1:
            yield f"Inside a node: {_speed(self.machine.within)}."
        if self.machine.nodes > 1:
            yield f"B{_between(self.machine)[1:]}."
        for node in self.nodes:
            first = node * self.machine.per_node
            last = first + self.machine.per_node - 1
            ranks = f"rank {first}" if first == last else f"ranks {first} to {last}"
            sent = f", {self._passed(node)}" if self.loads and self.machine.nodes > 1 else ""
            yield f"Node {node}: {ranks}{sent}."
        if len(self.nodes) < self.machine.nodes:
            yield ", ".join(self._others(self.machine.nodes - len(self.nodes))) + "."


def _notes(machine, trace, steps, loads):
    """Yield (heading, text) of the paragraphs below the drawing."""
    if machine.slow:
        slow = (f"rank {rank} ({times:.3g} times)" for rank, times in sorted(machine.slow.items()))
        yield "Shaded:", f"ranks that compute slower than their device: {', '.join(slow)}."
    if machine.jitter:
        longer = f"{machine.jitter:.3g} of its time longer on average"
        yield "Jitter:", f"computing takes {longer}, drawn again for each rank and step."
    for where, link in (("inside nodes", machine.within), ("between nodes", machine.between)):
        if link and _degrades(link):
            share = f"{link.degrades_to:.3g}"
            since = show_s(link.degrades_at_s)
            yield f"Dashed, {where}:", f"from {since} on, these links have {share} of this speed."
    if trace is not None:
        yield "Traffic:", " ".join(_describe_traffic(machine, trace, steps, loads))


def _describe_traffic(machine, trace, steps, loads):
    which = ", ".join([trace.clock, *only(trace, steps)])
    spread = has_collectives(trace)
    rule = f"; {RULE}" if spread else ""
    yield f"wire bytes of a run on {_count(trace.ranks, 'rank')} ({which}){rule}."
    if spread and machine.nodes > 1:
        yield "An algorithm that goes node by node sends fewer bytes between nodes."
    yield "A device's line shows its traffic within the node, a node's line that with other nodes."
    yield f"Thicker lines carry more bytes; the most is {show_bytes(loads.most)}, both ways."


def _between(machine):
    adapters = f"{machine.lanes} adapters of " if machine.lanes > 1 else ""
    return f"between nodes: {adapters}{_speed(machine.between)}"


def _first(numbers, wanted, most):
    """Return all numbers if they fit; otherwise the wanted ones first, with space for a note."""
    if len(numbers) <= most:
        return list(numbers)
    order = sorted(numbers, key=lambda number: (number not in wanted, number))
    return sorted(order[: most - 1])


def _degrades(link: Link) -> bool:
    return link.degrades_at_s < math.inf


def _speed(link: Link) -> str:
    return f"{show_bytes(link.bytes_per_s)}/s, {show_s(link.latency_s)}"


def _short(name):
    return name if len(name) <= 12 else f"{name[:11]}…"


def _devices(machine):
    return f"{machine.per_node} {machine.device.name}" + " each" * (machine.nodes > 1)


def _count(number, noun):
    return f"{number} {noun}{'s' * (number != 1)}"
