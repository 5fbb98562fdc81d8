"""Clients on a core of their own: h2load, whose requests are all the same, and an ordinary grpc.aio one."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc
import numpy as np

from serving.models import Model, records, request
from serving.processes import LOAD_CORE, MODULES, ONE_THREAD, Server

INFER = "/inference.GRPCInferenceService/ModelInfer"
MESSAGE_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Unanswered(Exception):
    """A request came to an error."""


@dataclass(frozen=True)
class Served:
    """What a client saw of some requests."""

    seconds: float
    """From the first request to the last answer."""
    latencies: np.ndarray
    """Seconds that each took, float64."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds


class Client(Protocol):
    """Sends requests of one record for one model, a number of them in flight."""

    def __call__(self, requests: int) -> Served:
        """Sends so many; raises Unanswered if one comes to an error."""


@contextmanager
def h2load(server: Server, model: Model, in_flight: int) -> Iterator[Client]:
    """h2load (Debian's nghttp2-client), on a new connection each time, with windows of 1 GiB."""
    body = request(model, records(model, 1)).SerializeToString()
    answer_bytes = _answer_bytes(server, body)
    with tempfile.TemporaryDirectory() as name:
        message, log = Path(name) / "message", Path(name) / "log"
        message.write_bytes(b"\0" + len(body).to_bytes(4) + body)

        def run(requests: int) -> Served:
            log.unlink(missing_ok=True)
            done = subprocess.run(
                [
                    *("taskset", "--cpu-list", str(LOAD_CORE), "h2load", f"--requests={requests}"),
                    *("--clients=1", f"--max-concurrent-streams={in_flight}", f"--data={message}"),
                    *("--window-bits=30", "--connection-window-bits=30", f"--log-file={log}"),
                    *("--header=content-type: application/grpc", "--header=te: trailers"),
                    f"http://{server.address}{INFER}",
                ],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            received = re.search(r"\((\d+)\) data", done)
            finished = re.search(r"finished in ([0-9.]+)(us|ms|s)", done)
            assert received is not None and finished is not None, done
            # It does not know `grpc-status`. An answer that is not OK has no message, so bytes would miss.
            if int(received[1]) != requests * (5 + answer_bytes):
                raise Unanswered(f"{received[1]} bytes of {requests} answers of {answer_bytes} bytes each")
            latencies = [int(line.split("\t")[2]) for line in log.read_text().splitlines()]
            return Served(float(finished[1]) * UNITS[finished[2]], np.array(latencies) / 1e6)

        yield run


def _answer_bytes(server: Server, body: bytes) -> int:
    """Bytes of the message that answers a request."""
    with grpc.insecure_channel(server.address, options=MESSAGE_LIMIT) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER)
        return len(call(body, timeout=60))


@contextmanager
def grpc_aio(server: Server, model: Model, in_flight: int) -> Iterator[Client]:
    """A process with one channel of grpc.aio: each request has an id, a deadline and a header of its own."""
    with subprocess.Popen(
        [
            *("taskset", "--cpu-list", str(LOAD_CORE), sys.executable, "-m", "serving.aio_client"),
            *(server.address, model.name, str(in_flight)),
        ],
        env=os.environ | ONE_THREAD | MODULES,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        requests_to, answers_from = process.stdin, process.stdout

        def run(requests: int) -> Served:
            print(requests, file=requests_to, flush=True)
            told = answers_from.readline()
            if not told:
                raise Unanswered("the client ended: see above")
            seconds, latencies = json.loads(told)
            return Served(seconds, np.array(latencies))

        yield run


CLIENTS = {"h2load": h2load, "grpc.aio": grpc_aio}
