"""How many points a late submission loses. The instructor's rule is a YAML file:

due: 2026-03-01 23:59
grace_minutes: 15
lost_per_day: 0.1          # of the points, for each day that has begun
most_lost: 0.5
handed_in:                 # if the file's name or time is wrong
  jane: 2026-03-02 10:00
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from lablib.errors import LabError, is_whole
from lablib.grading.intake.submission_names import composed
from lablib.grading.intake.submissions import Submission
from lablib.grading.results.overrides import loaded_yaml

_KEYS = {"due", "grace_minutes", "lost_per_day", "most_lost", "handed_in"}


@dataclass(frozen=True)
class Lateness:
    """How late a submission is and what it loses of its points, 0 to 1."""

    days: int = 0
    lost: float = 0.0

    def __str__(self):
        if not self.days:
            return ""
        return f"{self.days} day{'s' * (self.days > 1)} late: -{self.lost:.0%}"


@dataclass(frozen=True)
class Policy:
    """`grace_minutes` after `due` a day begins, for which `lost_per_day` is lost."""

    due: datetime
    grace_minutes: float = 0
    lost_per_day: float = 0.1
    most_lost: float = 1.0
    handed_in: dict[str, datetime] = field(default_factory=dict)

    def of(self, submission: Submission) -> Lateness:
        """Return the lateness; without a time, a platform's mark counts as one day."""
        when = self.handed_in.get(submission.id) or submission.when
        over = (when - self.due - timedelta(minutes=self.grace_minutes)) if when else timedelta(0)
        days = max(0, math.ceil(over / timedelta(days=1))) or int(submission.late)
        return Lateness(days, min(self.most_lost, days * self.lost_per_day))


def read(path: Path, ids: Iterable[str]) -> Policy:
    """Read the policy in the file. Raises LabError if it is not valid."""
    try:
        entries = loaded_yaml(path, path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, str(error)) from None
    unknown = sorted(map(str, set(entries) - _KEYS))
    if unknown or "due" not in entries:
        raise _wrong(path, f"unknown: {', '.join(unknown)}" if unknown else "due is missing")
    times = {composed(str(key)): when for key, when in (entries.get("handed_in") or {}).items()}
    strangers = sorted(set(times) - set(ids))
    if strangers:
        raise _wrong(path, f"handed_in: there is no submission of {', '.join(strangers)}")
    known = {identity: _time(path, when) for identity, when in times.items()}
    numbers = {
        k: entries[k] for k in ("grace_minutes", "lost_per_day", "most_lost") if k in entries
    }
    for key, number in numbers.items():
        real = is_whole(number) or isinstance(number, float)
        if not real or not 0 <= number < math.inf or (key != "grace_minutes" and number > 1):
            raise _wrong(path, f"{key}: {number!r}")
    return Policy(_time(path, entries["due"]), **numbers, handed_in=known)


def _time(path, value):
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, 23, 59, 59)
    if not isinstance(value, datetime):
        raise _wrong(path, f"{value!r} is not a time")
    # File times are in local time, so convert all other times to local time.
    return value.astimezone().replace(tzinfo=None) if value.tzinfo else value


def _wrong(path, saw):
    return LabError(
        "The file with the rule for late submissions is not valid.",
        saw=f"{path}: {saw}",
        do="write due: 2026-03-01 23:59; optional are grace_minutes, lost_per_day, most_lost "
        "(0 to 1) and handed_in",
    )
