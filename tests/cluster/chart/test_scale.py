"""Inference follows its load."""

import json

import pytest

from ..cluster import eventually
from .release import Pod, Release, is_ready

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]

RECORDS = """
import json, re, sys, urllib.request

token = open("/etc/lepton/token/token").read().strip()
records = {}
for address in sys.argv[1:]:
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://{address}:7002/metrics", headers=headers)
    text = urllib.request.urlopen(request, timeout=10).read().decode()
    records[address] = sum(map(float, re.findall(r"^lepton_inference_records_total.* (\\S+)$", text, re.M)))
print(json.dumps(records))
"""
"""How many records the servers at some addresses have answered, as Prometheus reads it."""


async def test_three_servers_share_the_load(release: Release, client: Pod, endpoint: str) -> None:
    with client.load(endpoint, callers=8, pause=0.02) as load:
        release.upgrade("--set", "inference.pool.replicas=3")
        # Clients look for new servers when their connections end, which is within a minute.
        await eventually(lambda: fewest_of(release, client) > 50, seconds=120)
    load.assert_unharmed()
    before = answered(release, client)
    assert len(before) == 3
    with client.load(endpoint, callers=8, pause=0.02) as load:
        await eventually(lambda: sum(answered(release, client).values()) > sum(before.values()) + 900)
    load.assert_unharmed()
    after = answered(release, client)
    shares = [after[address] - before[address] for address in before]
    # Each has a third, give or take what was answered between two looks.
    assert min(shares) > 0.5 * max(shares), shares


async def test_the_number_of_servers_follows_the_load(release: Release, client: Pod, endpoint: str) -> None:
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 15}}
    scaling = {"enabled": True, "minReplicas": 2, "maxReplicas": 3, "cpuPercent": 300, "behavior": behavior}
    release.upgrade("--set-json", f"inference.pools.default={json.dumps({'autoscaling': scaling})}")
    await eventually(lambda: len(on_default(release)) == 2, seconds=180)
    with client.load(endpoint, callers=16, pause=0.005) as load:
        await eventually(lambda: len(on_default(release)) == 3, seconds=180)
    load.assert_unharmed()
    await eventually(lambda: len(on_default(release)) == 2, seconds=180)
    release.upgrade()


def on_default(release: Release) -> list[str]:
    """The addresses of the ready servers of the pool `default`."""
    return [pod["status"]["podIP"] for pod in release.servers("default") if is_ready(pod)]


def answered(release: Release, client: Pod) -> dict[str, float]:
    """How many records each ready server of the pool `default` has answered."""
    records: dict[str, float] = json.loads(client.python(RECORDS, *on_default(release)))
    return records


def fewest_of(release: Release, client: Pod) -> float:
    """What that server has answered, of three, that has answered fewest; -1: there are not three."""
    found = answered(release, client)
    return min(found.values()) if len(found) == 3 else -1
