"""Store results by content, so that grading can continue where it stopped.

A result depends only on the notebook's cells, the kit, the cases, the seed and the kind of sandbox.
It is stored under a digest of these, so a change to any of them leads to a new result.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path

from lablib.files import ROOT, write_completely
from lablib.grading.intake.safe_reading import Reading
from lablib.grading.trial.grade_exercise import Graded
from lablib.teach.exercise import Exercise

_KIT = ROOT / "lablib"


class Kept:
    """The results in `folder`, each in a file that is written completely or not at all.

    conditions   the other things that results depend on, such as the seed and the tier
    """

    def __init__(self, folder: Path, *conditions: object):
        self.folder, self.conditions = folder, conditions

    def key(self, exercise: Exercise, found: Reading) -> str:
        """Return the key of the result of this notebook's answers.

        It depends on all cells, because any cell may change what an answer does.
        """
        answers = [answer.plain() for answer in found.answers[exercise.number]]
        parts = [self._kit, *self.conditions, exercise.number, answers, found.program]
        parts += [digest(path.read_bytes()) for path in (exercise.path, exercise.hidden_path)]
        return digest(json.dumps(parts, sort_keys=True).encode())[:32]

    def load(self, key: str) -> Graded | None:
        """Return the result; None if there is none, or it cannot be read."""
        try:
            return Graded.of_plain(json.loads((self.folder / f"{key}.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def save(self, key: str, graded: Graded) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(graded.plain(), indent=1, sort_keys=True)
        write_completely(self.folder / f"{key}.json", text)

    @cached_property
    def _kit(self):
        paths = (path for path in sorted(_KIT.rglob("*")) if path.suffix in (".py", ".toml"))
        return digest(b"".join(path.read_bytes() for path in paths))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
