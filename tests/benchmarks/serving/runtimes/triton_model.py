"""A model for tritonserver's Python backend: runs the `model.onnx` beside it with one thread."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton


class TritonPythonModel:
    """What the backend calls."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Load the model."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = Path(arguments["model_repository"], arguments["model_version"], "model.onnx")
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of a batch with one run."""
        inputs = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        batch = inputs[0] if len(inputs) == 1 else np.concatenate(inputs)
        (answers,) = self._session.run(["y"], {"x": batch})
        ends = np.cumsum([len(each) for each in inputs])[:-1]
        return [triton.InferenceResponse([triton.Tensor("y", part)]) for part in np.split(answers, ends)]
