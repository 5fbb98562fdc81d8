"""Entry point of the training worker."""

import os
from pathlib import Path

from lepton_common.jobs.worker import run_worker
from lepton_trainer.worker.job import run_job


def _prepare_tensorflow() -> None:
    """Set what TensorFlow reads from the environment when it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        # Without a GPU the search for one only costs time and warnings.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


if __name__ == "__main__":
    _prepare_tensorflow()
    run_worker(run_job)
