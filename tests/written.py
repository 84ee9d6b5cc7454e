"""Written questions for tests: one for the instructor, one that learners assess themselves."""

from __future__ import annotations

from pathlib import Path

ANSWER = "The gate passed, because nobody had told it what the server would get <b>."
MODEL = "The gate fed scaled data & so it was content."
FILE = f'''
["9.w1"]
title = "Post-mortem <i>"
reader = "instructor"
question = """
What went wrong & why?

Name the first wrong step."""
points = 4
rubric = [{{points = 1, text = "Names the step <b>"}}, {{points = 3, text = "Says why"}}]

["9.w2"]
title = "Trade-off"
reader = "yourself"
question = "Which would you choose?"
rubric = [{{text = "Names a cost"}}, {{text = "Names a gain"}}, {{points = 2, text = "Decides"}}]
answer = "{MODEL}"
'''


def plant(checks: Path, lab: str = "09") -> Path:
    """Write the questions for lab 09 into a folder of checks; return their file."""
    checks.mkdir(parents=True, exist_ok=True)
    path = checks / f"{lab}_written.toml"
    path.write_text(FILE)
    return path
