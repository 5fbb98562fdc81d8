"""The methods of the protocol that this server does not have, each refused in words that help.

CUDA shared memory lets a client point the server at memory of a GPU by a handle of its driver, which only
processes on that GPU can open. Traces and logs belong to who runs the server.
"""

from typing import Any, TypeAlias

import grpc

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton_common.errors import Unimplemented

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class Refusals(pb_grpc.GRPCInferenceServiceServicer):
    """Answers UNIMPLEMENTED."""

    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, context: Context
    ) -> pb.CudaSharedMemoryStatusResponse:
        """Refused."""
        raise _no_cuda_handles()

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, context: Context
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Refused."""
        raise _no_cuda_handles()

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, context: Context
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """Refused."""
        raise _no_cuda_handles()

    async def TraceSetting(
        self, request: pb.TraceSettingRequest, context: Context
    ) -> pb.TraceSettingResponse:
        """Refused."""
        raise Unimplemented("traces are set up where the server is started, by LEPTON_OTLP_ENDPOINT")

    async def LogSettings(self, request: pb.LogSettingsRequest, context: Context) -> pb.LogSettingsResponse:
        """Refused."""
        raise Unimplemented("logging is set up where the server is started, by LEPTON_LOG_LEVEL")


def _no_cuda_handles() -> Unimplemented:
    return Unimplemented(
        "this server opens no handles of CUDA memory: use system shared memory where it is on, "
        "or send tensors in the requests"
    )
