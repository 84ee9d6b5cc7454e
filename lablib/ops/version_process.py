"""The process that computes one version's answers, and the server's side of its two pipes.

A process for each version, because its `model.py` is code that the learner wrote: if it raises,
hangs or exits, only this version fails. The pipes carry plain numbers and text, nothing is
unpickled.

    to the process     N (uint32), then N x 64 float32
    from the process   status and number of bytes (2 x uint32), then N x 10 float32 (status 0), or
                       the text of an error (status 1)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from pathlib import Path

import numpy as np

from lablib.computer import processes
from lablib.computer.end_with_parent import end_with_parent
from lablib.ops.model_files import DIGITS, PIXELS, load_predict

ANSWERS_WITHIN_S = 2.0
_STARTS_WITHIN_S = 10.0
_MOST_TEXT = 2000
_COUNT = struct.Struct("<I")
_HEAD = struct.Struct("<II")


class VersionFailed(Exception):
    """A version did not answer; `status` is the HTTP status to send."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


class VersionProcess:
    """The server's side: starts the process when it is needed, ends it when it hangs.

    version   its number, which every answer names
    folder    contains its `weights.npz` and `model.py`
    """

    def __init__(self, version: int, folder: Path):
        self.version, self.folder = version, folder
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()  # one request at a time uses the pipes

    async def start(self) -> None:
        """Start the process and let it answer one blank image. Raises VersionFailed."""
        await self.predict(np.zeros((1, PIXELS), np.float32))

    async def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the probabilities [N, 10] for images [N, 64], pixels 0 to 16.

        Raises VersionFailed if the version raises (500), does not answer within 2 s (504), or
        answers with something else than finite float32 [N, 10] (500).
        """
        async with self._turn:
            try:
                await self._begin()
                async with asyncio.timeout(ANSWERS_WITHIN_S):
                    content = await self._exchange(images)
            except VersionFailed:
                raise  # the process has sent its error and is ready for the next request
            except BaseException as error:  # also a request that is cancelled half way
                await self._end()
                raise self._failure(error) from None
        return self._checked(content, len(images))

    def _failure(self, error):
        if isinstance(error, TimeoutError):
            text = f"version {self.version} did not answer within {ANSWERS_WITHIN_S:g} s"
            return VersionFailed(504, text)
        if isinstance(error, OSError | EOFError):
            return VersionFailed(500, f"the process of version {self.version} ended")
        return error

    async def close(self) -> None:
        """End the process after the request that it is answering."""
        async with self._turn:
            await self._end()

    async def _begin(self):
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *processes.command(__name__, str(self.folder), str(os.getpid())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=processes.environment(),
            )
            async with asyncio.timeout(_STARTS_WITHIN_S):
                await self._receive()

    async def _exchange(self, images):
        self._process.stdin.write(_COUNT.pack(len(images)) + images.astype("<f4").tobytes())
        await self._process.stdin.drain()
        return await self._receive()

    async def _receive(self):
        status, size = _HEAD.unpack(await self._process.stdout.readexactly(_HEAD.size))
        if size > 1 << 20:
            raise EOFError("the process does not follow the protocol")
        content = await self._process.stdout.readexactly(size)
        if status:
            raise VersionFailed(500, f"version {self.version}: {content.decode(errors='replace')}")
        return content

    async def _end(self):
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    def _checked(self, content, rows):
        numbers = np.frombuffer(content, "<f4")
        if numbers.size != rows * DIGITS or not np.isfinite(numbers).all():
            text = f"version {self.version} did not return {rows} x {DIGITS} finite numbers"
            raise VersionFailed(500, text)
        return numbers.reshape(rows, DIGITS)


def main(arguments: list[str]) -> None:
    """Answer requests until the pipe is closed. The arguments are the folder and the parent."""
    folder, parent = arguments
    end_with_parent(int(parent))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the model prints must not get between the answers
    predict = _answer(answers, load_predict, folder)
    while predict and (count := sys.stdin.buffer.read(_COUNT.size)):
        (rows,) = _COUNT.unpack(count)
        images = np.frombuffer(sys.stdin.buffer.read(4 * rows * PIXELS), "<f4")
        _answer(answers, predict, images.reshape(rows, PIXELS))


def _answer(answers, function, argument):
    """Call the learner's code and send what it returns, or its error."""
    try:
        returned = function(argument)
        status, content = 0, b"" if callable(returned) else returned.astype("<f4").tobytes()
    except BaseException as error:  # also SystemExit: the server needs to know
        text = f"{type(error).__name__}: {error}"
        returned, status, content = None, 1, text[:_MOST_TEXT].encode(errors="replace")
    answers.write(_HEAD.pack(status, len(content)) + content)
    answers.flush()
    return returned
