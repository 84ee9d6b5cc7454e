"""What this computer can do, and which limits it can set when learners' code is graded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lablib.computer import facts
from lablib.computer.facts import Finding, Report


def doctor() -> Report:
    """Check this computer: Python, packages, cores, memory, GPUs, and whether processes can be
    isolated. Also try each limit of the sandbox in which answers are graded.

    This takes about two seconds and imports no framework. Show the report, or ask `report.ok`.
    """
    with ThreadPoolExecutor(1) as pool:
        contained = pool.submit(_probes)
        found, tried = facts.report().findings, contained.result()
    if not tried:
        return Report(found)
    where = [finding.name for finding in found].index(tried[0].name)
    return Report((*found[:where], *tried, *found[where + 1 :]))


def _probes() -> list[Finding]:
    """Return the sandbox's findings; [] if it lacks a package, which the report then names."""
    try:
        from lablib.box.box import probes
    except ImportError:
        return []
    return probes()
