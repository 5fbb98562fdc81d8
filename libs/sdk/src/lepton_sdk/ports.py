"""Ports of this machine for the services: those of the last time, the default ones, or any that are free."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

from lepton_common.errors import DependencyUnavailable, InvalidField
from lepton_sdk.addresses import Addresses

LOOPBACK = "127.0.0.1"


def choose_addresses(known_file: Path, first_port: int) -> Addresses:
    """The addresses of the last time, so that clients find what they knew; else the default ports, or any
    others that are free.

    Args:
        known_file: the `endpoints.json` of the last time, if there was one.
        first_port: of the default ports, which follow each other; 0: any.
    """
    # Of an older Lepton, or damaged: whoever needs the file gets a new one.
    with contextlib.suppress(InvalidField, DependencyUnavailable):
        known = Addresses.read(known_file)
        if all(_is_free(address) for address in asdict(known).values()):
            return known
    services = [field.name for field in fields(Addresses)]
    wanted = [first_port + place if first_port else 0 for place in range(len(services))]
    with contextlib.ExitStack() as held:
        ports = [held.enter_context(_claimed(port)) for port in wanted]
    return Addresses(**{service: f"{LOOPBACK}:{port}" for service, port in zip(services, ports, strict=True)})


def _is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except (OSError, OverflowError):
            return False
        return host == LOOPBACK


@contextlib.contextmanager
def _claimed(port: int) -> Iterator[int]:
    """The port, or one that the system picks if it is taken; held while the block runs, so that no two
    services are given the same."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((LOOPBACK, port))
        except OSError:
            holder.bind((LOOPBACK, 0))
        yield holder.getsockname()[1]
