"""Tasks to train: a model with data, loss and batch. The named tasks exist in both frameworks."""

from lablib.tasks.catalog import get, names
from lablib.tasks.predictions import probabilities
from lablib.tasks.task import Task

__all__ = ["Task", "get", "names", "probabilities"]
