"""ONNX Runtime alone, as a program: `python -m serving.alone FILE MODEL RECORDS DEVICE`.

Runs batches of so many records for a while; prints `[CPU microseconds a record, records a second]`.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from serving.models import MODELS, Model, records
from serving.processes import MODULES, ONE_THREAD, SERVER_CORE

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
WARM_RUNS = 3
SECONDS = 2.0


class Session:
    """A model on ONNX Runtime with one thread, on the device `cpu` or `cuda`."""

    def __init__(self, file: Path, device: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        provider = PROVIDERS[device]
        if device == "cuda":
            ort.preload_dlls()
        self._session = ort.InferenceSession(file, options, providers=[provider])
        if self._session.get_providers()[0] != provider:
            sys.exit(f"ONNX Runtime cannot use {provider} here.")

    def run(self, batch: np.ndarray) -> np.ndarray:
        """The answers to a batch, float32 of (batch, classes)."""
        (answers,) = self._session.run(["y"], {"x": batch})
        result: np.ndarray = answers
        return result


def measure_alone(file: Path, model: Model, count: int, device: str) -> tuple[float, float]:
    """The CPU microseconds a record, and the records a second, on the servers' core on batches of `count`."""
    done = subprocess.run(
        [
            *("taskset", "--cpu-list", str(SERVER_CORE), sys.executable, "-m", "serving.alone"),
            *(str(file), model.name, str(count), device),
        ],
        env=os.environ | ONE_THREAD | MODULES,
        check=True,
        capture_output=True,
        text=True,
    )
    cpu_us, rate = json.loads(done.stdout)
    return cpu_us, rate


def main(file: Path, model: Model, count: int, device: str) -> None:
    """Run batches for a while."""
    session, batch = Session(file, device), records(model, count)
    for _ in range(WARM_RUNS):
        session.run(batch)
    began, used, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < SECONDS:
        session.run(batch)
        done += count
    seconds, used = time.perf_counter() - began, time.process_time() - used
    print(json.dumps([used / done * 1e6, done / seconds]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), MODELS[sys.argv[2]], int(sys.argv[3]), sys.argv[4])
