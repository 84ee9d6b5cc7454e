"""A model version as `mlflow models serve` runs it.

MLflow stores this file beside the weights ("models from code"), so nothing is pickled. The kit's
own server does not use it. This file is executed by MLflow only, so it may import MLflow.
"""

import importlib.util

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Digits(PythonModel):
    def load_context(self, context):
        spec = importlib.util.spec_from_file_location("model", context.artifacts["model"])
        self.model = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.model)
        with np.load(context.artifacts["weights"], allow_pickle=False) as file:
            self.weights = dict(file)

    def predict(self, context, model_input, params=None):
        return self.model.probabilities(self.weights, np.asarray(model_input, np.float32))


set_model(Digits())
