"""Make the data files, `checksums.toml` and the checksums in the cards: `python datasets/make.py`.

For the developers of the kit. scikit-learn is needed; the kit itself only reads the files.
`stdlib-text` is the text of one Python version and can be remade from that version alone.
`actg175` is read from one version of the package lifelines. The tables are written by hand.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import platform
import re
import sys
import sysconfig
from collections.abc import Iterable
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

LIFELINES = "0.30.3"
# The features of actg175, by the names of their columns in the package.
FEATURES = {
    "age": "age",
    "gender": "gender",
    "race": "race",
    "weight": "wtkg",
    "karnofsky": "karnof",
    "symptoms": "symptom",
    "therapy_days": "preanti",
    "zidovudine_before": "z30",
    "cd4": "cd40",
    "cd8": "cd80",
}
# Which arms of the trial (0 to 3) gave the drug.
ARMS = {"zidovudine": "012", "didanosine": "13", "zalcitabine": "2"}
LOW_CD4 = 350  # cells per cubic millimetre


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


def actg175() -> bytes:
    """Read the trial's table from the installed package, without importing the package."""
    try:
        package = importlib.metadata.distribution("lifelines")
        installed = package.version
    except importlib.metadata.PackageNotFoundError:
        installed = "none"
    if installed != LIFELINES:
        raise LabError(
            "actg175 is made from one version of the package lifelines.",
            saw=f"installed: {installed}",
            do=f"pip install --no-deps lifelines=={LIFELINES}",
        )
    file = package.locate_file("lifelines/datasets/ACTG175.csv")
    return without_identity(Path(file).read_text().splitlines())


def without_identity(lines: Iterable[str]) -> bytes:
    """Return the kit's table: named features and the outcome, and nothing that it does not use.

    The patient's number, sexual orientation and use of drugs stay behind.
    """
    patients = list(csv.DictReader(lines))
    features = [
        [float(row[column]) for column in FEATURES.values()]
        + [int(row["arms"] in arms) for arms in ARMS.values()]
        for row in patients
    ]
    targets = [int(float(row["cd420"]) < LOW_CD4) for row in patients]
    shorter = [[int(f) if f == int(f) else f for f in row] for row in features]
    return _csv([*FEATURES, *ARMS, "below_350"], shorter, targets)


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
    "actg175": ("actg175.csv", actg175),
    "cancer": ("cancer.csv", cancer),
    "digits": ("digits.csv", digits),
    "stdlib-text": ("stdlib-text.txt", stdlib_text),
}


TABLES = ("federated-studies", "run-interruptions", "watson-concordance", "watson-events")
FILES = {name: file for name, (file, _) in MAKERS.items()} | {
    name: f"{name}.csv" for name in TABLES
}


def checksums() -> str:
    lines = ["# SHA-256 of each data file, verified at every load. Written by make.py.\n"]
    for name, file in sorted(FILES.items()):
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
    for file, maker in MAKERS.values():
        try:
            (FOLDER / file).write_bytes(maker())
        except LabError as error:
            refused = 1
            print(f"{file} is left as it is. {error}", file=sys.stderr)
    for name, file in FILES.items():
        stamp(name, file)
    (FOLDER / "checksums.toml").write_text(checksums())
    return refused


if __name__ == "__main__":
    sys.exit(main())
