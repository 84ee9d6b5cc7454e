"""Get facts from both `Framework` objects, and print which frameworks this has imported."""

import json
import sys

from lablib import frameworks
from lablib.cluster.engine import sendable, wire
from lablib.cluster.local import rank_errors
from lablib.cluster.spec import Spec

for framework in frameworks.EVERY:
    spec = Spec.of(2, framework=framework.name)
    spec.environment(spec.seats[0], [1, 2])
    spec.serves(spec.seats[0])
    framework.threads_of_a_rank(2)
    framework.counts_cpu_seconds(2)
sendable.as_array([1.0])
wire.pack({"x": 1})
rank_errors.cause_of(MemoryError())
rank_errors.is_echo(ValueError(), waiting=True)
packages = [package for framework in frameworks.EVERY for package in framework.packages]
print(json.dumps([package for package in packages if package in sys.modules]))
