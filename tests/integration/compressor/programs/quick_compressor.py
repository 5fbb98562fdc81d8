"""A worker that takes no time to compress: it answers as its job's model asks for."""

import time
from collections.abc import Mapping
from typing import Any

from lepton_common.errors import Cancelled, NoCandidate
from lepton_common.jobs.worker import Worker, run_worker


def candidate(name: str, **measured: Any) -> dict[str, Any]:
    figures = {"size_bytes": 90, "score": 0.98, "metric": "accuracy", "latency_ms": 0.2}
    return {"name": name, "precision": f"PRECISION_{name.upper()}", **figures, **measured}


def main(worker: Worker) -> Mapping[str, Any]:
    spec = worker.spec["spec"]
    worker.metric("size", 1, 90)
    worker.progress("exporting", 1, 4, "step")
    if spec["model"] == "models/bad":
        raise NoCandidate("nothing holds")
    while spec["model"] == "models/slow" and worker.objects.stat("go-on") is None:
        if worker.stop_requested:
            raise Cancelled("stopped on request")
        time.sleep(0.02)
    file = {"path": "model.onnx", "sha256": "12" * 32, "size_bytes": 30, "key": f"models/blobs/{'12' * 32}"}
    return {
        "files": [file],
        "signature": {
            "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
            "classes": [str(digit) for digit in range(10)],
        },
        "metrics": {
            "accuracy": 0.98,
            "manifest_is_known": float(worker.spec["manifest"]["sha256"] == "cd" * 32),
            "source_bytes": sum(file["size_bytes"] for file in worker.spec["source"]["files"]),
        },
        "candidates": [
            candidate("fp32", rejection="int8 is better"),
            candidate("int8", size_bytes=30, selected=True),
        ],
    }


if __name__ == "__main__":
    run_worker(main)
