"""What a server offers: its services, and what is known of each of their methods."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from lepton.access.v1 import access_pb2
from lepton_common.interceptors.call import Method


@dataclass(frozen=True, kw_only=True)
class Service:
    """A gRPC service and who answers for it.

    Example:
        Service(
            descriptor=dataset_pb2.DESCRIPTOR.services_by_name["DatasetService"],
            add=dataset_pb2_grpc.add_DatasetServiceServicer_to_server,
            servicer=DatasetServicer(...),
        )
    """

    descriptor: ServiceDescriptor
    """The service, as its contract describes it."""

    add: Callable[[Any, grpc.aio.Server], None]
    """The generated `add_...Servicer_to_server`."""

    servicer: object
    """Its methods are coroutines (or asynchronous generators) that raise named errors."""

    permissions: Mapping[str, "access_pb2.Permission.ValueType | None"] = field(default_factory=dict)
    """Permissions by method name, for contracts of others; None opens a method to everyone. What is not
    here, the contract's option says."""

    validate: bool = True
    """Whether requests are checked against `buf.validate` rules. Off where a contract has none and calls
    are many."""

    def methods(self) -> Iterable[Method]:
        """Describes the methods. One that says nothing of permissions asks for ADMIN.

        Raises:
            ValueError: `permissions` names a method that the service does not have.
        """
        if unknown := set(self.permissions) - set(self.descriptor.methods_by_name):
            raise ValueError(f"{self.descriptor.full_name} has no method {', '.join(sorted(unknown))}")
        for method in self.descriptor.methods:
            declared = method.GetOptions().Extensions[access_pb2.permission]
            yield Method(
                service=self.descriptor.full_name,
                name=method.name,
                permission=self.permissions.get(method.name, declared or access_pb2.PERMISSION_ADMIN),
                validate=self.validate,
                endless=method.server_streaming and method.name.startswith("Watch"),
                client_streaming=method.client_streaming,
                server_streaming=method.server_streaming,
            )


def open_methods(descriptor: ServiceDescriptor) -> Iterable[Method]:
    """Describes the methods of a service that everyone may call: health, reflection."""
    for method in descriptor.methods:
        yield Method(
            service=descriptor.full_name,
            name=method.name,
            permission=None,
            validate=False,
            endless=False,
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
        )
