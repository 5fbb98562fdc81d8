"""Entry point of a compression worker."""

import os

# Said before TensorFlow is imported: it decides at import time.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from lepton_common.jobs.worker import run_worker
from lepton_compressor.worker.compression import compress

if __name__ == "__main__":
    run_worker(compress)
