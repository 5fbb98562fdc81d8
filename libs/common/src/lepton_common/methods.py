"""What a server offers: its services, and what is known of each of their methods."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.protobuf.descriptor import ServiceDescriptor

from lepton.access.v1 import access_pb2
from lepton_common.interceptors.call import Method


class QuickCall(Protocol):
    """A unary call that a plain function answers, at once or later, without a task."""

    on_cancel: Callable[[], None] | None
    """Called when nobody waits for the answer any more."""

    @property
    def deadline(self) -> float | None:
        """When the caller stops waiting, of `time.monotonic`; None for never."""

    def reply(self, message: bytes) -> None:
        """Answers with a serialised response. Nothing happens if nobody waits any more."""

    def end(self, error: BaseException) -> None:
        """Answers with an error; one without a name is a fault. Nothing happens if nobody waits any more."""


Quick = Callable[[QuickCall, bytes | memoryview], bool]
"""Takes a call with its serialised request and gives True, or leaves it to the servicer. It may not block.

A large request may be a view of where it lies. Its room is free again when no view is left."""


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

    add: Callable[[Any, Any], None]
    """The generated `add_...Servicer_to_server`."""

    servicer: object
    """Its methods are coroutines (or asynchronous generators) that raise named errors."""

    permissions: Mapping[str, "access_pb2.Permission.ValueType | None"] = field(default_factory=dict)
    """Permissions by method name, for contracts of others; None opens a method to everyone. What is not
    here, the contract's option says."""

    validate: bool = True
    """Whether requests are checked against `buf.validate` rules. Off where a contract has none and calls
    are many."""

    quick: Mapping[str, Quick] = field(default_factory=dict)
    """Functions by method name that are asked before the servicer, on a transport that can do without a task
    for each call. They must answer as the servicer would."""

    quiet: frozenset[str] = frozenset()
    """Names of methods whose calls are logged at DEBUG alone if they succeed, or find no time."""

    def quick_paths(self) -> Iterable[tuple[str, Quick]]:
        """The functions of `quick`, by the paths of their methods."""
        for name, function in self.quick.items():
            yield f"/{self.descriptor.full_name}/{name}", function

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
                quiet=method.name in self.quiet,
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
