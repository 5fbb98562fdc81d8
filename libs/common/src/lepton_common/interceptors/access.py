"""Who may call a method."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lepton.access.v1.access_pb2 import Permission
from lepton_common.auth import Credentials, Identity
from lepton_common.errors import PermissionDenied
from lepton_common.interceptors.call import Call, Method, Proceed

# What gRPC's TLS layer says of a verified peer certificate's subject alternative names.
_CERTIFICATE_NAMES = ("peer_spiffe_id", "peer_dns")


class Access:
    """Admits callers that the credentials know, to the methods that their roles allow."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        """Lets the call through.

        Raises:
            Unauthenticated: the caller is not known.
            PermissionDenied: none of the caller's roles grants what the method asks for.
        """
        if call.method.permission is not None:
            names = certificate_names(call.context.auth_context())
            call.identity = self._credentials.authenticate(call.metadata("authorization"), names)
            check_permission(call.identity, call.method)
        return await proceed()


def check_permission(caller: Identity, method: Method) -> None:
    """Checks that a caller may call a method.

    Raises:
        PermissionDenied: none of the caller's roles grants what the method asks for.
    """
    if method.permission is not None and method.permission not in caller.permissions:
        needed = Permission.Name(method.permission).removeprefix("PERMISSION_")
        raise PermissionDenied(
            f"{caller.name} may not call {method.name}: it needs {needed}", metadata={"permission": needed}
        )


def certificate_names(properties: Mapping[str, Iterable[bytes]]) -> Iterator[str]:
    """The names in a verified client certificate, out of what gRPC says of a connection's security."""
    for key in _CERTIFICATE_NAMES:
        for name in properties.get(key, ()):
            yield name.decode("utf-8", "replace")
