"""Settings of the trainer, from the environment (`LEPTON_...`)."""

from pydantic import Field

from lepton_common.settings import ClientSettings, DatabaseSettings, ServerSettings, WorkerSettings
from lepton_trainer.training import MAX_CLUSTER_WORKERS, MAX_LOCAL_WORKERS


class Settings(ServerSettings, DatabaseSettings, WorkerSettings, ClientSettings):
    """What the trainer needs to know."""

    data_ingest_address: str
    """`host:port` of the service that keeps the datasets."""

    registry_address: str
    """`host:port` of the service that keeps the models."""

    input_memory_bytes: int = Field(default=0, ge=0)
    """How much memory the records of a training may take in each of its workers; of more than that a worker
    keeps them on its local disk. 0: a quarter of what the worker may use."""

    @property
    def most_workers(self) -> int:
        """How many workers can train together."""
        return MAX_CLUSTER_WORKERS if self.job_template else MAX_LOCAL_WORKERS
