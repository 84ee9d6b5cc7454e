"""python -m lablib."""

import sys

from lablib.cli import main

if __name__ == "__main__":
    sys.exit(main())
