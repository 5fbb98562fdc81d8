"""Who may call a method."""

from collections.abc import Iterator
from typing import Any

from lepton.access.v1.access_pb2 import Permission
from lepton_common.auth import Credentials
from lepton_common.errors import PermissionDenied
from lepton_common.interceptors.call import Call, Proceed

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
        permission = call.method.permission
        if permission is not None:
            call.identity = self._credentials.authenticate(
                call.metadata("authorization"), _certificate_names(call)
            )
            if permission not in call.identity.permissions:
                needed = Permission.Name(permission).removeprefix("PERMISSION_")
                raise PermissionDenied(
                    f"{call.identity.name} may not call {call.method.name}: it needs {needed}",
                    metadata={"permission": needed},
                )
        return await proceed()


def _certificate_names(call: Call) -> Iterator[str]:
    properties = call.context.auth_context()
    for key in _CERTIFICATE_NAMES:
        for name in properties.get(key, ()):
            yield name.decode("utf-8", "replace")
