"""Simulate the programs of all ranks on modelled hardware, in the order of virtual time.

A collective starts when its last rank has issued it and its links are free. It then occupies them
until it ends, for all its ranks at once. A send does not need the receiver: it starts when it is
issued and its links are free, and the data is kept until it is received. A wait ends when its
message has ended. Messages that need the same link get it in the order in which they could start.

If the order of messages depends on time (receive from any rank), the earliest arrival is served.
The trace is then one of several possible runs.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count

from lablib.errors import LabError
from lablib.hardware import catalog
from lablib.hardware.hardware import Hardware
from lablib.record.program import Op, Program
from lablib.record.trace import Event, Trace

_ANYBODY = -1
_MOST_SHOWN = 4


def simulate(program: Program, hardware: Hardware | str, clock: str = "modelled") -> Trace:
    """Return the trace of the program on `hardware`.

    hardware   Hardware, or an argument of `lab.hardware.get`
    clock      the clock of the trace: "modelled", or "modelled, dry" for the program of a dry run

    Every rank starts at 0. Equal programs and equal hardware give equal traces, bit for bit. Raises
    LabError if the hardware is too small, if costs are missing in the program, if ranks do not
    agree on a message, or if they wait for one another forever.

    >>> from lablib.record.cost import Cost
    >>> op = Op("compute", costs=(Cost(8.141e12),))
    >>> simulate(((op,), (op,)), "t4")
    Trace(2 events, 2 ranks, 1 s, modelled)
    """
    hardware = catalog.get(hardware)
    hardware.check_ranks(len(program))
    _check_costs(program, hardware)
    play = _Play(program, hardware)
    play.run()
    return Trace(play.events(), clock=clock, ranks=len(program))


def _check_costs(program, hardware):
    """Check that compute has the costs that this device needs: FLOPs and bytes, or CPU seconds."""
    host = hardware.device.is_host
    if not any(op.kind == "compute" and bool(op.costs) == host for ops in program for op in ops):
        return
    if host:
        raise LabError(
            "This run cannot be replayed on this computer, because it has no CPU seconds.",
            saw=f"a program of counted operations, for {hardware.name}",
            do="run it without hardware=, or with hardware=lab.Hardware.measure()",
        )
    raise LabError(
        f"This run cannot be replayed on {hardware.name}: its operations were not counted.",
        saw="the CPU seconds of a measured run, which counts no operations to stay fast",
        do=f"run it once with hardware={hardware.name!r}, or any other machine, to count them",
    )


@dataclass(eq=False, slots=True)
class _Message:
    """A collective, or one side of a message between two ranks."""

    name: str
    group: tuple[int, ...]
    channel: tuple
    issued: dict[int, tuple[float, Op]] = field(default_factory=dict)
    waiting: list[_Rank] = field(default_factory=list)
    end_s: float | None = None

    @property
    def ready_s(self):
        return max(at_s for at_s, _ in self.issued.values())

    @property
    def nbytes(self):
        return max(op.nbytes for _, op in self.issued.values())


@dataclass(eq=False, slots=True)
class _Rank:
    """The position of one rank in its program."""

    rank: int
    ops: tuple[Op, ...]
    position: int = 0
    now_s: float = 0.0
    step: int = 0
    step_start_s: float = 0.0
    messages: dict[int, _Message] = field(default_factory=dict)
    orders: dict[tuple, int] = field(default_factory=lambda: defaultdict(int))
    log: list = field(default_factory=list)


class _Play:
    def __init__(self, program: Program, hardware: Hardware):
        self.hardware = hardware
        self.ranks = [_Rank(rank, tuple(ops)) for rank, ops in enumerate(program)]
        self.collectives: dict[tuple, _Message] = {}
        self.arrived: dict[tuple, list[_Message]] = defaultdict(list)
        self.wanted: dict[tuple, list[_Message]] = defaultdict(list)
        self.unfinished: dict[_Message, None] = {}
        self.last_arrival_s: dict[tuple, float] = defaultdict(float)
        self.links: dict[tuple, list[float]] = {}
        self.due: list[tuple] = []
        self.even_s: dict[tuple, float] = {}
        self.groups: set[tuple[int, ...]] = set()
        self.ticket = count()

    def run(self):
        """Run all ranks until they wait; then start the earliest possible message, again and again.

        A started message lets some ranks continue. This order makes sure that no message starts
        before an earlier one that was not known yet.
        """
        for rank in self.ranks:
            self._go_on(rank)
        while self.due:
            _, _, happens, message = heapq.heappop(self.due)
            happens(message)
        if self.unfinished:
            raise _stuck(self.unfinished)

    def events(self):
        for rank in self.ranks:
            for entry in rank.log:
                yield entry if isinstance(entry, Event) else _message_event(rank.rank, *entry)

    def _go_on(self, rank):
        while rank.position < len(rank.ops):
            op = rank.ops[rank.position]
            if op.kind == "wait":
                message = self._waited_for(rank, op)
                if message.end_s is None:
                    message.waiting.append(rank)
                    return
                self._has_waited(rank, message)
            else:
                _DO[op.kind](self, rank, op)
            rank.position += 1

    def _waited_for(self, rank, op):
        if op.number not in rank.messages:
            raise LabError(
                "A rank waits for a message that it did not issue.",
                saw=f"rank {rank.rank}, message {op.number}",
                do="issue the message first, with this number",
            )
        return rank.messages[op.number]

    def _has_waited(self, rank, message):
        if message.end_s > rank.now_s:
            wait = Event(rank.rank, "wait", message.name, rank.now_s, message.end_s)
            rank.log.append(wait)
            rank.now_s = message.end_s

    def _compute(self, rank, op):
        start_s = rank.now_s
        even_s = self.even_s.get(op.costs)
        if even_s is None or not op.costs:
            even_s = self.even_s[op.costs] = self.hardware.compute_s(op.costs, op.cpu_s)
        rank.now_s += even_s * self.hardware.unevenness(rank.rank, rank.step)
        if rank.now_s > start_s:
            name = op.name or "compute"
            rank.log.append(
                Event(rank.rank, "compute", name, start_s, rank.now_s, phase=op.phase, line=op.line)
            )

    def _begin(self, rank, op):
        rank.step_start_s = rank.now_s

    def _step(self, rank, op):
        event = Event(rank.rank, "step", f"step {rank.step}", rank.step_start_s, rank.now_s)
        rank.log.append(event)
        rank.step += 1
        rank.step_start_s = rank.now_s

    def _mark(self, rank, op):
        rank.log.append(Event(rank.rank, "mark", op.name, rank.now_s, rank.now_s))

    def _issue(self, rank, op):
        if op.group not in self.groups:
            if not set(op.group) - {_ANYBODY} <= set(range(len(self.ranks))):
                raise _disagree(f"{_describe(rank.rank, op)}, of {len(self.ranks)} ranks")
            self.groups.add(op.group)
        side = {"send": self._send, "recv": self._receive}.get(op.name, self._join)
        message = side(rank, op)
        rank.messages[op.number] = message
        rank.log.append((message, op, rank.now_s))

    def _join(self, rank, op):
        """Add this rank's part to a collective. The last part makes the collective ready."""
        order = rank.orders[op.channel or op.group] = rank.orders[op.channel or op.group] + 1
        channel = (op.channel or op.group, op.order or order)
        message = self.collectives.setdefault(channel, _Message(op.name, op.group, channel))
        if (op.name, op.group) != (message.name, message.group) or rank.rank in message.issued:
            first, (_, other) = next(iter(message.issued.items()))
            raise _disagree(f"{_describe(first, other)}; {_describe(rank.rank, op)}")
        if rank.rank not in op.group:
            raise _disagree(_describe(rank.rank, op))
        message.issued[rank.rank] = rank.now_s, op
        self.unfinished[message] = None
        if len(message.issued) == len(message.group):
            self._when(message.ready_s, self._start, message)
        return message

    def _send(self, rank, op):
        message = _Message(op.name, op.group, (_mailbox(op), op.group[0]))
        message.issued[rank.rank] = rank.now_s, op
        self._when(rank.now_s, self._start, message)
        return message

    def _receive(self, rank, op):
        message = _Message(op.name, op.group, (_mailbox(op), op.group[0]))
        message.issued[rank.rank] = rank.now_s, op
        self.unfinished[message] = None
        self.wanted[_mailbox(op)].append(message)
        self._deliver(_mailbox(op))
        return message

    def _when(self, at_s, happens, message):
        # If several are due at the same moment, the first known comes first, so that the order
        # depends only on the programs.
        heapq.heappush(self.due, (at_s, next(self.ticket), happens, message))

    def _start(self, message):
        taken = list(self.hardware.links(message.name, message.group))
        start_s = message.ready_s
        for link, lanes, there in taken:
            start_s = max(start_s, self.links.setdefault(link, [0.0] * there)[lanes - 1])
        end_s = start_s + self.hardware.message_s(
            message.name, message.nbytes, message.group, start_s
        )
        for link, lanes, _ in taken:
            self.links[link][:lanes] = [end_s] * lanes
            self.links[link].sort()
        if message.name == "send":
            # Messages of one channel arrive in order, even over several adapters.
            end_s = self.last_arrival_s[message.channel] = max(
                end_s, self.last_arrival_s[message.channel]
            )
            self._when(end_s, self._arrive, message)
        self._end(message, end_s)

    def _arrive(self, send):
        self.arrived[send.channel[0]].append(send)
        self._deliver(send.channel[0])

    def _deliver(self, mailbox):
        """Give messages that have arrived to the recvs that wait, in order on both sides."""
        for want in list(self.wanted[mailbox]):
            source = want.group[0]
            fitting = (s for s in self.arrived[mailbox] if source in (_ANYBODY, s.group[0]))
            send = next(fitting, None)
            if send is not None:
                self.arrived[mailbox].remove(send)
                self.wanted[mailbox].remove(want)
                want.group = send.group
                self._end(want, max(send.end_s, want.ready_s))

    def _end(self, message, end_s):
        message.end_s = end_s
        self.unfinished.pop(message, None)
        for rank in message.waiting:
            self._go_on(rank)


