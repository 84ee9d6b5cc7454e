"""The examples in docstrings are true.

They run in their own process, because collecting them imports every module and with it both
frameworks.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# See conftest.py: triton has to be loaded before TensorFlow, where there is one.
SESSION = """
import contextlib, sys, pytest
with contextlib.suppress(ImportError):
    import triton
sys.exit(pytest.main(["--doctest-modules", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def examples(folder: Path) -> tuple[int, str]:
    """Run the examples of every module in a folder; return exit status and output."""
    project = folder / "ops" / "project"  # files that learners get, tests of their own among them
    done = subprocess.run(
        [sys.executable, "-c", SESSION, folder, "--ignore", project],
        cwd=ROOT, capture_output=True, text=True, timeout=290,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_the_examples_in_docstrings_are_true():
    status, output = examples(ROOT / "lablib")
    assert status == 0, output


def test_that_claim_can_fail(tmp_path):
    (tmp_path / "wrong.py").write_text('"""\n>>> 1 + 1\n3\n"""\n')
    status, output = examples(tmp_path)
    assert status == 1 and "1 failed" in output, output
