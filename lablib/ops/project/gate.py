"""Register the trained model unless it is worse than the champion: python gate.py

It compares the weights of this commit's two training runs, of PyTorch and TensorFlow. The exit
status is 1 if the model is rejected. `lablib.ops.gate` explains how it decides.
"""

import os
import sys

import digits
import track

from lablib.ops import gate

LOWEST_ACCURACY = 0.9

if __name__ == "__main__":
    runs = track.runs(os.environ["GITHUB_SHA"])
    sys.exit(gate.main(runs, *digits.load("held_out"), floor=LOWEST_ACCURACY))
