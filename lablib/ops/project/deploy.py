"""Try a registered version on real requests, then promote it or roll it back: deploy.py VERSION

The exit status is 1 if the version is rolled back. `lablib.ops.deploy` lists the steps.
"""

import sys

import canary_rule

from lablib.ops import deploy

if __name__ == "__main__":
    sys.exit(deploy.main(sys.argv[1:], canary_rule.decide))
