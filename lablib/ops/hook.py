"""The post-receive hook of the bare repository: asks the service to deliver the pushed commit.

git shows what the hook prints to the person who pushes, each line after "remote: ". The hook does
no work itself. If it ends early, because somebody stopped the push, the service ends the delivery.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from lablib.ops.unix_socket import connect

BRANCH = "refs/heads/main"
_DELETED = "0" * 40


def main(arguments: list[str]) -> None:
    """Deliver what git lists on stdin: a line "old new ref" for each branch that was pushed."""
    (state,) = arguments
    for commit in pushed(sys.stdin):
        deliver(Path(state), commit)


def pushed(lines: Iterable[str]) -> list[str]:
    """Return the commits of the main branch.

    >>> pushed(["1234 5678 refs/heads/main", "1234 9abc refs/heads/other"])
    ['5678']
    """
    rows = [line.split() for line in lines]
    return [new for _, new, branch in rows if branch == BRANCH and new != _DELETED]


def deliver(state: Path, commit: str) -> None:
    """Ask the service for a delivery, and print what it reports until the delivery has ended."""
    connection = connect(state, "service.sock")
    if connection is None:
        print(f"Commit {commit[:7]} is stored, but the pipeline is not running: nothing happens.")
        print('Open the pipeline in a notebook, lab.ops.Pipeline("pipeline"), and push again.')
        return
    with connection, connection.makefile("rw", encoding="utf-8") as stream:
        stream.write(json.dumps({"op": "deliver", "commit": commit}) + "\n")
        stream.flush()
        for line in stream:
            print(json.loads(line)["line"], flush=True)
