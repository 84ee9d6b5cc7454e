"""`python -m lablib release --package out.zip`: write the archive that a class gets.

It has the labs, the library, the data and the files that make the environment, but no solution, no
hidden case and no test. Equal sources give equal bytes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from lablib.computer.facts import ROOT
from lablib.course import leaks, release
from lablib.errors import LabError
from lablib.files import write_completely

# Only these: if a file is forgotten here, learners miss it, but no secret gets out.
_PARTS = (
    "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "pyproject.toml", "constraints.txt",
    "environment.yml", "setup_env.py", "datasets", "docs", "lablib", "labs",
)  # fmt: skip
_NOT = ("__pycache__", ".ipynb_checkpoints")
_TOP = "lab"
_ALWAYS = (2020, 1, 1, 0, 0, 0)


def package(out: Path, root: Path = ROOT) -> list[str]:
    """Write the zip and return the names of its files.

    Raises LabError, and writes nothing, if labs/ is out of date, a file contains an answer, or
    `out` is a file of another kind.
    """
    if out.exists() and not zipfile.is_zipfile(out):
        do = "name a new file, such as class.zip"
        raise LabError("The package replaces only a zip archive.", saw=str(out), do=do)
    handed_out = list(files(root))
    found = release.complaints(root)
    if found:
        do = "run python -m lablib release and read its output"
        raise LabError("labs/ is not ready for learners.", saw="\n".join(found[:5]), do=do)
    answers = leaks.leaks(root, handed_out)
    if answers:
        do = "move code that answers an exercise to solutions/strategies"
        raise LabError(
            "The package would give learners answers.", saw="\n".join(answers[:5]), do=do
        )
    written = io.BytesIO()
    names = []
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in handed_out:
            name = f"{_TOP}/{path.relative_to(root).as_posix()}"
            entry = zipfile.ZipInfo(name, _ALWAYS)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if path.stat().st_mode & 0o100 else 0o644) << 16
            archive.writestr(entry, path.read_bytes())
            names.append(name)
    write_completely(out, written.getvalue())
    return names


def files(root: Path) -> Iterator[Path]:
    """Yield the files for learners, in order."""
    for part in _PARTS:
        path = root / part
        if path.is_file():
            yield path
        for inner in sorted(path.rglob("*")):
            steps = inner.relative_to(root).parts
            if inner.is_file() and not inner.is_symlink() and not any(map(_is_left_out, steps)):
                yield inner


def _is_left_out(step):
    """True for a folder or file that learners do not need. `.github` is in lab 06's project."""
    return step in _NOT or (step.startswith(".") and step != ".github")
