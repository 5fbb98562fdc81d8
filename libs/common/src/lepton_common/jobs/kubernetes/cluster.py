"""One namespace of a cluster, through its API.

Objects are plain JSON documents here, as the API sends them: of a thousand Jobs only a few fields matter, and
models of all of them would cost a hundred times as much to decode.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient

from lepton_common.errors import (
    AlreadyExists,
    DependencyUnavailable,
    EtagMismatch,
    InvalidField,
    LeptonError,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
)

Document: TypeAlias = dict[str, Any]

_PATCH = "application/strategic-merge-patch+json"

_GROUPS = {"jobs": "apis/batch/v1", "leases": "apis/coordination.k8s.io/v1"}

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_CALL_SECONDS = 30.0
_CALLS_AT_ONCE = 16


class Cluster:
    """A namespace, with the credentials of this process.

    Attributes:
        namespace: Its name.
        api: The client, for libraries that speak to the API themselves.
    """

    def __init__(self, api: ApiClient, namespace: str) -> None:
        """Speak through `api`; see `connect`."""
        self.api = api
        self.namespace = namespace
        self._turns = asyncio.Semaphore(_CALLS_AT_ONCE)

    @classmethod
    async def connect(cls, namespace: str = "") -> Self:
        """Use the service account of the pod that this runs in, or else what `KUBECONFIG` names.

        Args:
            namespace: Empty: the pod's own, or `default`.

        Raises:
            ConfigException: There is neither.
        """
        if _NAMESPACE_FILE.exists():
            config.load_incluster_config()
            namespace = namespace or _NAMESPACE_FILE.read_text().strip()
        else:
            await config.load_kube_config()
        return cls(ApiClient(), namespace or "default")

    async def close(self) -> None:
        """Close the connections."""
        await self.api.close()

    def path(self, kind: str, name: str = "") -> str:
        """Return the path of a kind of objects, or of one of them; kinds are `jobs`, `pods` and so on."""
        group = _GROUPS.get(kind, "api/v1")
        place = "" if kind == "nodes" else f"/namespaces/{self.namespace}"
        return f"/{group}{place}/{kind}{'/' * bool(name)}{name}"

    async def get(self, path: str, **query: str) -> Document:
        """Read an object or a list.

        Raises:
            NotFound, PermissionDenied, DependencyUnavailable: There is none; it may not; it cannot now.
        """
        return await self._call("GET", path, query=query)

    async def create(self, path: str, document: Document) -> Document:
        """Make an object.

        Raises:
            AlreadyExists: There is one of this name.
            Overloaded: A quota has no room for it.
            InvalidField, PermissionDenied, DependencyUnavailable: It is not valid; it may not; it cannot now.
        """
        return await self._call("POST", path, body=document)

    async def replace(self, path: str, document: Document) -> Document:
        """Replace an object; raises as `get`, and EtagMismatch if somebody else has written it meanwhile."""
        return await self._call("PUT", path, body=document)

    async def patch(self, path: str, document: Document) -> Document:
        """Merge a document into an object, lists by their keys as Kubernetes does it; raises as `get`."""
        return await self._call("PATCH", path, body=document, content_type=_PATCH)

    async def delete(self, path: str, *, grace_seconds: int | None = None, foreground: bool = False) -> None:
        """Delete an object and what it owns; do nothing where there is none.

        Args:
            path: The object.
            grace_seconds: What a pod has before it is killed; 0 takes it off the list at once. None: its own.
            foreground: Keep the object until what it owns is gone.
        """
        options: Document = {"propagationPolicy": "Foreground" if foreground else "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._call("DELETE", path, body=options)
        except NotFound:
            return

    async def watch(self, path: str, *, seconds: int, **query: str) -> AsyncIterator[tuple[str, Document]]:
        """Yield events (`ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`) with objects until the server ends it.

        Raises:
            NotFound: What is asked for is too long ago (410): list anew.
            DependencyUnavailable: The connection was lost.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds), **query}
        timeout = aiohttp.ClientTimeout(total=seconds + 30, sock_connect=_CALL_SECONDS)
        response = await self._send("GET", path, query=query, timeout=timeout)
        try:
            while line := await response.content.readline():
                event: Document = json.loads(line)
                if event["type"] == "ERROR":
                    raise _error(event["object"].get("code", 500), event["object"])
                yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise DependencyUnavailable(f"the watch of the cluster broke off: {error}") from error
        finally:
            response.close()

    async def text(self, path: str, **query: str) -> str:
        """Read something that is no JSON, as the log of a pod; raises as `get`."""
        async with self._turns:
            response = await self._send("GET", path, query=query, timeout=_CALL_SECONDS)
            return (await _read(response)).decode(errors="replace")

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Document | None = None,
        content_type: str = "application/json",
    ) -> Document:
        async with self._turns:
            response = await self._send(
                method, path, query=query or {}, body=body, content_type=content_type, timeout=_CALL_SECONDS
            )
            document: Document = json.loads(await _read(response))
            return document

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        timeout: float | aiohttp.ClientTimeout,
        body: Document | None = None,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        parameters: Sequence[tuple[str, str]] = [*query.items()]
        headers = {"Accept": "application/json", "Content-Type": content_type}
        method, url, headers, data, _ = await self.api.param_serialize(
            method,
            path,
            query_params=parameters,
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            wrapped = await self.api.rest_client.request(
                method, url, headers=headers, body=data, _request_timeout=timeout
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise DependencyUnavailable(f"the cluster's API does not answer: {error}") from error
        response: aiohttp.ClientResponse = wrapped.response
        if response.status >= 400:
            raise _error(response.status, _told(await _read(response)))
        return response


async def _read(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise DependencyUnavailable(f"the cluster's API broke off its answer: {error}") from error


def _told(body: bytes) -> Document:
    """The API's `Status`, whatever a proxy in front of it may have made of it."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _error(status: int, told: Document) -> LeptonError:
    message = told.get("message") or f"HTTP status {status}"
    match status, told.get("reason"):
        case 401, _:
            return Unauthenticated(f"the cluster's API does not know this service: {message}")
        case 403, _ if "exceeded quota" in message:
            return Overloaded(message)
        case 403, _:
            return PermissionDenied(f"the cluster does not allow it: {message}")
        case ((404 | 410), _):
            return NotFound(message)
        case 409, "AlreadyExists":
            return AlreadyExists(message)
        case 409, "Conflict":
            return EtagMismatch(message)
        case ((400 | 422), _):
            return InvalidField(f"the cluster does not accept it: {message}")
        case _:
            return DependencyUnavailable(f"the cluster's API cannot answer now: {message}")
