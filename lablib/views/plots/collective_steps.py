"""Draw a collective step by step: the values on each rank, and the messages between ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lablib.errors import LabError
from lablib.record.event import Event
from lablib.record.trace import Trace
from lablib.units import show_bytes
from lablib.views import palette
from lablib.views.plots.message_rounds import rounds

if TYPE_CHECKING:
    from lablib.views.picture import Picture

# Inches: width of the figure, of the ranks' names, of the space for arrows.
_WIDTH = 9.0
_LEFT = 0.72
_GAP = 1.05
_NARROWEST = 6.0
_CELL, _LETTER = 0.30, 0.088  # inches: least width of a chunk, width of a letter
_ROW, _HEAD = 0.40, 0.52
_MOST_RANKS = 8
_MOST_TOLD = 40


def collective(
    buffers: Sequence[Sequence[Sequence]], trace: Trace | None = None, title: str = "A collective"
) -> Picture:
    """Draw what each rank holds at each moment, and the messages in between.

    buffers   [rank][moment] -> the chunks that this rank holds then: numbers, words, or None for
              nothing. A chunk of several equal numbers is shown as one. Use, for example, the
              `run.values` of a function that returns its buffer before the first step and after
              each step
    trace     the trace of the same run: its messages are drawn as arrows. It must have one round of
              messages for each moment after the first (see `message_rounds.py`; mark each round
              with `with me.step():`). The messages inside a framework's own collective cannot be
              observed, so it is drawn as a bar with its name

    Chunks that a step has changed are filled and bold. The values are always measured, because real
    processes have computed them. At most 8 ranks can be drawn. Raises LabError if the numbers of
    moments, ranks and rounds do not match.
    """
    from lablib.views.picture import blank, drawing

    states = _states(buffers)
    between = _between(states, trace)
    plan = _plan(states)
    clock = trace.clock if trace is not None else "measured"
    said = "measured" if clock == "measured" else "values measured, messages modelled"
    title = f"{title} ({said})"
    with drawing():
        picture = blank(plan.width, plan.height + 0.75)
        axes = picture.subplots()
        for band, moments in enumerate(plan.bands):
            _draw_band(axes, plan, band, moments, states, between)
        axes.set_xlim(0, plan.width - 0.1)
        axes.set_ylim(plan.height, 0)
        axes.set(xticks=[], yticks=[])
        axes.set_frame_on(False)
        axes.set_title(title, loc="left")
        handles = _handles(axes, states, between)
        picture.legend(handles.values(), handles, loc="outside lower center", ncols=4)
    picture.alt = f"{title}. {_alt_text(states, between)}"
    return picture


class _Plan(NamedTuple):
    """Positions in inches: bands below one another, each with some of the moments."""

    bands: list[range]
    cell: float
    chunks: int
    ranks: int

    @property
    def band_height(self):
        return _HEAD + self.ranks * _ROW + 0.12

    @property
    def width(self):
        moments = max(map(len, self.bands))
        return max(_NARROWEST, self.left(moments) - _GAP + 0.3)

    @property
    def height(self):
        return len(self.bands) * self.band_height

    def left(self, place):
        return _LEFT + place * (self.chunks * self.cell + _GAP)

    def row(self, band, rank):
        """Return the middle of a rank's row."""
        return band * self.band_height + _HEAD + (rank + 0.5) * _ROW


def _states(buffers):
    """Return [moment][rank]: the chunks in words; raise LabError if they cannot be drawn."""
    ranks = len(buffers)
    lengths = {len(moments) for moments in buffers}
    if not 1 <= ranks <= _MOST_RANKS or len(lengths) != 1 or not min(lengths):
        raise LabError(
            "These buffers cannot be drawn.",
            saw=f"{ranks} ranks, with {sorted(lengths)} moments",
            do=f"pass [rank][moment] for 1 to {_MOST_RANKS} ranks with the same number of moments",
        )
    at_each_moment = zip(*buffers)
    return [[list(map(_words, chunks)) for chunks in of_ranks] for of_ranks in at_each_moment]


def _words(chunk):
    if chunk is None:
        return ""
    if isinstance(chunk, str):
        return chunk
    values = chunk.reshape(-1).tolist() if hasattr(chunk, "reshape") else chunk
    values = values if isinstance(values, (list, tuple)) else [values]
    return " ".join(dict.fromkeys(f"{value:.4g}" for value in values))


def _between(states, trace):
    """Return the messages of each gap between moments; empty lists without a trace."""
    gaps = len(states) - 1
    if trace is None:
        return [[] for _ in range(gaps)]
    found = rounds(trace)
    if len(found) != gaps:
        raise LabError(
            "The numbers of buffers and of messages do not match.",
            saw=f"{len(states)} moments, {len(found)} rounds of messages",
            do="return the buffer once before the first round and once after each, and mark each "
            "round with `with me.step():`",
        )
    return found


def _plan(states):
    chunks = max(len(held) for state in states for held in state)
    letters = max(len(words) for state in states for held in state for words in held)
    cell = max(_CELL, 0.1 + _LETTER * letters)
    a_band = int((_WIDTH - _LEFT - 0.1 + _GAP) / (chunks * cell + _GAP))
    if a_band < 2 and len(states) > 1 or chunks * cell > _WIDTH - _LEFT:
        raise LabError(
            "These buffers are too wide to be drawn.",
            saw=f"{chunks} chunks of up to {letters} characters",
            do="use fewer chunks, or smaller numbers",
        )
    last = len(states) - 1
    # A band begins with the last moment of the band above it.
    starts = range(0, max(last, 1), max(1, a_band - 1))
    bands = [range(start, min(start + a_band, last + 1)) for start in starts]
    return _Plan(bands, cell, chunks, len(states[0]))


