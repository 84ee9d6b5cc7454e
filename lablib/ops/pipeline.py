"""`Pipeline`: a repository, its pipeline and the served model, as a notebook uses them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lablib.cluster.cluster import Interrupted
from lablib.errors import LabError
from lablib.ops import (
    client,
    delivery,
    installation,
    mlflow_page,
    rebuild,
    repository,
    service_process,
    traffic,
)
from lablib.ops.delivery import Delivery
from lablib.ops.live_graph import LiveGraph
from lablib.ops.mlflow_page import MlflowPage
from lablib.ops.rebuild import Rebuilt
from lablib.ops.registry import Registry, Serving
from lablib.ops.traffic import Traffic

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_LOOK_EVERY_S = 0.1
_END_WITHIN_S = 20


class Pipeline:
    """A project whose commits are tested, trained, checked and deployed when they are pushed.

    folder   for the bare repository `remote.git`, the work tree `work` and the pipeline's own
             files, `state`. If it exists, the pipeline continues from there.
    fresh    True: first delete these three folders, and begin with a new project

    All processes of the pipeline end with the notebook's kernel, or by `close()`. Only one notebook
    can open a folder at a time. Raises LabError if it is open elsewhere, or if git or a package is
    missing (see `lab.ops.install`).
    """

    def __init__(self, folder: str | os.PathLike = "pipeline", fresh: bool = False):
        if absent := installation.missing():
            raise LabError(
                "The pipeline needs more packages.",
                saw=f"not installed: {', '.join(absent)}",
                do="lab.ops.install()",
            )
        self.folder = Path(folder).resolve()
        self.work, self.state = self.folder / "work", self.folder / "state"
        if fresh and self.state.exists():
            with service_process.closed(self.folder):
                mlflow_page.close(self.state)
                repository.remove(self.folder)
        repository.create(self.folder)
        self._service = service_process.of(self.folder)
        self._registry = Registry(self.state)
        self._one_push = threading.Lock()

    def push(self, message: str) -> Delivery:
        """Commit all changes of the work tree, push them, and follow the delivery to its end.

        message   of the commit

        While the pipeline runs, a graph shows its jobs. Interrupting the cell stops the delivery.
        Raises LabError if nothing has changed since the last push, unless that one has failed, or
        if a delivery is running.
        """
        if not self._one_push.acquire(blocking=False):
            raise _busy("a push of this notebook")
        try:
            self._service = service_process.of(self.folder)
            if self._service.is_busy():
                raise _busy("a push from another place")
            ended = {
                each.commit
                for each in self.deliveries
                if each.outcome not in (None, delivery.FAILED)
            }
            commit = repository.commit(self.work, message, delivered=ended)
            return self._follow(commit, before=len(self._folders()))
        finally:
            self._one_push.release()

    @property
    def deliveries(self) -> list[Delivery]:
        """Return all deliveries, the oldest first."""
        return [found for found in map(delivery.read, self._folders()) if found]

    def versions(self) -> pd.DataFrame:
        """Return the registered versions, the newest first, with what was recorded about each.

        This and all that needs a version raises LabError as long as there is none.
        """
        return self._used_registry().versions()

    def serving(self) -> Serving:
        """Return which versions answer requests, and the challenger's share of them."""
        self._used_registry()
        return client.serving(self.state)

    def ask(self, images: np.ndarray) -> client.Answer:
        """Send images [N, 64] with pixels from 0 to 16 to the server, as one request."""
        self._used_registry()
        return client.ask(self.state, images)

    def traffic(
        self,
        requests: int = 200,
        share: float = 0.2,
        shift: Callable | None = None,
        shift_from: int = 0,
        per_second: float | None = None,
    ) -> Traffic:
        """Send images of the labelled stream, one in each request; return what was measured.

        share        the challenger's share of the requests, 0 to 1, if there is a challenger
        shift        applied to the images [N, 64] before they are sent, such as
                     `lablib.ops.traffic.brighter`
        shift_from   the number of the first request whose image is changed
        per_second   how many requests users send in a second, on average; the measurements are then
                     drawn live. None: as fast as the server answers
        """
        if (challenger := self.serving().challenger) is not None:
            self._registry.set_challenger(challenger, share)
            client.reload(self.state)
        return traffic.send(
            self.state, requests, shift=shift, shift_from=shift_from, per_second=per_second
        )

    def promote(self, version: int) -> Serving:
        """Let a version answer all requests. Raises LabError if there is no such version."""
        self._used_registry().promote(version)
        client.reload(self.state)
        return self.serving()

    def roll_back(self) -> Serving:
        """Drop the challenger; if there is none, the champion before answers again."""
        self._used_registry().roll_back()
        client.reload(self.state)
        return self.serving()

    def rebuild(self, version: int) -> Rebuilt:
        """Train a version again from its recorded commit, and compare the weights bit for bit.

        Raises LabError if there is no such version, or if the training fails.
        """
        self._used_registry()
        return rebuild.rebuild(self.folder, version)

    def mlflow_page(self) -> MlflowPage:
        """Start MLflow's own page about the runs and versions, and return it as a link."""
        return mlflow_page.page(self.state)

    def close(self) -> None:
        """End all processes of the pipeline. The files stay; a second call does nothing."""
        mlflow_page.close(self.state)
        self._service.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        state = "open" if self._service.runs() else "closed"
        return f"<Pipeline in {self.folder}, {len(self._folders())} deliveries, {state}>"

    def _used_registry(self):
        """Return the registry, once its server answers. Raises LabError if it has no version."""
        if self._registry.versions().empty:
            raise LabError(
                "No version is registered yet.",
                saw=f"{len(self._folders())} pushes, and none of them has passed the gate",
                do='push a commit that passes: pipeline.push("First model")',
            )
        self._service.wait_for_server()
        return self._registry

    def _follow(self, commit, before):
        graph = LiveGraph()
        command = ["git", "push", "--quiet", "origin", "HEAD:refs/heads/main"]
        push = subprocess.Popen(
            command, cwd=self.work, env=repository.environment(), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace",
        )  # fmt: skip
        printed = []
        reader = threading.Thread(target=lambda: printed.extend(push.stderr), daemon=True)
        reader.start()
        try:
            while push.poll() is None:
                if found := self._newest(before):
                    graph(found)
                time.sleep(_LOOK_EVERY_S)
        except KeyboardInterrupt:
            os.killpg(push.pid, signal.SIGTERM)  # with the hook: the service then ends the delivery
            push.wait()
            self._ended(before, commit)
            raise Interrupted("the delivery was stopped; you can push again") from None
        finally:
            graph.close()
            reader.join()
            push.stderr.close()
        self._service = service_process.of(self.folder)  # a new one, if it was killed
        found = self._ended(before, commit)
        if found is None:
            raise LabError(
                "The push did not start a delivery.",
                saw="".join(printed)[-2000:] or f"git push ended with status {push.returncode}",
                do="push again",
            )
        graph(found)
        return found

    def _ended(self, before, commit):
        """Return the delivery of this push at its end; None if there is none.

        The service notes the end of a delivery a moment after the hook has ended.
        """
        until_s = time.monotonic() + _END_WITHIN_S
        while time.monotonic() < until_s and self._service.runs() and self._service.is_busy():
            time.sleep(_LOOK_EVERY_S)
        found = self._newest(before)
        return found if found and found.commit == commit else None

    def _newest(self, before):
        folders = self._folders()[before:]
        return delivery.read(folders[-1]) if folders else None

    def _folders(self):
        runs = self.state / "runs"
        numbers = (each for each in runs.iterdir() if each.name.isdigit()) if runs.exists() else ()
        return sorted(numbers, key=lambda each: int(each.name))


def _busy(saw):
    return LabError("A delivery is running already.", saw=saw, do="wait until it has ended")
