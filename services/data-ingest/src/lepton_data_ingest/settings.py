"""Settings of the data-ingest service, from the environment (`LEPTON_...`)."""

from pathlib import Path

from pydantic import Field

from lepton_common.settings import DatabaseSettings, ObjectStoreSettings, ServerSettings


class Settings(ServerSettings, DatabaseSettings, ObjectStoreSettings):
    """What the service needs to know."""

    run_directory: Path
    """Folder of the workers: their logs, and scratch space for the files of the versions they build."""

    max_running: int = Field(default=2, gt=0)
    """Versions that are built at once; the others wait."""
