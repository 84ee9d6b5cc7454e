"""Build a website from the executed notebooks, without solutions, and from docs/.

Sphinx with MyST-NB builds it (https://myst-nb.readthedocs.io). Its pages load nothing from the
network.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lablib.computer import processes
from lablib.computer.facts import ROOT
from lablib.course.release import lab_of, solutions
from lablib.errors import LabError
from lablib.progress_bars import bar

INDEX = "index.html"
_LONGEST_S = 600
_CONF = """
project = "Distributed AI training"
extensions = ["myst_nb"]
html_theme, html_title = "sphinx_book_theme", "Distributed AI training"
html_theme_options = {"show_toc_level": 2, "use_download_button": False,
                      "navbar_persistent": []}
html_show_copyright = html_show_sphinx = html_copy_source = False
nb_execution_mode, nb_merge_streams = "off", True
nb_mime_priority_overrides = [("html", "text/html", 0)]
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type", "misc.highlighting_failure"]
"""
_HOME = """# Distributed AI training

These labs start real clusters on your own computer, in PyTorch and in TensorFlow. The pages here
are for reading: all figures and numbers come from one computer. To run the labs, type `make lab`.

```{{toctree}}
:caption: Labs
:maxdepth: 1

{labs}
```

```{{toctree}}
:caption: Documentation
:maxdepth: 1

{pages}
```
"""


def build(out: Path, root: Path = ROOT) -> Path:
    """Write the site to the folder `out`, completely or not at all; return its first page.

    Raises LabError if there are no solutions, if `out` contains other files, or if Sphinx cannot
    build the site.
    """
    out = out.resolve()
    if out.exists() and any(out.iterdir()) and not (out / INDEX).exists():
        raise LabError(
            "The folder contains other files.", saw=str(out), do="choose an empty or a new folder"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".site-", dir=out.parent) as spare:
        source, made = Path(spare) / "source", Path(spare) / "made"
        _write_source(source, root)
        _run_sphinx(source, made)
        if out.exists():
            shutil.rmtree(out)
        made.rename(out)
    return out / INDEX


def read_lab(notebook: dict, name: str) -> dict:
    """Return the learner's notebook with the outputs of the instructor's."""
    lab = lab_of(notebook, name)
    for cell, ran in zip(lab["cells"], notebook["cells"], strict=True):
        if "outputs" in ran:
            cell["outputs"] = ran["outputs"]
            cell["execution_count"] = ran["execution_count"]
    return lab


def _write_source(source, root):
    source.mkdir()
    (source / "conf.py").write_text(_CONF)
    notebooks = solutions(root)
    for name, text in notebooks.items():
        (source / name).write_text(json.dumps(read_lab(json.loads(text), name)))
    if (root / "labs" / "img").exists():
        shutil.copytree(root / "labs" / "img", source / "img")
    pages = sorted(path.name for path in (root / "docs").glob("*.md"))
    for name in pages:
        shutil.copy(root / "docs" / name, source)
    labs, pages = ("\n".join(Path(n).stem for n in names) for names in (notebooks, pages))
    (source / "index.md").write_text(_HOME.format(labs=labs, pages=pages))


def _run_sphinx(source, made):
    command = [sys.executable, "-P", "-m", "sphinx", "-q", "-b", "html"]
    command += ["-d", str(source / ".doctrees")]
    with bar("building the site") as shown:
        done = subprocess.Popen(
            [*command, str(source), str(made)], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env=processes.environment(),
        )  # fmt: skip
        try:
            told, _ = done.communicate(timeout=_LONGEST_S)
        finally:
            done.kill()
        shown.refresh()
    if done.returncode or not (made / INDEX).exists():
        do = "install the missing packages: make environment"
        raise LabError("Sphinx cannot build the site.", saw=told[-1500:].strip(), do=do)
    if told.strip():
        print(told.strip(), file=sys.stderr)
