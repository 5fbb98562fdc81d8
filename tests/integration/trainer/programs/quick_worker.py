"""A worker that takes no time to train: it answers as its recipe's seed asks for."""

import time
from collections.abc import Mapping
from typing import Any

from lepton_common.errors import Cancelled, InvalidModel
from lepton_common.jobs.worker import Worker, run_worker

BAD, SLOW = 1, 2
"""Seeds of a training that fails, and of one that does not end by itself."""


def main(worker: Worker) -> Mapping[str, Any]:
    worker.metric("loss", 1, 0.5)
    worker.progress("training", 1, 2, "step")
    seed = worker.spec["recipe"]["seed"]
    if seed == BAD:
        raise InvalidModel("shapes that do not fit")
    while seed == SLOW:
        if worker.stop_requested:
            raise Cancelled("stopped on request")
        time.sleep(0.02)
    manifest = worker.spec["manifest"]
    metrics = {"accuracy": 0.97, "manifest_is_known": float(manifest["sha256"] == "cd" * 32)}
    if "base" in worker.spec:
        metrics["files_of_the_base"] = float(len(worker.spec["base"]["files"]))
    return {
        "files": [
            {"path": "model.keras", "sha256": "ab" * 32, "size_bytes": 3, "key": f"models/blobs/{'ab' * 32}"}
        ],
        "signature": {
            "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
            "classes": [str(digit) for digit in range(10)],
        },
        "metrics": metrics,
    }


if __name__ == "__main__":
    run_worker(main)
