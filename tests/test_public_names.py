"""A public name gives the same result whether other names were used before or not."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import lablib as lab

assert callable(lab.hardware.Hardware.measure)
assert lab.hardware.Hardware is lab.Hardware

def offers(name):
    public = getattr(lab, name)
    names = dir(public) if isinstance(public, type) else getattr(public, "__all__", ())
    return {each for each in names if hasattr(public, each)}

before = {name: offers(name) for name in lab.__all__}
for name in ("training.measured_hardware", "teach.checks", "views.plots", "grading.pipeline"):
    __import__(f"lablib.{name}")
for name in lab.__all__:
    assert offers(name) == before[name], (name, offers(name) ^ before[name])
print(len(before))
"""


def test_a_public_name_offers_the_same_from_the_start():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
