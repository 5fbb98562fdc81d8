"""Settings of the trainer, from the environment (`LEPTON_...`)."""

from pathlib import Path

from pydantic import Field

from lepton_common.settings import ClientSettings, DatabaseSettings, ObjectStoreSettings, ServerSettings


class Settings(ServerSettings, DatabaseSettings, ObjectStoreSettings, ClientSettings):
    """What the trainer needs to know."""

    data_ingest_address: str
    """`host:port` of the service that keeps the datasets."""

    registry_address: str
    """`host:port` of the service that keeps the models."""

    run_directory: Path
    """Where local workers keep their process files, their logs and their scratch, on a local disk."""

    max_running_jobs: int = Field(default=1, ge=1)
    """How many training jobs have workers at once; the others wait in the order of their creation."""

    max_attempts: int = Field(default=5, ge=1)
    """How many lost workers a job gets over before it fails."""

    input_memory_bytes: int = Field(default=0, ge=0)
    """How much memory the records of a training may take in each of its workers; of more than that a worker
    keeps them on its local disk. 0: a quarter of what the worker may use."""
