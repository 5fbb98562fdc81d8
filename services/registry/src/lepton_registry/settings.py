"""Settings of the registry, from the environment (`LEPTON_...`)."""

from lepton_common.settings import DatabaseSettings, ObjectStoreSettings, ServerSettings


class Settings(ServerSettings, DatabaseSettings, ObjectStoreSettings):
    """What the registry needs to know."""
