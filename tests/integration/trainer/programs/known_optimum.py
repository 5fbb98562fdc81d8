"""A worker whose validation loss is a known function of its recipe.

It is least at a step size of 0.01 and batches of 64, and is said epoch by epoch.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

from lepton_common.errors import Cancelled, InvalidModel
from lepton_common.jobs.worker import Worker, run_worker
from lepton_common.manifests import put_blob

DIVERGES = 10.0
"""A step size from which on a training fails."""

ENDLESS = 1.0
"""A loss from which on a training does not end by itself."""


def loss(learning_rate: float, batch_size: int) -> float:
    return abs(math.log10(learning_rate) + 2) + abs(batch_size - 64) / 64


def main(worker: Worker) -> Mapping[str, Any]:
    recipe = worker.spec["recipe"]
    learning_rate = recipe["optimizer"]["learning_rate"]
    if learning_rate >= DIVERGES:
        raise InvalidModel("the training diverges")
    reached = loss(learning_rate, recipe["batch_size"])
    epoch = 0
    while epoch < recipe["max_epochs"] or (reached >= ENDLESS and recipe["convergence"]["patience"] == 0):
        if worker.stop_requested:
            raise Cancelled("stopped on request")
        epoch += 1
        worker.progress("training", epoch, recipe["max_epochs"], "epoch")
        worker.metric("loss", epoch, reached)
        # The last epoch is not the best.
        worker.metric("validation_loss", epoch, reached + abs(epoch - recipe["max_epochs"] + 1) / 100)
        worker.flush()
        time.sleep(0.02)
    weights = f"{learning_rate} {recipe['batch_size']}".encode()
    made = {
        path: put_blob(worker.objects, worker.spec.get("artifacts", "models"), data)
        for path, data in {"model.keras": weights, "transform.json": b"{}"}.items()
    }
    return {
        "files": [
            {"path": path, "sha256": blob.sha256, "size_bytes": blob.size_bytes, "key": blob.key}
            for path, blob in made.items()
        ],
        "signature": {
            "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
            "classes": [str(digit) for digit in range(10)],
        },
        "metrics": {"accuracy": 1 / (1 + reached), "best_epoch": float(recipe["max_epochs"] - 1)},
    }


if __name__ == "__main__":
    run_worker(main)
