"""Entry point of the training worker."""

from lepton_common.jobs.worker import run_worker
from lepton_learn import environment
from lepton_trainer.worker.job import run_job

if __name__ == "__main__":
    environment.prepare()
    run_worker(run_job)
