"""The files that MLflow needs: its database and the folder of a model version.

Both are first written under another name, so that a process that is killed leaves no half of one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import warnings
from pathlib import Path

from lablib.ops.model_files import DIGITS, PIXELS


def import_mlflow():
    """Import MLflow (1.4 s of processor time) without its telemetry and its progress bars."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # MLflow would keep a connection to a database file that `Pipeline(fresh=True)` has deleted.
    os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def create_database(state: Path, model: str) -> None:
    """Create `mlflow.db` with an empty experiment and an empty registered model of that name.

    If another process creates it at the same time, the first one to finish wins.
    """
    mlflow = import_mlflow()
    spare = state / f".mlflow.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    client = mlflow.MlflowClient(f"sqlite:///{spare}")
    try:
        # Without a location, artifacts go to the current folder, which the runner deletes.
        client.create_experiment(model, artifact_location=(state / "artifacts").as_uri())
        client.create_registered_model(model)
        with contextlib.suppress(FileExistsError):
            os.link(spare, state / "mlflow.db")
    finally:
        spare.unlink(missing_ok=True)


def write_artifact(folder: Path, weights: Path, model: Path) -> None:
    """Write the complete folder of a version: MLmodel, the weights and the code, no pickle."""
    mlflow = import_mlflow()
    import numpy as np
    from mlflow.types import Schema, TensorSpec

    def tensor(width):
        return Schema([TensorSpec(np.dtype("float32"), (-1, width))])

    spare = folder.with_name(f".{folder.name}.tmp")
    # Recorded, so not shown: MLflow would like type hints and an example of the input.
    with warnings.catch_warnings(record=True):
        mlflow.pyfunc.save_model(
            str(spare),
            python_model=str(Path(__file__).with_name("mlflow_model.py")),
            artifacts={"weights": str(weights), "model": str(model)},
            signature=mlflow.models.ModelSignature(tensor(PIXELS), tensor(DIGITS)),
            pip_requirements=[f"numpy=={np.__version__}"],
        )
    os.replace(spare, folder)
