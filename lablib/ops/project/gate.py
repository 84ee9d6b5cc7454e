"""Register the trained model unless it is worse than the champion: python gate.py RUN RUN

The two arguments are the ids of the training runs of PyTorch and TensorFlow. The exit status is 1
if the model is rejected. `lablib.ops.gate` explains how it decides.
"""

import sys

import digits

from lablib.ops import gate

LOWEST_ACCURACY = 0.9

if __name__ == "__main__":
    sys.exit(gate.main(sys.argv[1:], *digits.load("held_out"), floor=LOWEST_ACCURACY))
