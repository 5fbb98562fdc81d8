"""Entry point of the compression worker."""

from lepton_common.jobs.worker import run_worker
from lepton_compressor.worker.compression import compress
from lepton_learn import environment

if __name__ == "__main__":
    environment.prepare()
    run_worker(compress)
