"""The methods of the protocol that this server does not have, each refused in words that help.

Shared memory lets a client point the server at memory outside of its requests: for peers on
one machine that trust each other. Traces and logs belong to who runs the server.
"""

from typing import Any, TypeAlias

import grpc

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton_common.errors import Unimplemented

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class Refusals(pb_grpc.GRPCInferenceServiceServicer):
    """Answers UNIMPLEMENTED."""

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        """Refused."""
        raise _shared_memory_is_off()

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Refused."""
        raise _shared_memory_is_off()

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Refused."""
        raise _shared_memory_is_off()

    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, context: Context
    ) -> pb.CudaSharedMemoryStatusResponse:
        """Refused."""
        raise _shared_memory_is_off()

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, context: Context
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Refused."""
        raise _shared_memory_is_off()

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, context: Context
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """Refused."""
        raise _shared_memory_is_off()

    async def TraceSetting(
        self, request: pb.TraceSettingRequest, context: Context
    ) -> pb.TraceSettingResponse:
        """Refused."""
        raise Unimplemented("traces are set up where the server is started, by LEPTON_OTLP_ENDPOINT")

    async def LogSettings(self, request: pb.LogSettingsRequest, context: Context) -> pb.LogSettingsResponse:
        """Refused."""
        raise Unimplemented("logging is set up where the server is started, by LEPTON_LOG_LEVEL")


def _shared_memory_is_off() -> Unimplemented:
    return Unimplemented("shared memory is off on this server: send tensors in the requests")
