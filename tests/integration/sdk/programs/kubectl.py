"""Stands in for kubectl: answers out of a file, and really forwards ports.

The file that `KUBECTL_CLUSTER` names, read anew for each call, holds `services` (`host:port` by name),
`secrets` (values by key, base64, by name), `namespaces`, and `says`: what kubectl would say on stderr, and
fail with, by the beginning of its arguments.
"""

import asyncio
import json
import os
import sys
from pathlib import Path


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def forward(address: str, ports: str) -> None:
    host, _, port = address.rpartition(":")
    local, _, target = ports.partition(":")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind = await asyncio.open_connection(host, int(port))
        except OSError as failure:
            # As the real one does, it stays.
            said = f"an error occurred forwarding {local} -> {target}: error forwarding port: {failure}"
            sys.stderr.write(f'E1125 12:00:00 1 portforward.go:424] "Unhandled Error" err="{said}"\n')
            sys.stderr.flush()
            writer.close()
            return
        await asyncio.gather(pump(reader, behind[1]), pump(behind[0], writer), return_exceptions=True)

    server = await asyncio.start_server(connected, "127.0.0.1", int(local))
    sys.stdout.write(f"Forwarding from 127.0.0.1:{local} -> {target}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def main() -> int:
    cluster = json.loads(Path(os.environ["KUBECTL_CLUSTER"]).read_text())
    words = [word for word in sys.argv[1:] if not word.startswith("--") or word == "--namespace"]
    namespace = "default"
    if words[0] == "--namespace":
        namespace, words = words[1], words[2:]
    line = " ".join(words)
    for beginning, said in cluster.get("says", {}).items():
        if line.startswith(beginning):
            sys.stderr.write(f"{said}\n")
            return 1
    there = namespace in cluster["namespaces"]
    match words:
        case ["get", "service", *names]:
            found = [name for name in names if there and name in cluster["services"]]
            sys.stdout.write("".join(f"service/{name}\n" for name in found))
        case ["get", "secret", name] if there and name in cluster["secrets"]:
            sys.stdout.write(json.dumps({"kind": "Secret", "data": cluster["secrets"][name]}))
        case ["get", "secret", _]:
            pass
        case ["get", "namespace", name] if name in cluster["namespaces"]:
            sys.stdout.write(f"namespace/{name}\n")
        case ["get", "namespace", name]:
            sys.stderr.write(f'Error from server (NotFound): namespaces "{name}" not found\n')
            return 1
        case ["port-forward", service, ports]:
            asyncio.run(forward(cluster["services"][service.removeprefix("service/")], ports))
        case _:
            sys.stderr.write(f"error: unknown command {line!r}\n")
            return 1
    return 0


sys.exit(main())
