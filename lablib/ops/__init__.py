"""DevOps for distributed training: a pipeline on this computer that tests, trains and deploys.

pipeline = lab.ops.Pipeline("pipeline")
delivery = pipeline.push("Train for more steps")

    NOTEBOOK   `Pipeline`: commits and pushes, and shows how the delivery goes on
      |  git push
      v
    HOOK       `hook`: git starts it in the bare repository; it asks the service for a delivery
      |  state/service.sock
      v
    SERVICE    `service`: one process for each pipeline, a child of the notebook's kernel. It keeps
      |  |     the model server and the two trainers alive, and ends everything when the kernel ends
      |  v
      |  RUNNER    `act`, or `own_runner` without it: runs the jobs of .github/workflows/deliver.yml
      v     |  `python -m lablib run` in a step is forwarded over state/torch.sock
    TRAINERS  `lablib.cli_warm`: one for each framework, with ranks that start in a moment
"""

import importlib

_PUBLIC = {
    "OUTCOMES": "delivery",
    "Delivery": "delivery",
    "JobRun": "delivery",
    "Pipeline": "pipeline",
    "install": "installation",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"lablib.ops.{_PUBLIC[name]}"), name)
    raise AttributeError(f"lab.ops has no {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return sorted(__all__)
