"""Tensors in shared memory, with the published client. Prints what came back as JSON.

    python tritonclient_shared_memory.py ADDRESS ENDPOINT

The endpoint multiplies FP32 `x` [batch, 2] into `y`.
"""

import json
import os
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

X = np.array([[1, 2], [3, 4]], np.float32)
KEY = f"lepton-interop-{os.getpid()}"


@contextmanager
def memory(key: str) -> Iterator[Any]:
    """An object with room for the input and, behind it, for the output."""
    handle = shm.create_shared_memory_region(key, key, 2 * X.nbytes, create_only=True)
    try:
        yield handle
    finally:
        shm.destroy_shared_memory_region(handle)


def request(name: str) -> tuple[list[Any], list[Any]]:
    """The input at the start of a region, the output behind it."""
    tensor = triton.InferInput("x", X.shape, "FP32")
    tensor.set_shared_memory(name, X.nbytes)
    output = triton.InferRequestedOutput("y")
    output.set_shared_memory(name, X.nbytes, offset=X.nbytes)
    return [tensor], [output]


def failure(call: Any, *arguments: Any) -> list[Any]:
    """How a call fails."""
    try:
        call(*arguments)
    except InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("it did not fail")


def main() -> None:
    """The whole session."""
    address, endpoint = sys.argv[1:]
    client = triton.InferenceServerClient(address)
    seen: dict[str, Any] = {"extensions": client.get_server_metadata(as_json=True)["extensions"]}
    client.unregister_system_shared_memory()
    with memory(KEY) as handle:
        client.register_system_shared_memory("region", "/" + KEY, 2 * X.nbytes)
        seen["status"] = client.get_system_shared_memory_status(as_json=True)["regions"]["region"]
        seen["twice"] = failure(client.register_system_shared_memory, "region", KEY, X.nbytes)
        inputs, outputs = request("region")

        shm.set_shared_memory_region(handle, [X])
        result = client.infer(endpoint, inputs, outputs=outputs)
        seen["shape"] = [*result.get_output("y").shape]
        seen["y"] = shm.get_contents_as_numpy(handle, np.float32, X.shape, offset=X.nbytes).tolist()
        # One of the two in shared memory.
        seen["y_in_response"] = client.infer(endpoint, inputs).as_numpy("y").tolist()

        shm.set_shared_memory_region(handle, [10 * X])
        answers: queue.Queue[Any] = queue.Queue()
        client.start_stream(callback=lambda result, error: answers.put(error or result))
        client.async_stream_infer(endpoint, inputs, outputs=outputs)
        answers.get(timeout=10).get_response()
        client.stop_stream()
        seen["y_by_stream"] = shm.get_contents_as_numpy(handle, np.float32, X.shape, offset=X.nbytes).tolist()

        client.unregister_system_shared_memory("region")
        seen["regions"] = client.get_system_shared_memory_status(as_json=True)
        seen["gone"] = failure(client.infer, endpoint, inputs)
    seen["no_object"] = failure(client.register_system_shared_memory, "region", KEY, X.nbytes)
    seen["cuda"] = failure(client.get_cuda_shared_memory_status)
    client.close()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
