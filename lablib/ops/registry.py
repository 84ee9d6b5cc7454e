"""The model registry of a pipeline: MLflow on an SQLite file in the pipeline's folder `state`.

A version is registered by one transaction, with all its tags, after its files are complete. So a
process that is killed at any moment leaves either a whole version or none. Two aliases say which
versions serve: `champion` answers requests, `challenger` answers a share of them (the canary).
`previous` is the champion before, to which `roll_back` returns.

MLflow takes about 1.4 s of processor time to import, so it is imported at the first use.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lablib.errors import LabError
from lablib.ops import mlflow_files
from lablib.ops.environment import environment, software
from lablib.ops.model_files import load_weights

if TYPE_CHECKING:
    import pandas as pd

NAME = "digits"
TAGS = ("commit", "accuracy", "data_sha256", "seed", "environment")
_SHARE = "canary_share"


@dataclass(frozen=True)
class Serving:
    """Which versions answer requests: numbers of versions, or None.

    share   the share of requests that the challenger answers, 0 to 1
    """

    champion: int | None = None
    challenger: int | None = None
    previous: int | None = None
    share: float = 0.0


class Registry:
    """The registered versions of one model, in the folder `state` of a pipeline."""

    def __init__(self, state: str | Path):
        self.state = Path(state).resolve()
        self.uri = f"sqlite:///{self.state / 'mlflow.db'}"

    @cached_property
    def _client(self):
        if not (self.state / "mlflow.db").exists():
            mlflow_files.create_database(self.state, NAME)
        return mlflow_files.import_mlflow().MlflowClient(self.uri)

    def run_folder(self, run_id: str) -> Path:
        """Return the folder with what a training run logged: `weights.npz` and `model.py`."""
        from mlflow import MlflowException

        try:
            return _path(self._client.get_run(run_id).info.artifact_uri)
        except MlflowException as error:
            raise LabError(
                "There is no such training run.",
                saw=repr(run_id),
                do="pass the run's id from the job `train` to the gate",
            ) from error

    def register(
        self, weights: Path, model: Path, tags: Mapping[str, object], run_id: str | None = None
    ) -> int:
        """Register a version with all its tags in one transaction; return its number.

        weights, model   the files `weights.npz` and `model.py`, which are copied
        tags             text or numbers by name; commit, accuracy, data_sha256 and seed are needed.
                         The environment and the versions of packages are added.
        run_id           the run of MLflow that trained it

        Raises LabError if a tag is missing or the weights are unusable; nothing is registered then.
        """
        recorded = (
            software() | {"environment": environment()} | {k: str(v) for k, v in tags.items()}
        )
        if missing := [name for name in TAGS if name not in recorded]:
            raise LabError(
                "A version needs all its tags.", saw=f"no {', '.join(missing)}", do="pass them, too"
            )
        load_weights(weights)
        folder = self.state / "artifacts" / secrets.token_hex(8)
        mlflow_files.write_artifact(folder, weights, model)
        created = self._client.create_model_version(
            NAME, folder.as_uri(), run_id=run_id, tags=recorded
        )
        return int(created.version)

    def versions(self) -> pd.DataFrame:
        """Return all versions, one in each row, the newest first."""
        import pandas as pd

        aliases = {}
        for alias, version in self._model().aliases.items():
            aliases.setdefault(int(version), []).append(alias)
        found = self._client.search_model_versions(f"name='{NAME}'")
        rows = [
            {"version": int(each.version), "alias": ", ".join(aliases.get(int(each.version), ()))}
            | {name: each.tags.get(name) for name in TAGS}
            | {"created": pd.Timestamp(each.creation_timestamp, unit="ms", tz="UTC")}
            for each in found
        ]
        table = pd.DataFrame(rows, columns=["version", "alias", *TAGS, "created"])
        for name in ("accuracy", "seed"):
            table[name] = pd.to_numeric(table[name])
        return table.sort_values("version", ascending=False, ignore_index=True)

    def tags(self, version: int) -> dict[str, str]:
        """Return everything that was recorded about a version."""
        return dict(self._version(version).tags)

    def folder(self, version: int) -> Path:
        """Return the folder with the version's `weights.npz` and `model.py`."""
        return _path(self._version(version).source) / "artifacts"

    def framework(self, version: int) -> str:
        """Return the framework that trained a version, as the training run recorded it."""
        return self._client.get_run(self._version(version).run_id).data.tags["framework"]

    def serving(self) -> Serving:
        """Return which versions the aliases name at this moment."""
        model = self._model()
        aliases = {alias: int(version) for alias, version in model.aliases.items()}
        if aliases.get("challenger") == aliases.get("champion"):
            aliases.pop("challenger", None)  # a promotion was interrupted after its decisive step
        share = float(model.tags.get(_SHARE, 0)) if "challenger" in aliases else 0.0
        return Serving(**aliases, share=share)

    def set_challenger(self, version: int, share: float) -> None:
        """Let a version answer a share (0 to 1) of all requests: the canary."""
        if not 0 <= share <= 1:
            raise LabError("A share is from 0 to 1.", saw=f"share={share}", do="pass share=0.2")
        self._version(version)
        self._client.set_registered_model_tag(NAME, _SHARE, str(share))
        self._point("challenger", version)

    def promote(self, version: int) -> None:
        """Make a version the champion. The champion so far becomes `previous`."""
        before = self.serving().champion
        self._version(version)
        if before is not None and before != version:
            self._point("previous", before)
        self._point("champion", version)
        self._remove("challenger")

    def drop_challenger(self) -> None:
        """End the canary: the champion answers all requests."""
        self._remove("challenger")

    def roll_back(self) -> None:
        """Drop the challenger; if there is none, make the previous champion the champion again.

        Raises LabError if there is neither.
        """
        now = self.serving()
        if now.challenger is None and now.previous is None:
            raise LabError(
                "There is nothing to roll back to.",
                saw=f"champion: version {now.champion}, no challenger and no previous champion",
                do="push a commit first",
            )
        if now.challenger is None:
            self._point("champion", now.previous)
            self._remove("previous")
        self._remove("challenger")

    def _model(self):
        return self._client.get_registered_model(NAME)

    def _version(self, version):
        from mlflow import MlflowException

        try:
            return self._client.get_model_version(NAME, str(version))
        except MlflowException as error:
            known = ", ".join(map(str, self.versions()["version"])) or "none"
            raise LabError(
                f"There is no version {version}.", saw=f"versions: {known}", do="choose one of them"
            ) from error

    def _point(self, alias, version):
        self._client.set_registered_model_alias(NAME, alias, str(version))

    def _remove(self, alias):
        self._client.delete_registered_model_alias(NAME, alias)


def _path(uri):
    return Path(url2pathname(urlsplit(uri).path))
