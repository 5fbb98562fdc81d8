"""An ordinary client as a program: `python -m serving.aio_client ADDRESS MODEL IN_FLIGHT`.

Reads how many requests to send, a number a line; answers each line with `[seconds, [latency, ...]]`.
"""

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Iterator

import grpc

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from serving.models import MODELS, records, request


async def main(address: str, model: str, in_flight: int) -> None:
    """Send what is asked for, until nothing is."""
    template = request(MODELS[model], records(MODELS[model], 1))
    async with grpc.aio.insecure_channel(address) as channel:
        stub: pb_grpc.GRPCInferenceServiceAsyncStub = pb_grpc.GRPCInferenceServiceStub(channel)
        while line := await asyncio.to_thread(sys.stdin.readline):
            began = time.perf_counter()
            remaining = iter(range(int(line)))
            workers = await asyncio.gather(*(_work(stub, template, remaining) for _ in range(in_flight)))
            seconds = time.perf_counter() - began
            print(json.dumps([seconds, [latency for each in workers for latency in each]]), flush=True)


async def _work(
    stub: "pb_grpc.GRPCInferenceServiceAsyncStub", template: pb.ModelInferRequest, remaining: Iterator[int]
) -> list[float]:
    mine = pb.ModelInferRequest()
    mine.CopyFrom(template)
    latencies: list[float] = []
    for _ in remaining:
        mine.id = str(uuid.uuid4())
        began = time.perf_counter()
        answer = await stub.ModelInfer(mine, timeout=60 + began % 1, metadata=[("x-request-id", mine.id)])
        latencies.append(time.perf_counter() - began)
        assert answer.id == mine.id
    return latencies


if __name__ == "__main__":
    address, model, in_flight = sys.argv[1:]
    asyncio.run(main(address, model, int(in_flight)))
