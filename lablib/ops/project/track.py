"""Save the result of a training run: the weights as a file, and the run in MLflow."""

import os
import tomllib
from pathlib import Path

import digits
import model
import numpy as np

EXPERIMENT = "digits"


def config():
    """Return the settings in config.toml."""
    return tomllib.loads((Path(__file__).parent / "config.toml").read_text())


def accuracy(weights, part):
    """Return the share of right answers on a part of the data."""
    images, labels = digits.load(part)
    return float((model.probabilities(weights, images).argmax(axis=1) == labels).mean())


def save(framework, weights, loss):
    """Write weights.npz, and log the run to MLflow with its settings, metrics and files."""
    from mlflow import MlflowClient

    np.savez("weights.npz", **weights)
    client = MlflowClient()
    tags = {
        "framework": framework,
        "commit": os.environ.get("GITHUB_SHA", ""),
        "data_sha256": digits.checksum(),
    }
    run = client.create_run(_experiment(client), run_name=framework, tags=tags).info.run_id
    for name, value in config().items():
        client.log_param(run, name, value)
    held_out = accuracy(weights, "held_out")
    client.log_metric(run, "loss", loss)
    client.log_metric(run, "accuracy", held_out)
    for file in ("weights.npz", "model.py"):
        client.log_artifact(run, file)
    client.set_terminated(run)
    print(f"{framework}: loss {loss:.4f}, accuracy {held_out:.4f}, MLflow run {run}")


def runs(commit):
    """Return the ids of the newest runs in MLflow that trained this commit, first PyTorch's.

    The jobs find one another's results in MLflow. Outputs of a job with a matrix would be another
    way, but act 0.2.89 keeps only those of the copy that ends first.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    found = []
    for framework in ("torch", "tensorflow"):
        wanted = f"tags.commit = '{commit}' and tags.framework = '{framework}'"
        newest = client.search_runs([experiment], wanted, max_results=1)
        found += [run.info.run_id for run in newest]
    return found


def _experiment(client):
    """Return the id of the experiment. The pipeline has created it, with a place for files."""
    found = client.get_experiment_by_name(EXPERIMENT)
    return found.experiment_id if found else client.create_experiment(EXPERIMENT)
