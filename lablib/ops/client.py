"""How the notebook and the job `deploy` talk to the server."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from lablib.errors import LabError
from lablib.ops.registry import Serving

_WITHIN_S = 10


@dataclass(frozen=True)
class Answer:
    """The server's answer to one request.

    status       the HTTP status: 200, or another number if there is an error
    digits       one for each image; () if there is an error
    confidence   the probability of each digit, 0 to 1
    version      the version that answered or failed, or None if no version was asked
    latency_s    seconds from the request to the answer
    error        "" or a sentence
    """

    status: int
    digits: tuple[int, ...]
    confidence: tuple[float, ...]
    version: int | None
    latency_s: float
    error: str


def ask(
    state: str | Path,
    images: np.ndarray,
    *,
    version: int | None = None,
    request_id: str | None = None,
) -> Answer:
    """Send images [N, 64] with pixels from 0 to 16 to the server in one request.

    state        the pipeline's folder `state`
    version      ask this one of the serving versions, not the one that the server chooses
    request_id   decides whether the challenger answers; without it, this is left to chance

    Raises LabError if the server does not run.
    """
    body = json.dumps({"images": np.asarray(images).tolist()})
    headers = {"Content-Type": "application/json"}
    headers |= {} if request_id is None else {"X-Request-ID": request_id}
    path = "/predict" if version is None else f"/predict?version={version}"
    begun_s = time.perf_counter()
    status, answer = call(state, "POST", path, body, headers)
    return Answer(
        status,
        tuple(answer.get("digits", ())),
        tuple(answer.get("confidence", ())),
        answer.get("version"),
        time.perf_counter() - begun_s,
        answer.get("error", ""),
    )


def reload(state: str | Path) -> dict[str, str]:
    """Let the server read the registry's aliases; return why versions could not be loaded."""
    return call(state, "POST", "/reload")[1]["problems"]


def serving(state: str | Path) -> Serving:
    """Return which versions the server has loaded, and the canary share."""
    return Serving(**call(state, "GET", "/health")[1])


def call(state, method, path, body=None, headers=None) -> tuple[int, dict]:
    """Send one request; return the HTTP status and the answer, which is JSON."""
    try:
        address = json.loads(Path(state, "server.json").read_text())["url"]
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=_WITHIN_S)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise LabError(
            "The pipeline's server does not answer.",
            saw=f"{type(error).__name__}: {error}",
            do='open the pipeline again: lab.ops.Pipeline("pipeline")',
        ) from error
