"""The server: answers requests with the champion, and a share of them with the challenger.

    POST /predict   {"images": [N x 64 pixels, 0 to 16]} -> digits, confidence, version
    GET  /health    which versions serve
    GET  /metrics   counters and latencies in Prometheus' text format
    POST /reload    read the registry's aliases again

It runs `main([state])` in a process of its own and listens on 127.0.0.1 at a port that the
operating system assigns; `state/server.json` then names the address. A version's `model.py` is
executed, in a process of its own. It is code from the learner's project on the learner's own
computer, so it runs without a sandbox: do not use this server for models of other people.

Whether the challenger answers is decided by a hash of the request's id (header `X-Request-ID`), so
the same request gets the same version. `/predict?version=3` asks one of the serving versions.
"""

# No `from __future__ import annotations`: FastAPI reads the annotations of the handlers, and the
# names in them are imported inside a function.

import asyncio
import hashlib
import json
import os
import secrets
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from lablib.files import write_completely
from lablib.ops.model_files import PIXELS
from lablib.ops.registry import Registry, Serving
from lablib.ops.version_process import VersionFailed, VersionProcess

MOST_IMAGES = 256
MOST_BYTES = 1 << 20
_Pixel = Annotated[float, msgspec.Meta(ge=0, le=16)]
_Image = Annotated[list[_Pixel], msgspec.Meta(min_length=PIXELS, max_length=PIXELS)]


class Images(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request. JSON has no infinite numbers and no NaN."""

    images: Annotated[list[_Image], msgspec.Meta(min_length=1, max_length=MOST_IMAGES)]


class Refused(Exception):
    """A request that the server does not answer; `status` is an HTTP status."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


def asks_challenger(request_id: str, share: float) -> bool:
    """Return whether the challenger answers this request. The same id gives the same answer.

    >>> sum(asks_challenger(str(number), 0.2) for number in range(1000))
    212
    """
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


class Versions:
    """The versions that serve, each loaded completely before it gets its first request."""

    def __init__(self, registry: Registry):
        self._registry, self._loading = registry, asyncio.Lock()
        self.serving = Serving()
        self.loaded: dict[int, VersionProcess] = {}

    async def reload(self) -> dict[int, str]:
        """Serve what the aliases name now; return why versions could not be loaded.

        A champion that cannot be loaded leaves the old one in its place; a challenger that cannot
        be loaded gets no requests.
        """
        async with self._loading:
            wanted = await asyncio.to_thread(self._registry.serving)
            loaded, problems = {}, {}
            for version in {wanted.champion, wanted.challenger} - {None}:
                try:
                    loaded[version] = self.loaded.get(version) or await self._load(version)
                except VersionFailed as error:
                    problems[version] = str(error)
            champion, challenger = wanted.champion, wanted.challenger
            if champion in problems:
                champion = self.serving.champion
                loaded |= {champion: self.loaded[champion]} if champion else {}
            challenger = challenger if challenger in loaded else None
            old, self.loaded = self.loaded, loaded
            self.serving = Serving(champion, challenger, wanted.previous, wanted.share)
            for version in old.keys() - loaded.keys():
                await old[version].close()
            return problems

    async def _load(self, version):
        folder = await asyncio.to_thread(self._registry.folder, version)
        process = VersionProcess(version, folder)
        try:
            await process.start()
        except VersionFailed:
            await process.close()
            raise
        return process

    def choose(self, request_id: str, asked: str | None) -> VersionProcess:
        """Return the version that answers this request. Raises Refused if there is none."""
        now = self.serving
        version = now.champion
        if asked is not None:
            version = int(asked) if asked.isascii() and asked.isdigit() else None
        elif now.challenger and asks_challenger(request_id, now.share):
            version = now.challenger
        if version not in self.loaded:
            status, name = (503, "champion") if asked is None else (404, "such version")
            raise Refused(status, f"There is no {name} that serves.")
        return self.loaded[version]

    async def close(self) -> None:
        for process in self.loaded.values():
            await process.close()


async def read_images(request) -> np.ndarray:
    """Return the images [N, 64] of a request. Raises Refused if it breaks a bound."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise Refused(413, f"The body is larger than {MOST_BYTES} bytes.")
    try:
        return np.array(msgspec.json.decode(body, type=Images).images, np.float32)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(422, f"{error}. Send 1 to {MOST_IMAGES} images of {PIXELS} pixels.") from None


class Counters:
    """What `/metrics` shows: requests by version and status, and latencies by version."""

    def __init__(self):
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self.registry = CollectorRegistry()
        kept = {"registry": self.registry}
        text = "Requests by version and HTTP status"
        self._requests = Counter("requests", text, ["version", "status"], **kept)
        text = "Seconds from a request to its answer"
        self._latency = Histogram("latency_seconds", text, ["version"], **kept)

    def count(self, version: int | None, status: int, seconds: float) -> None:
        self._requests.labels(str(version), str(status)).inc()
        self._latency.labels(str(version)).observe(seconds)

    def text(self) -> bytes:
        from prometheus_client import generate_latest

        return generate_latest(self.registry)


def application(versions: Versions, started):
    """Return the FastAPI application; `started()` is called once the versions are loaded."""
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import JSONResponse

    @asynccontextmanager
    async def lifespan(app):
        await versions.reload()
        started()
        yield
        await versions.close()

    # No page of documentation, because it loads scripts from the internet.
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    counters = Counters()

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        begun_s = time.perf_counter()
        status, answer = await _answer(request, versions)
        counters.count(answer["version"], status, time.perf_counter() - begun_s)
        return JSONResponse(answer, status)

    @app.get("/health")
    async def health() -> dict:
        return asdict(versions.serving)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(counters.text(), media_type="text/plain; version=0.0.4")

    @app.post("/reload")
    async def reload() -> Response:
        problems = await versions.reload()
        body = {"serving": asdict(versions.serving), "problems": problems}
        return JSONResponse(body, 409 if problems else 200)

    return app


async def _answer(request, versions):
    """Return the HTTP status and the body of the answer to a request for predictions."""
    request_id = request.headers.get("x-request-id") or secrets.token_hex(8)
    version = None
    try:
        images = await read_images(request)
        chosen = versions.choose(request_id, request.query_params.get("version"))
        version = chosen.version
        probabilities = await chosen.predict(images)
    except (Refused, VersionFailed) as error:
        return error.status, {"error": str(error), "version": version, "request_id": request_id}
    return 200, {
        "digits": probabilities.argmax(1).tolist(),
        "confidence": probabilities.max(1).tolist(),
        "version": version,
        "request_id": request_id,
    }


def main(arguments: list[str]) -> None:
    """Serve until this process is ended. The only argument is the pipeline's folder `state`."""
    import uvicorn

    (state,) = arguments
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"

    def started():
        about = {"url": url, "pid": os.getpid()}
        write_completely(Path(state, "server.json"), json.dumps(about))

    app = application(Versions(Registry(state)), started)
    config = uvicorn.Config(app, log_level="warning", limit_concurrency=64)
    uvicorn.Server(config).run(sockets=[listening])
