"""Settings of the registry, from the environment (`LEPTON_...`)."""

from lepton_common.settings import DatabaseSettings, ObjectStoreSettings, ServerSettings


class Settings(ServerSettings, DatabaseSettings, ObjectStoreSettings):
    """What the registry needs to know."""

    namespace: str = ""
    """The Kubernetes namespace of the inference servers, whose pods tell why servers are missing. Empty: no
    cluster is looked at."""
