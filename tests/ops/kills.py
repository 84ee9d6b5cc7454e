"""Kill a process of a delivery at a moment that a seed decides, and look what is left."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil

from lablib.errors import LabError
from lablib.ops import client
from lablib.ops.registry import TAGS

SERVES_WITHIN_S = 60


def wait_for(condition, within_s=60):
    """Wait until the condition is true, and return its value."""
    until_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < until_s
        time.sleep(0.02)
    return found


class Killer(threading.Thread):
    """Wait for the victim, then for a random part of `within_s`; kill it and remember that.

    victim   returns the process to kill, None while there is none
    """

    def __init__(self, victim, within_s, seed):
        super().__init__(daemon=True)
        self.victim, self.wait_s = victim, random.Random(seed).uniform(0, within_s)
        self.over, self.killed = threading.Event(), False

    def run(self):
        while not (found := self.victim()) and not self.over.wait(0.01):
            pass
        if found and not self.over.wait(self.wait_s):
            self.killed = kill_if_running(found)


def kill_if_running(process):
    """Kill the process; return whether it was running. If it obeys a stop, it has not ended yet."""
    ended = {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    try:
        process.suspend()
        status = wait_for(lambda: {process.status()} & (ended | {psutil.STATUS_STOPPED}))
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return not status & ended


def pushed(pipeline, victim, within_s, seed):
    """Push an empty change with a killer; return the delivery and whether the kill happened."""
    (pipeline.work / "seed.txt").write_text(f"{seed} {time.time()}")
    killer = Killer(victim, within_s, seed)
    killer.start()
    delivery = pipeline.push("a kill")  # the seed may be part of the victim's command line
    killer.over.set()
    killer.join()
    return delivery, killer.killed


def descendant(pipeline, text):
    """Return a function that finds the newest process of the pipeline with this command line."""

    def find():
        processes = psutil.Process().children(recursive=True)
        found = [each for each in processes if _has(each, text)]
        return found[-1] if found else None

    return find


def _has(process, text):
    try:
        return text in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def complaints(pipeline) -> list[str]:
    """Return what a kill has left: half a version, a wrong champion, or a process."""
    found = [*half_versions(pipeline.state / "mlflow.db"), *wrong_champion(pipeline)]
    service = psutil.Process(pipeline._service.process.pid)
    kept = {"lablib.ops.server", "lablib.cli_warm"}
    left = [each for each in service.children() if not any(_has(each, name) for name in kept)]
    return found + [f"left: {each}" for each in left if each.is_running()]


def half_versions(database: Path) -> list[str]:
    """Return versions without all tags or files. It reads the database, not through MLflow."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("select version, source from model_versions").fetchall()
        tags = connection.execute("select version, key from model_version_tags").fetchall()
        aliases = connection.execute("select alias, version from registered_model_aliases")
        aliases = aliases.fetchall()
    found = [f"version {v} has no tag {t}" for v, _ in rows for t in TAGS if (v, t) not in tags]
    for version, source in rows:
        artifacts = Path(source.removeprefix("file://"), "artifacts")
        missing = [name for name in ("weights.npz", "model.py") if not (artifacts / name).exists()]
        found += [f"version {version} has no {name}" for name in missing]
    numbers = {version for version, _ in rows}
    return found + [f"{alias} is no version" for alias, v in aliases if v not in numbers]


def wrong_champion(pipeline) -> list[str]:
    """Return nothing if the server answers with the registry's champion, alone, within a time."""
    with closing(sqlite3.connect(pipeline.state / "mlflow.db")) as connection:
        rows = connection.execute("select alias, version from registered_model_aliases")
        aliases = {alias: int(version) for alias, version in rows}
    until_s, seen = time.monotonic() + SERVES_WITHIN_S, None
    while time.monotonic() < until_s:
        try:
            seen = client.serving(pipeline.state)
            answer = client.ask(pipeline.state, np.zeros((1, 64)))
            alone = seen.challenger is None and answer.version == seen.champion
            if seen.champion == aliases.get("champion") and alone:
                return []
        except LabError as error:
            seen = error
        time.sleep(0.1)
    return [f"aliases {aliases}, but the server says {seen}"]
