"""A server on the KServe SDK that runs ONNX files on ONNX Runtime with one thread.

python kserve_server.py GRPC_PORT HTTP_PORT MODEL=FILE ...
"""

import logging
import sys

import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class OnnxModel(Model):  # type: ignore[misc]  # KServe is not installed where types are checked.
    """What the server calls."""

    def __init__(self, name: str, file: str) -> None:
        super().__init__(name)
        self._file = file

    def load(self) -> bool:
        """Load the model."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(self._file, options, providers=["CPUExecutionProvider"])
        self.ready = True
        return True

    async def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        """Answer one request."""
        (answers,) = self._session.run(["y"], {"x": payload.inputs[0].as_numpy()})
        output = InferOutput(name="y", shape=list(answers.shape), datatype="FP32")
        output.set_data_from_numpy(answers, binary_data=True)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    grpc_port, http_port, *files = sys.argv[1:]
    models = [OnnxModel(*each.split("=", 1)) for each in files]
    for model in models:
        model.load()
    server = ModelServer(http_port=int(http_port), grpc_port=int(grpc_port), enable_latency_logging=False)
    # Else there is a line for every request.
    logging.getLogger("kserve").setLevel(logging.WARNING)
    server.start(models)
