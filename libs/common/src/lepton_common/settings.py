"""Settings shared by Lepton's services, read from the environment (`LEPTON_...`).

A service composes its own settings from these by inheritance and reads them once, in its `__main__`:

    class Settings(ServerSettings, DatabaseSettings, ObjectStoreSettings):
        registry_address: str = "127.0.0.1:7005"
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lepton_common.loopback import is_loopback


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

    max_connection_age_seconds: float = Field(default=600.0, ge=0)
    """About when a connection is told to go, so that clients look for new replicas. Calls in flight end on it
    in their own time. 0: never."""

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