def _draw_band(axes, plan, band, moments, states, between):
    top = band * plan.band_height
    for rank in range(plan.ranks):
        axes.text(0, plan.row(band, rank), f"rank {rank}", size=9, va="center")
    for place, at in enumerate(moments):
        before = states[at - 1] if at else states[at]
        middle = plan.left(place) + plan.chunks * plan.cell / 2
        words = f"after step {at}" if at else "before"
        axes.text(middle, top + _HEAD - 0.1, words, size=9, ha="center", va="bottom")
        for rank, held in enumerate(states[at]):
            y = plan.row(band, rank)
            for number, chunk in enumerate(held):
                was = before[rank][number] if number < len(before[rank]) else ""
                x = plan.left(place) + number * plan.cell
                _draw_chunk(axes, x, y, plan.cell, chunk, changed=chunk != was)
        if at + 1 in moments:
            _draw_messages(axes, plan, band, place, between[at])


def _draw_chunk(axes, x, y, width, words, changed):
    from matplotlib.patches import Rectangle

    from lablib.views.picture import plain

    box = Rectangle(
        (x, y - 0.32 * _ROW),
        width,
        0.64 * _ROW,
        facecolor=palette.CHANGED.color if changed else palette.PAPER,
        edgecolor=palette.TEXT if words else palette.FAINT,
        linewidth=1.4 if changed else 0.8,
        linestyle="-" if words else ":",
    )
    axes.add_patch(box)
    if words:
        axes.text(x + width / 2, y, plain(words).strip(), size=9, ha="center", va="center",
                  weight="bold" if changed else "normal")  # fmt: skip


def _draw_messages(axes, plan, band, place, messages: list[Event]):
    left = plan.left(place) + plan.chunks * plan.cell + 0.07
    right = plan.left(place + 1) - 0.07
    if not messages:
        return
    note = _note(messages)
    axes.text((left + right) / 2, band * plan.band_height + _HEAD - 0.28, note, size=9,
              ha="center", va="bottom", linespacing=1.0)  # fmt: skip
    for group in sorted({event.group for event in messages if event.name != "send"}):
        rows = [plan.row(band, rank) for rank in group if rank < plan.ranks]
        _draw_collective(axes, (left + right) / 2, rows, left, right)
    for event in messages:
        if event.name == "send":
            source, to = (plan.row(band, rank) for rank in event.group)
            look = {"arrowstyle": "-|>", "color": palette.TEXT, "lw": 1.1, "shrinkA": 0,
                    "shrinkB": 0, "mutation_scale": 9}  # fmt: skip
            axes.annotate("", (right, to), (left, source), arrowprops=look)


def _draw_collective(axes, middle, rows, left, right):
    """Draw a bar that all ranks of the group enter and leave, because its inside is unknown."""
    from matplotlib.patches import Rectangle

    top = min(rows) - 0.3 * _ROW
    bottom = max(rows) + 0.3 * _ROW
    ink = palette.COMMUNICATION
    axes.add_patch(Rectangle((middle - 0.13, top), 0.26, bottom - top, facecolor=ink.color,
                             hatch=ink.hatch, edgecolor=palette.TEXT, linewidth=0.8))  # fmt: skip
    look = {"arrowstyle": "-|>", "color": palette.TEXT, "lw": 1.1, "shrinkA": 0, "shrinkB": 0,
            "mutation_scale": 9}  # fmt: skip
    for row in rows:
        axes.annotate("", (middle - 0.13, row), (left, row), arrowprops=look)
        axes.annotate("", (right, row), (middle + 0.13, row), arrowprops=look)


def _note(messages):
    """Describe the messages in two short lines."""
    names = Counter(event.name for event in messages)
    sizes = sorted({event.nbytes for event in messages})
    size = show_bytes(sizes[-1]) if len(sizes) == 1 else f"≤ {show_bytes(sizes[-1])}"
    if set(names) == {"send"}:
        return f"{names['send']} × {size}"
    return f"{', '.join(sorted(names))}\n{size} a rank"


def _handles(axes, states, between):
    from matplotlib.patches import Patch

    changed = Patch(facecolor=palette.CHANGED.color, edgecolor=palette.TEXT, linewidth=1.4)
    handles = {palette.CHANGED.label: changed}
    if any(not words for state in states for held in state for words in held):
        handles["nothing"] = Patch(facecolor=palette.PAPER, edgecolor=palette.FAINT, linestyle=":")
    if any(event.name == "send" for messages in between for event in messages):
        (arrow,) = axes.plot([], [], color=palette.TEXT, marker=">", linewidth=1.1)
        handles["message"] = arrow
    if any(event.name != "send" for messages in between for event in messages):
        ink = palette.COMMUNICATION
        handles["a framework's collective"] = Patch(
            facecolor=ink.color, hatch=ink.hatch, edgecolor=palette.TEXT
        )
    return handles


def _alt_text(states, between):
    lines = []
    for at, state in enumerate(states):
        held = "; ".join(
            f"rank {rank} holds {', '.join(words or 'nothing' for words in chunks)}"
            for rank, chunks in enumerate(state)
        )
        lines.append(f"{f'After step {at}' if at else 'Before'}: {held}.")
        if at < len(between) and between[at]:
            lines.append(_describe_messages(between[at]))
    more = len(lines) - _MOST_TOLD
    return " ".join(lines[:_MOST_TOLD]) + (f" And {more} more." if more > 0 else "")


def _describe_messages(messages):
    sends = [f"{event.group[0]} to {event.group[1]}" for event in messages if event.name == "send"]
    others = sorted({event.name for event in messages if event.name != "send"})
    parts = [f"Messages from rank {', '.join(sends)}"] if sends else []
    return f"{'; '.join(parts + others)}, {_note(messages).splitlines()[-1]}."
