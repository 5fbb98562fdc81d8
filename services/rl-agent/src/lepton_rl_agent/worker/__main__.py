"""`python -m lepton_rl_agent.worker`: one attempt at a learning run."""

from lepton_common.jobs.worker import run_worker
from lepton_rl_agent.worker.learning import learn

if __name__ == "__main__":
    run_worker(learn)
