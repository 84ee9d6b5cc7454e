"""Make the data files, `checksums.toml` and the checksums in the cards: `python datasets/make.py`.

For the developers of the kit. scikit-learn is needed; the kit itself only reads the files.
`stdlib-text` is the text of one Python version and can be remade from that version alone.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
import sysconfig
from pathlib import Path

from lablib.errors import LabError

FOLDER = Path(__file__).resolve().parent

PYTHON = "3.11.7"
# Each is the same text in 3.11.2 and 3.11.7, and under the licence of Python alone.
MODULES = """
_collections_abc bisect cmd copy csv difflib fractions functools graphlib heapq json/__init__
json/decoder json/encoder json/scanner numbers operator pickle pickletools pprint queue random
sched shelve statistics string textwrap
""".split()


def digits() -> bytes:
    from sklearn.datasets import load_digits

    data = load_digits()
    columns = [f"row{row}_column{column}" for row in range(8) for column in range(8)]
    return _csv(columns + ["digit"], data.data.astype(int).tolist(), data.target.tolist())


def cancer() -> bytes:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    columns = [name.replace(" ", "_") for name in data.feature_names]
    return _csv(columns + ["benign"], data.data.tolist(), data.target.tolist())


def stdlib_text() -> bytes:
    if platform.python_version() != PYTHON:
        raise LabError(
            "The text of another Python version is another data set.",
            saw=f"Python {platform.python_version()}",
            do=f"run datasets/make.py with Python {PYTHON}",
        )
    folder = Path(sysconfig.get_path("stdlib"))
    return b"".join((folder / f"{module}.py").read_bytes() for module in MODULES)


def _csv(columns, features, targets):
    rows = [",".join(columns)]
    samples = zip(features, targets, strict=True)
    rows += [",".join(map(repr, [*row, target])) for row, target in samples]
    return ("\n".join(rows) + "\n").encode()


MAKERS = {
    "cancer": ("cancer.csv", cancer),
    "digits": ("digits.csv", digits),
    "stdlib-text": ("stdlib-text.txt", stdlib_text),
}


def checksums() -> str:
    lines = ["# SHA-256 of each data file, verified at every load. Written by make.py.\n"]
    for name, (file, _) in MAKERS.items():
        lines += [f'[{name}]\nfile = "{file}"\nsha256 = "{_sha256(file)}"\n']
    return "\n".join(lines)


def stamp(name: str, file: str) -> None:
    """Write the file's checksum into its card, where a reader looks for it."""
    card = FOLDER / f"{name}.md"
    row = f"| SHA-256 | `{_sha256(file)}` |"
    card.write_text(re.sub(r"\| SHA-256 \|.*\|", row, card.read_text()))


def _sha256(file):
    return hashlib.sha256((FOLDER / file).read_bytes()).hexdigest()


def main() -> int:
    refused = 0
    for name, (file, maker) in MAKERS.items():
        try:
            (FOLDER / file).write_bytes(maker())
        except LabError as error:
            refused = 1
            print(f"{file} is left as it is. {error}", file=sys.stderr)
        stamp(name, file)
    (FOLDER / "checksums.toml").write_text(checksums())
    return refused


if __name__ == "__main__":
    sys.exit(main())
