"""Points and comments that the instructor gives by hand. Grading again does not change them.

As YAML                                     or as CSV

    jane:                                   id,exercise,points,comment
      comment: See me after class.          jane,,,See me after class.
      "3.2": {points: 3, comment: Nice.}    jane,3.2,3,Nice.
      "3.w1": {points: 2}                   jane,3.w1,2,
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lablib.errors import LabError
from lablib.grading.intake.submission_names import composed
from lablib.grading.results.spreadsheet import csv_text, plain

_COLUMNS = ["id", "exercise", "points", "comment"]
_FORM = "write the columns id, exercise, points, comment; points for an exercise only"


@dataclass(frozen=True)
class Override:
    """Points or a comment by hand.

    exercise   "" for the whole submission, which can only have a comment
    points     None: the points stay as graded
    """

    id: str
    exercise: str = ""
    points: float | None = None
    comment: str = ""


def read(
    path: Path,
    ids: Iterable[str],
    exercises: Iterable[str],
    questions: Mapping[str, float] = MappingProxyType({}),
) -> list[Override]:
    """Read the file; ignore rows with neither points nor a comment.

    exercises   the numbers of the exercises, which can get any number of points
    questions   by number, the most points that a written question can get

    Raises LabError for ids, exercises or points that are not valid.
    """
    found, known = [], set(ids)
    most = dict.fromkeys(exercises, math.inf) | dict(questions)
    for row in rows(path):
        if row["points"] or row["comment"]:
            row["id"] = composed(row["id"])
            found.append(_override(path, row, known, most))
    return found


def rows(path: Path) -> list[dict[str, str]]:
    """Return the file's rows as text, by column."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # a comment's line ends stay as they are
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, str(error)) from None
    if path.suffix.lower() in (".yaml", ".yml"):
        return list(_yaml_rows(path, text))
    # Where numbers have a decimal comma, spreadsheets separate the columns by semicolons.
    separator = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    if not {"id", "points"} <= set(reader.fieldnames or ()):
        raise _wrong(path, f"the columns are {reader.fieldnames}")
    return [{key: plain((row.get(key) or "").strip()) for key in _COLUMNS} for row in reader]


def text_of(overrides: Iterable[Override]) -> str:
    """Return the same as CSV that is safe to open in a spreadsheet: see `spreadsheet`."""
    return csv_text(_COLUMNS, (
        [one.id, one.exercise, "" if one.points is None else one.points, one.comment]
        for one in overrides
    ))  # fmt: skip


def loaded_yaml(path: Path, text: str) -> dict:
    """Read a YAML file that is a dictionary. Raises LabError."""
    import yaml

    try:
        found = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise _wrong(path, " ".join(str(error).split())) from None
    if not isinstance(found, dict):
        raise _wrong(path, f"the file contains a {type(found).__name__}, not a dictionary")
    return found


def _yaml_rows(path, text):
    for identity, entries in loaded_yaml(path, text).items():
        if not isinstance(entries, dict):
            raise _wrong(path, f"{identity}: {entries!r}")
        for key, entry in entries.items():
            if key == "comment":
                yield dict(id=str(identity), exercise="", points="", comment=str(entry).strip())
                continue
            entry = entry if isinstance(entry, dict) else {"points": entry}
            points, comment = (str(entry.get(part, "")).strip() for part in ("points", "comment"))
            yield dict(id=str(identity), exercise=str(key), points=points, comment=comment)


def _override(path, row, ids, most):
    if row["id"] not in ids:
        raise _wrong(path, f"there is no submission of {row['id']!r}")
    if row["exercise"] and row["exercise"] not in most:
        raise _wrong(path, f"{row['id']}: there is no exercise {row['exercise']!r}")
    try:
        points = float(row["points"].replace(",", ".")) if row["points"] else None
    except ValueError:
        points = math.nan
    if points is not None and not (math.isfinite(points) and points >= 0 and row["exercise"]):
        raise _wrong(path, f"{row['id']}, {row['exercise'] or 'no exercise'}: {row['points']}")
    if points is not None and points > most[row["exercise"]]:
        raise _wrong(
            path,
            f"{row['id']}, {row['exercise']}: {points:g} points",
            f"give at most {most[row['exercise']]:g} points for {row['exercise']}",
        )
    return Override(row["id"], row["exercise"], points, row["comment"])


def _wrong(path, saw, do=_FORM):
    return LabError("The file with overrides is not valid.", saw=f"{path}: {saw}", do=do)
