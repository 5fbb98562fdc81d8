"""A session with the published client: list, load, describe, infer. Prints what came back as JSON.

    python tritonclient_session.py ADDRESS ENDPOINT

The endpoint multiplies FP32 `x` [batch, 2] into `y`.
"""

import asyncio
import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

X = np.array([[1, 2], [3, 4]], np.float32)


def request() -> tuple[list[Any], list[Any]]:
    """Inputs and outputs of one request."""
    tensor = triton.InferInput("x", X.shape, "FP32")
    tensor.set_data_from_numpy(X)
    return [tensor], [triton.InferRequestedOutput("y")]


def synchronous(address: str, endpoint: str) -> dict[str, Any]:
    """What the synchronous client gets to see."""
    client = triton.InferenceServerClient(address)
    inputs, outputs = request()
    seen: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "server": client.get_server_metadata(as_json=True)["name"],
        "index": client.get_model_repository_index(as_json=True)["models"],
    }
    client.unload_model(endpoint)
    seen["ready_when_unloaded"] = client.is_model_ready(endpoint)
    client.load_model(endpoint)
    seen["ready_when_loaded"] = client.is_model_ready(endpoint)
    seen["metadata"] = client.get_model_metadata(endpoint, as_json=True)
    seen["config"] = client.get_model_config(endpoint, as_json=True)["config"]
    result = client.infer(endpoint, inputs, outputs=outputs, request_id="mine", client_timeout=10)
    seen["version"] = result.get_response().model_version
    seen["id"] = result.get_response().id
    seen["y"] = result.as_numpy("y").tolist()
    best = [triton.InferRequestedOutput("y", class_count=1)]
    seen["classes"] = [
        text.decode() for text in client.infer(endpoint, inputs, outputs=best).as_numpy("y")[:, 0]
    ]
    seen["statistics"] = client.get_inference_statistics(endpoint, as_json=True)["model_stats"]
    try:
        client.infer("nothing", inputs)
    except InferenceServerException as error:
        seen["error"] = [error.status(), error.message()]
    try:
        client.get_system_shared_memory_status()
    except InferenceServerException as error:
        seen["shared_memory"] = error.status()
    seen["stream"] = stream(client, endpoint, inputs)
    client.close()
    return seen


def stream(client: Any, endpoint: str, inputs: list[Any]) -> list[Any]:
    """Ids of the answers of a stream, in their order; texts for errors."""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put(error or result))
    for number in range(10):
        client.async_stream_infer("nothing" if number == 4 else endpoint, inputs, request_id=str(number))
    found = [answers.get(timeout=10) for _ in range(10)]
    client.stop_stream()
    return [
        answer.message() if isinstance(answer, InferenceServerException) else answer.get_response().id
        for answer in found
    ]


async def asynchronous(address: str, endpoint: str) -> list[Any]:
    """What the asynchronous client gets for requests sent together."""
    inputs, outputs = request()
    async with triton_aio.InferenceServerClient(address) as client:
        results = await asyncio.gather(*(client.infer(endpoint, inputs, outputs=outputs) for _ in range(20)))
    return [result.as_numpy("y").tolist() for result in results]


def main() -> None:
    """The whole session."""
    address, endpoint = sys.argv[1:]
    seen = synchronous(address, endpoint)
    seen["together"] = asyncio.run(asynchronous(address, endpoint))
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
