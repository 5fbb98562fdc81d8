"""As much of Kubernetes' API as services need, over HTTP; nothing runs behind it."""

import asyncio
import itertools
import json
import re
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Document = dict[str, Any]

_PLACE = re.compile(r".*/v1/(namespaces/[^/]+/)?")


class Api:
    """The objects of one namespace, and those of none as nodes, by kind and name.

    Attributes:
        url: Where it answers.
        objects: The objects, by kind and name.
        watches: What was asked of each watch.
    """

    def __init__(self) -> None:
        self.url = ""
        self.objects: defaultdict[str, dict[str, Document]] = defaultdict(dict)
        self.watches: list[dict[str, str]] = []
        self._watching: list[tuple[str, str, asyncio.Queue[Document]]] = []
        self._told: list[tuple[int, str, Document]] = []
        """What has happened, by version and kind: a watch begins with what it has missed since its list."""
        self._versions = itertools.count(1)

    def put(self, kind: str, document: Document) -> Document:
        """Add or replace an object, and tell those who watch."""
        metadata = document["metadata"]
        event = "MODIFIED" if metadata["name"] in self.objects[kind] else "ADDED"
        metadata.setdefault("uid", uuid.uuid4().hex)
        metadata["resourceVersion"] = str(next(self._versions))
        self.objects[kind][metadata["name"]] = document
        self._tell(kind, event, document)
        return document

    def remove(self, kind: str, name: str) -> None:
        """Remove an object, and tell those who watch."""
        self._tell(kind, "DELETED", self.objects[kind].pop(name))

    def _tell(self, kind: str, type: str, document: Document) -> None:
        event = {"type": type, "object": document}
        self._told.append((next(self._versions), kind, event))
        for watched, selector, events in self._watching:
            if watched == kind and _selected(document, selector):
                events.put_nowait(event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any call."""
        kind, _, name = _PLACE.sub("", request.path).partition("/")
        known = self.objects[kind]
        body = json.loads(await request.read() or "{}")
        match request.method:
            case "GET" if "watch" in request.query:
                return await self._watch(request, kind)
            case "GET" if not name:
                selector = request.query.get("labelSelector", "")
                items = [document for document in known.values() if _selected(document, selector)]
                version = str(next(self._versions))
                return web.json_response({"metadata": {"resourceVersion": version}, "items": items})
            case "POST" if body["metadata"]["name"] in known:
                return _refusal(409, "AlreadyExists")
            case "POST":
                return web.json_response(self.put(kind, body), status=201)
            case _ if name not in known:
                return _refusal(404, "NotFound")
            case "GET":
                return web.json_response(known[name])
            case "DELETE":
                self.remove(kind, name)
                return web.json_response({})
            case "PUT" if body["metadata"]["resourceVersion"] != known[name]["metadata"]["resourceVersion"]:
                return _refusal(409, "Conflict")
            case "PUT":
                return web.json_response(self.put(kind, body))
            case _:
                return web.json_response(self.put(kind, _merged(known[name], body)))

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        self.watches.append({"kind": kind, **request.query})
        selector, since = request.query.get("labelSelector", ""), int(request.query["resourceVersion"])
        watching = (kind, selector, asyncio.Queue[Document]())
        for version, told, event in self._told:
            if version > since and told == kind and _selected(event["object"], selector):
                watching[2].put_nowait(event)
        self._watching.append(watching)
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(json.dumps(await watching[2].get()).encode() + b"\n")
        finally:
            self._watching.remove(watching)


def _selected(document: Document, selector: str) -> bool:
    label, _, value = selector.partition("=")
    labels = document["metadata"].get("labels", {})
    return not label or (label in labels and value in ("", labels[label]))


def _merged(document: Document, changes: Document) -> Document:
    merged = dict(document)
    for field, value in changes.items():
        merged[field] = _merged(merged.get(field, {}), value) if isinstance(value, dict) else value
    return {field: value for field, value in merged.items() if value is not None}


def _refusal(status: int, reason: str) -> web.Response:
    return web.json_response({"reason": reason, "message": reason}, status=status)


@asynccontextmanager
async def serving() -> AsyncIterator[Api]:
    """An empty cluster."""
    api = Api()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield api
    await runner.cleanup()
