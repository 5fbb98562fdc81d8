"""A process may be killed at any moment: what it acknowledged is there, the rest is whole or absent."""

import signal
import subprocess
import sys
import time
from itertools import pairwise

from lepton.model.v1.model_pb2 import Model, ModelVersion
from lepton_common.records import ResourceStore

# Prints a name only after its create has returned.
WRITER = """
import asyncio, sys
from lepton.model.v1.model_pb2 import Model, ModelVersion
from lepton_common.records import ResourceStore

async def main(url):
    store = await ResourceStore.open(url)
    models, versions = store.collection(Model), store.collection(ModelVersion)

    def add(transaction):
        version = transaction.rows(versions).create_numbered("models/a", "versions", ModelVersion())
        transaction.rows(models).put(Model(name="models/a", description=version.name))
        return version.name

    while True:
        print(await store.transaction(add, models, versions), flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def test_a_kill_loses_nothing_that_was_acknowledged(database_url: str) -> None:
    acknowledged = []
    for seconds in (0.01, 0.1):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, database_url], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            acknowledged.append(writer.stdout.readline().strip())
            time.sleep(seconds)
            writer.send_signal(signal.SIGKILL)
            acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    store = await ResourceStore.open(database_url)
    kept = [version.name async for version in store.collection(ModelVersion).each()]
    assert set(acknowledged) <= set(kept)
    assert len(kept) - len(acknowledged) <= 2, "at most the one in flight per kill"
    assert (await store.collection(Model).get("models/a")).description == kept[-1], "no half transaction"
    numbers = [int(name.rsplit("/", 1)[1]) for name in kept]
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))
    await store.close()
