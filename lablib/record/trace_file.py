"""Read and write traces as JSON files: one row for each event, compressed if the name ends in .gz.

A trace may come from an untrusted source, so its size is limited and every value is checked.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from lablib.errors import LabError
from lablib.files import write_completely
from lablib.record.event import CLOCKS, KINDS, PHASES, Event

VERSION = 1
MOST_BYTES = 64 * 2**20  # of uncompressed text; about half a million events
MOST_RANKS = 2**16


class _Wrong(Exception):
    """The reason why a file is not a trace."""


def save(events: Sequence[Event], clock: str, ranks: int, path: str | os.PathLike) -> Path:
    """Write the events; raise LabError if they are too many to be read, or cannot be written."""
    names = [field.name for field in fields(Event)]
    head = {"lablib_trace": VERSION, "clock": clock, "ranks": int(ranks), "fields": names}
    text = json.dumps(head | {"events": [_row(event) for event in events]}, allow_nan=False)
    if len(text) > MOST_BYTES:
        raise LabError(
            "This trace is too large for one file.",
            saw=f"{len(events)} events, {len(text)} bytes; a file can have at most {MOST_BYTES}",
            do="save a part of it, for example trace[:100_000]",
        )
    return write_compressed(path, text)


def load(path: str | os.PathLike) -> tuple[list[Event], str, int]:
    """Return events, clock and number of ranks; raise LabError with the path and what is wrong."""
    try:
        content = _parse(_read(path))
        events = [_event(row, number) for number, row in enumerate(content["events"])]
        if any(event.rank >= content["ranks"] for event in events):
            raise _Wrong(f"an event is of a rank that {content['ranks']} ranks do not have")
        return events, content["clock"], content["ranks"]
    except _Wrong as wrong:
        raise LabError(
            "This file is not a trace.",
            saw=f"{path}: {wrong}",
            do="give a file that trace.save(path) wrote; "
            "an export for Perfetto cannot be read back",
        ) from None
    except OSError as error:
        raise LabError(
            "This trace cannot be read.",
            saw=f"{path}: {error.strerror or error}",
            do="check the path and whether you may read it",
        ) from error


def write_compressed(path: str | os.PathLike, text: str) -> Path:
    """Write text completely or not at all, compressed if the name ends in .gz."""
    data = text.encode()
    # Without a time stamp, equal traces give equal files.
    return write_completely(path, gzip.compress(data, 6, mtime=0) if _is_gz(path) else data)


def _is_gz(path):
    return Path(path).suffix == ".gz"


def _row(event):
    return [
        int(event.rank),
        event.kind,
        event.name,
        float(event.start_s),
        float(event.end_s),
        int(event.nbytes),
        [int(rank) for rank in event.group],
        event.phase,
        event.line,
        bool(event.derived),
    ]


def _read(path):
    with open(path, "rb") as file:
        packed = file.peek(2)[:2] == b"\x1f\x8b"
        try:
            data = (gzip.GzipFile(fileobj=file) if packed else file).read(MOST_BYTES + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise _Wrong(f"the compressed data are damaged ({error})") from None
    if len(data) > MOST_BYTES:
        raise _Wrong(f"it holds more than {MOST_BYTES} bytes")
    return data


def _parse(data):
    try:
        content = json.loads(data.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _Wrong(f"not JSON ({str(error)[:80]})") from None
    if not isinstance(content, dict) or "lablib_trace" not in content:
        raise _Wrong("the field lablib_trace is missing")
    if content["lablib_trace"] != VERSION:
        found = repr(content["lablib_trace"])[:40]
        raise _Wrong(f"version {found}, and this lablib reads version {VERSION}")
    if content.get("clock") not in CLOCKS:
        raise _Wrong(f"clock is {content.get('clock')!r:.40}, neither measured nor modelled")
    if not _is_whole(content.get("ranks"), MOST_RANKS):
        raise _Wrong(f"ranks is {content.get('ranks')!r:.40}, not a whole number from 0")
    if not isinstance(content.get("events"), list):
        raise _Wrong("events is not a list")
    return content


def _no_constant(name):
    raise ValueError(f"{name} is not a number that JSON knows")


def _is_whole(value, below):
    return type(value) is int and 0 <= value < below


def _is_seconds(value):
    return type(value) in (int, float) and math.isfinite(value)


def _is_text(value):
    return type(value) is str and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_group(value):
    return type(value) is list and all(_is_whole(rank, MOST_RANKS) for rank in value)


# In the order of Event's fields.
_EXPECTED = {
    "rank": (lambda value: _is_whole(value, MOST_RANKS), "a whole number from 0"),
    "kind": (lambda value: value in KINDS, f"one of {', '.join(KINDS)}"),
    "name": (_is_text, "text"),
    "start_s": (_is_seconds, "a finite number"),
    "end_s": (_is_seconds, "a finite number"),
    "nbytes": (lambda value: _is_whole(value, 2**63), "a whole number from 0"),
    "group": (_is_group, "a list of ranks"),
    "phase": (lambda value: value in PHASES, f"one of {', '.join(PHASES)}"),
    "line": (_is_text, "text"),
    "derived": (lambda value: type(value) is bool, "true or false"),
}


def _event(row, number):
    if type(row) is not list or len(row) != len(_EXPECTED):
        raise _Wrong(f"event {number} is not a list of {len(_EXPECTED)} values")
    values = dict(zip(_EXPECTED, row, strict=True))
    for field, (is_right, expected) in _EXPECTED.items():
        if not is_right(values[field]):
            raise _Wrong(f"event {number}: {field} is {values[field]!r:.60}, not {expected}")
    if values["end_s"] < values["start_s"]:
        raise _Wrong(f"event {number} ends before it starts")
    return Event(**values | {"group": tuple(values["group"])})
