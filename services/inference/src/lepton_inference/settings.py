"""Settings of the inference service, from the environment (`LEPTON_...`)."""

import os
import socket
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from lepton_common.settings import ClientSettings, ObjectStoreSettings, ServerSettings
from lepton_inference.sessions import Device


class Settings(ServerSettings, ObjectStoreSettings, ClientSettings):
    """What the service needs to know."""

    registry_address: str
    """`host:port` of the registry."""

    run_directory: Path
    """Folder of this server alone: model files, TensorRT's engines, and what the registry said last."""

    replica: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}", min_length=1)
    """Id of this server, unique among those that live."""

    pool: str = Field(default="default", pattern="^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
    """The pool of this server: it serves the endpoints that name it."""

    pool_address: str = ""
    """`host:port` where clients reach the servers of its pool. Empty: clients are not told."""

    device: Device = "cpu"
    """Where models run, if their endpoints do not say."""

    require_gpu: bool = False
    """Whether a model that would run on the CPU is refused."""

    model_memory_bytes: int = Field(default=0, ge=0)
    """Bytes of memory that models may take together. 0: what the container's limit leaves, if it has one."""

    model_gpu_memory_bytes: int = Field(default=0, ge=0)
    """Bytes of the GPU's memory that models may take together. 0: nine tenths of what is free at first."""

    transport: Literal["grpc", "http2"] = "http2"
    """What carries calls: Lepton's own server, or gRPC's, which answers the same and costs more."""

    workers: int = Field(default=0, ge=0, le=64)
    """Processes that take connections for this one, which has the models and answers the calls: they do TLS
    and HTTP/2, each with a core of its own to run on. 0: this process takes them itself. For `http2`
    alone."""

    threads: int = Field(default=0, ge=0)
    """Cores that one run of a model may use, if its endpoint does not say. 0: all that the process may use,
    within the limit of its container."""

    max_queue_requests: int = Field(default=1024, gt=0)
    """Requests that may wait for one version."""

    max_queue_bytes: int = Field(default=256 * 1024 * 1024, gt=0)
    """Bytes of tensors that may wait for one version."""

    shared_memory: bool = False
    """Whether clients on this machine may lay tensors in shared memory (`/dev/shm`). Who registers a region
    needs the permission ADMIN; who may predict may name any of them."""

    @model_validator(mode="after")
    def _workers_have_a_transport(self) -> Self:
        if self.workers and self.transport != "http2":
            raise ValueError("workers need the transport http2")
        return self
