"""Settings of the agent service, from the environment (`LEPTON_...`)."""

from pathlib import Path

from pydantic import Field

from lepton_common.settings import ClientSettings, DatabaseSettings, ObjectStoreSettings, ServerSettings


class Settings(ServerSettings, DatabaseSettings, ObjectStoreSettings, ClientSettings):
    """What the agent service needs to know."""

    registry_address: str
    """`host:port` of the service that keeps the models, policies among them."""

    run_directory: Path
    """Where local workers keep their process files, their logs and their scratch, on a local disk."""

    max_running_jobs: int = Field(default=1, ge=1)
    """How many learning runs have workers at once; the others wait in the order of their creation."""

    max_attempts: int = Field(default=5, ge=1)
    """How many lost workers a learning run gets over before it fails."""
