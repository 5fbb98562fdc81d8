"""Places with GPUs: those that are there, and those that are not."""

import json
from typing import Any

import pytest

from ..cluster import Faults, eventually, run
from .release import Pod, Release
from .test_story import labels_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

A100 = "NVIDIA-A100-SXM4-80GB"
SIMULATED = [
    {"key": "lepton.dev/simulated", "operator": "Exists"},
    {"key": "nvidia.com/gpu", "operator": "Exists"},
]


def pool(name: str, **gpu: object) -> list[str]:
    """Settings of one more pool of one server."""
    return [
        "--set-json",
        f"inference.pools.{name}={json.dumps({'replicas': 1, 'device': 'cpu', 'gpu': gpu})}",
    ]


async def test_a_pool_whose_gpu_does_not_exist_says_so(release: Release, client: Pod, endpoint: str) -> None:
    with client.load(endpoint) as load:
        selector = {"nvidia.com/gpu.product": "NVIDIA-B200"}
        release.upgrade(*pool("b200", count=2, imageSuffix="", nodeSelector=selector), wait=False)
        await eventually(lambda: "NVIDIA-B200" in told_of(client, "b200").get("message", ""), seconds=60)
        told = told_of(client, "b200")
        assert (told.get("ready", 0), told["wanted"]) == (0, 1)
        # The pools that have their nodes go on.
        release.rollback()
    load.assert_unharmed()


async def test_simulated_nodes_take_what_asks_for_their_gpus(
    release: Release, client: Pod, faults: Faults
) -> None:
    faults("simulate", "4", "--gpus", "8", "--product", A100, "--name", "a100")
    # More than the namespace has without asking.
    quota = {"spec": {"hard": {"requests.nvidia.com/gpu": "64"}}}
    release.kubectl("patch", "resourcequota", "lepton", "--patch", json.dumps(quota))
    try:
        await _place(release, client)
    finally:
        run("kubectl", "delete", "nodes", "--selector", "type=simulated", "--wait=false")


async def _place(release: Release, client: Pod) -> None:
    selector = {"nvidia.com/gpu.product": A100}
    gpu = {"count": 4, "imageSuffix": "", "nodeSelector": selector, "tolerations": SIMULATED}
    worker = {"gpu": {**gpu, "count": 8}, "podAnnotations": {"lepton.dev/simulated-seconds": "600"}}
    release.upgrade(*pool("a100", **gpu), *("--set-json", f"trainer.worker={json.dumps(worker)}"))
    (server,) = release.servers("a100")
    assert labels_of(release, server)["nvidia.com/gpu.product"] == A100
    # Four workers, a node's GPUs each. One node is half taken by the server: three find a place, and of the
    # fourth the status says why it does not.
    name = "gang"
    wanted = ("--family", "mlp", "--workers", "4", "--gpus", "8", "--gpu-product", A100, "--detach")
    client.lepton("train", "start", "demo-digits", "--id", name, *wanted)
    await eventually(lambda: len(placed_workers(release, name)) == 3)
    await eventually(lambda: "has no place" in status(client, name).get("message", ""))
    # The server goes, and with all four the gang is complete.
    release.kubectl("scale", "deployment/lepton-inference-a100", "--replicas=0")
    await eventually(lambda: len(placed_workers(release, name)) == 4)
    nodes = {pod["spec"]["nodeName"] for pod in placed_workers(release, name)}
    assert len(nodes) == 4
    client.lepton("train", "cancel", name)
    await eventually(lambda: not placed_workers(release, name))
    release.upgrade()


def placed_workers(release: Release, job: str) -> list[dict[str, Any]]:
    """The pods of a training that have a node."""
    pods = release.jobs("--selector", f"lepton.dev/training-job={job}")
    return [pod for pod in pods if pod["spec"].get("nodeName") and "deletionTimestamp" not in pod["metadata"]]


def status(client: Pod, job: str) -> dict[str, Any]:
    """How a training is."""
    found: dict[str, Any] = client.lepton("train", "show", job)["status"]
    return found


def told_of(client: Pod, name: str) -> dict[str, Any]:
    """What `lepton status` says of a pool; nothing while it does not know it."""
    pools: list[dict[str, Any]] = client.lepton("status")["pools"]
    return next((each for each in pools if each["name"] == name), {})
