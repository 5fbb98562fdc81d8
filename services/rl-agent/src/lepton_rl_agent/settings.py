"""Settings of the agent service, from the environment (`LEPTON_...`)."""

from lepton_common.settings import ClientSettings, DatabaseSettings, ServerSettings, WorkerSettings


class Settings(ServerSettings, DatabaseSettings, WorkerSettings, ClientSettings):
    """What the agent service needs to know; its jobs are learning runs."""

    registry_address: str
    """`host:port` of the service that keeps the models, policies among them."""
