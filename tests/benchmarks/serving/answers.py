"""Whether a server answers what ONNX Runtime answers: what is measured must be right."""

import grpc
import numpy as np

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from serving.alone import Session
from serving.clients import MESSAGE_LIMIT
from serving.models import Model, records, request
from serving.processes import Server

ANSWER_SECONDS = 60
TOLERANCES = {"cpu": 1e-4, "cuda": 1e-2}
"""Of the largest number of an answer, on each device. Batches of other sizes round otherwise, and CUDA
multiplies with 10 bits of mantissa (TF32)."""


def check_answers(server: Server, model: Model, session: Session, device: str) -> None:
    """Sends a full batch of requests of one record at once, each with an id and a record of its own.

    Raises AssertionError if an answer is not that of its record, and grpc.RpcError if one is an error.
    """
    batch = records(model, model.most_batched)
    expected = session.run(batch)
    with grpc.insecure_channel(server.address, options=MESSAGE_LIMIT) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        calls = []
        for number, record in enumerate(batch):
            message = request(model, record[np.newaxis])
            message.id = f"request-{number}"
            calls.append(stub.ModelInfer.future(message, timeout=ANSWER_SECONDS))
        for number, call in enumerate(calls):
            answer = call.result()
            assert answer.id == f"request-{number}", f"{server.name} mixes up ids"
            np.testing.assert_allclose(
                _numbers(answer),
                expected[number],
                rtol=0,
                atol=TOLERANCES[device] * np.abs(expected[number]).max(),
                err_msg=f"{server.name}, {model.name}",
            )


def _numbers(answer: pb.ModelInferResponse) -> np.ndarray:
    """The numbers of the only output: its bytes, or its typed contents."""
    if answer.raw_output_contents:
        return np.frombuffer(answer.raw_output_contents[0], np.float32)
    return np.array(answer.outputs[0].contents.fp32_contents, np.float32)
