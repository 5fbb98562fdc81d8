"""Settings of the registry, from the environment (`LEPTON_...`)."""

from lepton_common.settings import DatabaseSettings, ServerSettings


class Settings(ServerSettings, DatabaseSettings):
    """What the registry needs to know."""
