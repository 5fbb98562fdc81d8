"""Settings shared by Lepton's services, read from the environment (`LEPTON_...`).

A service composes its own settings from these by inheritance and reads them once, in its `__main__`:

    class Settings(ServerSettings, DatabaseSettings, ObjectStoreSettings):
        registry_address: str = "127.0.0.1:7005"
"""

import socket
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lepton_common.loopback import is_loopback

_MOST_AT_ONCE = 100_000
"""Jobs with workers in a cluster: more than it takes."""


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LEPTON_", frozen=True)


class ServerSettings(_Settings):
    """How a service listens, whom it admits, and what it tells about itself."""

    listen: str = "127.0.0.1:0"
    """`host:port` of the gRPC server. Port 0 takes a free one."""

    address_file: Path | None = None
    """Where the bound `host:port` is written, in one step, when the server is ready."""

    health_listen: str = ""
    """`host:port` where health alone is answered, without TLS or a token, for probes that know neither (the
    kubelet's). Empty: none. It tells nothing else, so it may be reached from anywhere."""

    metrics_listen: str = ""
    """`host:port` of the Prometheus endpoint `/metrics` over HTTP. Empty: none."""

    token_file: Path | None = None
    """The credentials that are admitted, with their roles (see `auth`). None: everyone may do everything."""

    tls_certificate: Path | None = None
    """The server's certificate chain, PEM. Read again when it changes."""

    tls_key: Path | None = None
    """The key of the certificate, PEM."""

    tls_client_ca: Path | None = None
    """The authorities whose client certificates are admitted, PEM. Given: every client needs one."""

    allow_insecure: bool = False
    """Allows listening beyond loopback without credentials, and sending tokens beyond it without TLS."""

    max_message_bytes: int = Field(default=64 * 1024 * 1024, gt=0)
    """Largest message taken and sent."""

    drain_seconds: float = Field(default=20.0, ge=0)
    """How long calls in flight may take to end once the server was told to stop."""

    max_connection_age_seconds: float = Field(default=60.0, ge=0)
    """About when a connection is told to go, so that clients look for new replicas: one that was added has
    its share of the calls after so long. Calls in flight end on the old connection in their own time; the new
    one costs a TLS handshake, about 2 ms of CPU for both sides together. 0: never."""

    default_deadline_seconds: float = Field(default=60.0, gt=0)
    """Deadline of a unary call whose caller set none."""

    otlp_endpoint: str = ""
    """URL of the OpenTelemetry collector (OTLP over gRPC) for traces. Empty: no traces."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""

    @model_validator(mode="after")
    def _tls_files_belong_together(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are given together or not at all")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        return self

    @model_validator(mode="after")
    def _others_need_credentials(self) -> Self:
        for name, address in (("listen", self.listen), ("metrics_listen", self.metrics_listen)):
            if not (address == "" or is_loopback(address) or self.token_file or self.allow_insecure):
                raise ValueError(
                    f"{name} is {address}, which other machines reach, and nobody would be asked who they "
                    "are: give a token_file, listen on 127.0.0.1, or set allow_insecure"
                )
        return self


class DatabaseSettings(_Settings):
    """Where a service keeps its resources."""

    database_url: str
    """`sqlite:///absolute/path.db` or `postgresql://user:password@host/database`."""


class ObjectStoreSettings(_Settings):
    """Where bytes are kept."""

    object_store_url: str
    """`file:///absolute/directory` or `s3://bucket/prefix`."""


class WorkerSettings(ObjectStoreSettings):
    """Where the workers of a service run, on this machine or in a cluster, and how many."""

    jobs_on_a_machine: ClassVar[int] = 1
    """How many jobs have workers at once on one machine, unless `max_running_jobs` says otherwise."""

    run_directory: Path | None = None
    """Where local workers keep their process files, their logs and their scratch, on a local disk. Given is
    this or `job_template`."""

    job_template: Path | None = None
    """The manifest of a Job, YAML, that Kubernetes Jobs are made from: then workers run in the cluster."""

    job_owner: str = ""
    """Name of the ConfigMap, in the namespace of the Jobs, that they belong to: they are deleted with it.
    Empty: they stay until their job is deleted or their time is over."""

    namespace: str = ""
    """Namespace of the Jobs. Empty: that of the pod that this service runs in."""

    replica: str = Field(default_factory=socket.gethostname)
    """What this replica calls itself among those that could follow the Jobs."""

    worker_object_store_url: str = ""
    """The object store, as workers reach it. Empty: `object_store_url`."""

    max_running_jobs: int = Field(default=0, ge=0)
    """How many jobs have workers at once; the others wait in the order of their creation. 0: what is good for
    one machine, or any number in a cluster, which has queues of its own."""

    max_attempts: int = Field(default=5, ge=1)
    """How many lost local workers a job gets over before it fails. In a cluster the job template says so."""

    @property
    def most_running(self) -> int:
        """How many jobs have workers at once."""
        return self.max_running_jobs or (_MOST_AT_ONCE if self.job_template else self.jobs_on_a_machine)

    @property
    def object_store_of_workers(self) -> str:
        """The URL of the object store, as workers reach it."""
        return self.worker_object_store_url or self.object_store_url

    @model_validator(mode="after")
    def _workers_have_a_place(self) -> Self:
        if (self.run_directory is None) == (self.job_template is None):
            raise ValueError(
                "give LEPTON_RUN_DIRECTORY, for workers on this machine, or LEPTON_JOB_TEMPLATE, for workers "
                "in a cluster"
            )
        return self


class ClientSettings(_Settings):
    """How a program presents itself to the services it calls."""

    token: SecretStr | None = None
    """The bearer token itself."""

    token_path: Path | None = None
    """A file that holds the bearer token; read again when it changes. `token` goes first."""

    tls_ca: Path | None = None
    """The authorities that a server's certificate must come from, PEM. None: no TLS."""

    tls_certificate: Path | None = None
    """The certificate chain to show to servers that ask for one, PEM; a service shows what it serves with."""

    tls_key: Path | None = None
    """The key of the certificate, PEM."""

    allow_insecure: bool = False
    """Allows listening beyond loopback without credentials, and sending tokens beyond it without TLS."""
