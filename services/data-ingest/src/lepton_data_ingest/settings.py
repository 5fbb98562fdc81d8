"""Settings of the data-ingest service, from the environment (`LEPTON_...`)."""

from typing import ClassVar

from lepton_common.settings import DatabaseSettings, ServerSettings, WorkerSettings


class Settings(ServerSettings, DatabaseSettings, WorkerSettings):
    """What the service needs to know; its jobs are the builds of dataset versions."""

    jobs_on_a_machine: ClassVar[int] = 2
