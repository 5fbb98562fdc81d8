"""Settings of the trainer, from the environment (`LEPTON_...`)."""

import socket
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from lepton_common.settings import ClientSettings, DatabaseSettings, ObjectStoreSettings, ServerSettings

_MOST_AT_ONCE = 100_000


class Settings(ServerSettings, DatabaseSettings, ObjectStoreSettings, ClientSettings):
    """What the trainer needs to know."""

    data_ingest_address: str
    """`host:port` of the service that keeps the datasets."""

    registry_address: str
    """`host:port` of the service that keeps the models."""

    run_directory: Path | None = None
    """Where local workers keep their process files, their logs and their scratch, on a local disk. Given is
    this or `job_template`."""

    job_template: Path | None = None
    """The manifest of a Job, YAML, that Kubernetes Jobs are made from: then workers run in the cluster."""

    namespace: str = ""
    """Namespace of the Jobs. Empty: that of the pod that this service runs in."""

    replica: str = Field(default_factory=socket.gethostname)
    """What this replica calls itself among those that could follow the Jobs."""

    worker_object_store_url: str = ""
    """The object store, as workers reach it. Empty: `object_store_url`."""

    max_running_jobs: int = Field(default=0, ge=0)
    """How many training jobs have workers at once; the others wait in the order of their creation. 0: one on
    this machine, any number in a cluster, which has queues of its own."""

    max_attempts: int = Field(default=5, ge=1)
    """How many lost local workers a job gets over before it fails. In a cluster the job template says so."""

    input_memory_bytes: int = Field(default=0, ge=0)
    """How much memory the records of a training may take in each of its workers; of more than that a worker
    keeps them on its local disk. 0: a quarter of what the worker may use."""

    @property
    def most_running(self) -> int:
        """How many training jobs have workers at once."""
        return self.max_running_jobs or (_MOST_AT_ONCE if self.job_template else 1)

    @model_validator(mode="after")
    def _workers_have_a_place(self) -> Self:
        if (self.run_directory is None) == (self.job_template is None):
            raise ValueError(
                "give LEPTON_RUN_DIRECTORY, for workers on this machine, or LEPTON_JOB_TEMPLATE, for workers "
                "in a cluster"
            )
        return self
