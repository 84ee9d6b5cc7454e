"""The first page of `make lab`: all labs with their times, and the learner's progress.

`jupyter_extension.py` serves it. It is made for each visit, so it is always up to date.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

from lablib.grading.results.html_page import page, text
from lablib.teach.progress import Progress, progress

_TIME = re.compile(r"\*\*(?:It takes|Time)\*\*\W*((?:[^,.;(\n]|\n(?!\n))+)")
_INTRODUCTION = """<p>Choose a lab. To see your progress, come back to this page or load it again:
its address is {address}.</p>"""


def course_page(root: Path, address: str, base_url: str = "/") -> str:
    """Return the page as HTML.

    root       the folder of the kit, which contains labs/ and my_labs/
    address    where the page is served, for the learner
    base_url   the path below which the Jupyter server has its pages
    """
    done = progress()
    labs = [path for path in sorted((root / "labs").glob("*.ipynb"))
            if (root / "my_labs" / path.name).exists()]  # fmt: skip
    body = [
        _INTRODUCTION.format(address=text(address)),
        "<table><tr><th>Lab</th><th>Time</th><th class='n'>Points</th><th></th></tr>",
        *(_row(path, done, base_url) for path in labs),
        "</table><h2>Your predictions</h2>",
        _predictions(done),
    ]
    return page("Distributed AI training", "\n".join(body))


def stated_time(notebook: dict) -> str:
    """Return the time that a lab states in its first cells, such as "about 2 hours"; or "".

    >>> cell = {"source": ["**It takes** about 2 hours, of which\\n", "the computer works less."]}
    >>> stated_time({"cells": [cell]})
    'about 2 hours'
    """
    found = _TIME.search("\n\n".join("".join(cell["source"]) for cell in notebook["cells"][:4]))
    return " ".join(found[1].split()) if found else ""


def _row(path, done: Progress, base_url):
    notebook = json.loads(path.read_text("utf-8"))
    title = "".join(notebook["cells"][0]["source"]).partition("\n")[0].lstrip("# ")
    points, of = done.points_of(int(path.name[:2]))
    link = f"{base_url}lab/tree/{quote(path.name)}"
    bar = f"<progress max='{of:g}' value='{points:g}'>{points:g}</progress>" if of else ""
    return (
        f"<tr><td><a href='{text(link)}'>{text(title)}</a></td><td>{text(stated_time(notebook))}"
        f"</td><td class='n'>{points:g} of {of:g}</td><td>{bar}</td></tr>"
    )


def _predictions(done: Progress):
    rows = [f"<tr><td>{text(topic)}</td><td>{text(state)}</td></tr>"
            for topic, state in done.guesses_by_topic()]  # fmt: skip
    if not rows:
        return "<p>You have made no predictions yet.</p>"
    head = "<tr><th>Topic</th><th>Within a quarter of the result</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"
