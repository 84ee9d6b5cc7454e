"""Learn distributed AI training by doing it: real clusters on one computer, in two frameworks."""

import importlib

__version__ = "0.1.0"

# The module of each public name. A module is imported at its first use: `import lablib` is instant.
_PUBLIC = {
    "LabError": "errors",
    "Cluster": "cluster.cluster",
    "RankFailed": "cluster.failures",
    "ClusterHangs": "cluster.failures",
    "Hardware": "hardware.hardware",
    "Link": "hardware.network",
    "Trace": "record.trace",
    "Task": "tasks.task",
    "train": "training.train",
    "compare": "training.compare",
    "what_if": "training.what_if",
    "doctor": "doctor_report",
    "predict": "teach.predictions",
    "check": "teach.checks",
    "quiz": "teach.quizzes",
    "explain": "teach.written_answers",
    "progress": "teach.progress",
}
_MODULES = {
    "cluster": "cluster",
    "datasets": "datasets",
    "hardware": "hardware",
    "interruptions": "training.interruptions",
    "machine": "computer.facts",
    "ops": "ops",
    "privacy": "training.privacy",
    "record": "record",
    "strategies": "strategies",
    "tasks": "tasks",
    "units": "units",
    "views": "views",
}

__all__ = [*_PUBLIC, *_MODULES]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"lablib has no {name!r}; it has {', '.join(sorted(__all__))}")
    module = _imported(_PUBLIC.get(name) or _MODULES[name])
    return getattr(module, name) if name in _PUBLIC else module


def _imported(name):
    try:
        return importlib.import_module(f"lablib.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "lablib":
            raise
        from lablib.computer import missing_package

        raise missing_package.explained(error.name) from None


def __dir__():
    return sorted(__all__)
