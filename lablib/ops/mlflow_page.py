"""MLflow's own page for the registry of a pipeline, on 127.0.0.1, until the notebook ends."""

from __future__ import annotations

import html
import json
import os
import socket
import subprocess
from pathlib import Path

from lablib.computer import processes
from lablib.computer.end_with_parent import end_with_parent
from lablib.errors import LabError
from lablib.ops.mlflow_files import import_mlflow
from lablib.ops.registry import NAME, Registry

_pages: dict[Path, MlflowPage] = {}


class MlflowPage:
    """The page's address, shown as a link, and the process that serves it."""

    def __init__(self, state: Path):
        with open(state / "mlflow_page.log", "ab") as log:
            self._process = subprocess.Popen(
                processes.command(__name__, str(state), str(os.getpid())),
                env=processes.environment(),
                start_new_session=True,  # interrupting a cell does not end the page
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise LabError(
                "MLflow's page does not start.",
                saw=f"its process ended with status {self._process.returncode}",
                do=f"read {state / 'mlflow_page.log'}",
            )
        self.url = json.loads(line)["url"]

    def runs(self) -> bool:
        """Return whether the page can still be opened."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process of the page. Calling it twice is harmless."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def __repr__(self) -> str:
        return f"MLflow's page: {self.url}"

    def _repr_html_(self) -> str:
        link = html.escape(f"{self.url}/#/models/{NAME}", quote=True)
        return f'<a href="{link}" target="_blank">Open MLflow’s page of the registry</a>'


def page(state: str | Path) -> MlflowPage:
    """Return MLflow's page of a pipeline's folder `state`; start it if it does not run.

    Raises LabError if it does not start.
    """
    state = Path(state).resolve()
    if state not in _pages or not _pages[state].runs():
        _pages[state] = MlflowPage(state)
    return _pages[state]


def close(state: Path) -> None:
    """End the page of a pipeline, if it has one."""
    if found := _pages.pop(state, None):
        found.close()


def main(arguments: list[str]) -> None:
    """Serve the page and print its address as JSON. The arguments: `state` and the parent's id."""
    state, parent = Path(arguments[0]), int(arguments[1])
    end_with_parent(parent)
    # MLflow takes some seconds to import. Until then, the browser's request waits in the socket.
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    print(json.dumps({"url": url}), flush=True)

    import_mlflow()
    import uvicorn
    from mlflow.server import constants

    # `mlflow server` sets the same variables for the processes that it starts.
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = Registry(state).uri
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = (state / "artifacts").as_uri()
    from mlflow.server.fastapi_app import app

    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
