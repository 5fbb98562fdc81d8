"""Settings of the compressor, from the environment (`LEPTON_...`)."""

from lepton_common.settings import ClientSettings, DatabaseSettings, ServerSettings, WorkerSettings


class Settings(ServerSettings, DatabaseSettings, WorkerSettings, ClientSettings):
    """What the compressor needs to know.

    On one machine one job at a time has a worker: more than one, and they disturb each other's measurements.
    """

    data_ingest_address: str
    """`host:port` of the service that keeps the datasets."""

    registry_address: str
    """`host:port` of the service that keeps the models."""
