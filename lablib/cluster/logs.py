"""The output of the ranks: shown live, read at the end, and kept on disk if a run fails."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from lablib.files import home

_KEPT_RUNS = 10
_SHOWN_AT_ONCE_BYTES = 1 << 16


class Echo:
    """Show lines as "[rank 2] ..." on stdout while the ranks run."""

    def __init__(self, paths: list[Path]):
        self._at = dict.fromkeys(paths, 0)

    def show(self) -> None:
        for rank, path in enumerate(self._at):
            for line in self._new_lines(path):
                print(f"[rank {rank}] {line}")
        sys.stdout.flush()

    def _new_lines(self, path):
        if not path.exists():
            return []
        with open(path, "rb") as file:
            size, at = path.stat().st_size, self._at[path]
            skipped = max(0, size - at - _SHOWN_AT_ONCE_BYTES)
            file.seek(at + skipped)
            text = file.read(_SHOWN_AT_ONCE_BYTES)
        whole = text[: text.rfind(b"\n") + 1] or (text if skipped else b"")
        self._at[path] = at + skipped + len(whole)
        note = [f"... {skipped} bytes not shown: see run.logs ..."] if skipped else []
        return note + whole.decode(errors="replace").splitlines()


def read_log(path: Path, most_bytes: int) -> str:
    """Return the log's text; if it is too long, a note and its last `most_bytes`."""
    if not path.exists():
        return ""
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - most_bytes))
        text = file.read(most_bytes).decode(errors="replace")
    return text if size <= most_bytes else f"[{size - most_bytes} bytes before this]\n{text}"


def keep_logs(folder: Path, ranks: int) -> Path | str:
    """Copy a failed run's logs and tracebacks to `.lablib/logs/`; the newest 10 runs stay."""
    kept = home() / "logs"
    target = kept / f"{time.strftime('%Y%m%d-%H%M%S')}-{folder.name}"
    try:
        target.mkdir(parents=True)
        for rank in range(ranks):
            _keep(folder / f"rank{rank}", target / f"rank{rank}.log")
        for old in sorted(kept.iterdir())[:-_KEPT_RUNS]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        return f"not kept, {error}"
    return target


def _keep(source, target):
    parts = [source.with_suffix(suffix) for suffix in (".log", ".traceback", ".stack")]
    target.write_text("\n".join(read_log(part, 1 << 20) for part in parts if part.exists()))
