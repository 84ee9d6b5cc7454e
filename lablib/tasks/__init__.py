"""What is trained: a model with its data, loss and batch; the named ones are in both frameworks."""

from lablib.tasks.catalog import get, names
from lablib.tasks.task import Task

__all__ = ["Task", "get", "names"]