_DO = {
    "compute": _Play._compute,
    "issue": _Play._issue,
    "begin": _Play._begin,
    "step": _Play._step,
    "mark": _Play._mark,
}


def _mailbox(op):
    """Return where a message arrives: its channel without the sender, and its receiver.

    A channel is "group:sender>receiver:tag".
    """
    parts = op.channel.rsplit(":", 2)
    return parts[0], parts[-1], op.group[1]


def _message_event(rank, message, op, issued_s):
    return Event(
        rank, "message", op.name, issued_s, message.end_s, op.nbytes, message.group, op.phase,
        op.line,
    )  # fmt: skip


def _describe(rank, op):
    place = f" ({op.line})" if op.line else ""
    return f"rank {rank} issues {op.name} for ranks {', '.join(map(str, op.group))}{place}"


def _disagree(saw):
    return LabError(
        "The ranks do not agree on a message.",
        saw=saw,
        do="make all ranks of a group issue the same messages of a channel in the same order",
    )


def _stuck(messages):
    lines = []
    for message in messages:
        rank, (_, op) = next(iter(message.issued.items()))
        missing = sorted(set(message.group) - set(message.issued) - {_ANYBODY})
        who = ", ".join(map(str, missing)) or "anybody"
        verb = "sends it" if message.name == "recv" else "joins"
        lines.append(f"{_describe(rank, op)}; {who} never {verb}")
    more = [f"and {len(lines) - _MOST_SHOWN} more"] if len(lines) > _MOST_SHOWN else []
    return LabError(
        "These programs never end, because a rank waits for a message that never comes.",
        saw="\n".join(lines[:_MOST_SHOWN] + more),
        do="give every message a counterpart on each of its ranks, in the same order",
    )
