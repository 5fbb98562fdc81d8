"""The whole story, told by the real client inside the cluster."""

import json
import logging
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from .release import ROOT, Pod, Release

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


def test_the_story_trains_on_gpu_nodes(release: Release, endpoint: str) -> None:
    workers = release.jobs("--selector", "lepton.dev/training-job")
    assert len(workers) == 2, "two workers trained together"
    for worker in workers:
        assert worker["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert "nvidia.com/gpu.product" in labels_of(release, worker)


def test_inference_pods_are_on_the_nodes_that_their_pool_asks_for(release: Release, client: Pod) -> None:
    pools = {pool["name"]: pool for pool in client.lepton("status")["pools"]}
    assert pools["default"]["ready"] == 2
    assert pools["h100"]["ready"] == 1
    for pod in release.services("inference"):
        limits = pod["spec"]["containers"][0]["resources"]["limits"]
        on_gpus = pod["metadata"]["labels"]["lepton.dev/pool"] == "h100"
        product = labels_of(release, pod).get("nvidia.com/gpu.product")
        assert limits.get("nvidia.com/gpu") == ("1" if on_gpus else None)
        assert product == ("NVIDIA-H100-80GB-HBM3" if on_gpus else None)


def test_who_is_connected_reaches_everything_from_outside(
    release: Release, endpoint: str, tmp_path: Path
) -> None:
    lepton = [str(ROOT / ".venv/bin/lepton"), "-o", "json"]
    where = ["--namespace", release.name, "--first-port", "0", "--directory", str(tmp_path)]
    with subprocess.Popen([*lepton, "connect", *where], stdout=subprocess.PIPE, text=True) as connected:
        assert connected.stdout is not None, "it is a pipe"
        try:
            printed = "".join(iter(connected.stdout.readline, "}\n"))
            environment = {**os.environ, **json.loads(f"{printed}}}")["environment"]}
            told = subprocess.run(
                [*lepton, "endpoint", "list"], env=environment, capture_output=True, text=True, check=True
            )
        finally:
            connected.send_signal(signal.SIGINT)
    assert connected.returncode == 0
    assert [each["name"] for each in json.loads(told.stdout)] == [f"endpoints/{endpoint}"]


def test_the_story_goes_on_while_pods_are_killed(release: Release, client: Pod) -> None:
    chosen = random.Random(5)
    demo = "lepton demo --running --name killed --workers 2 --gpus 1 --epochs 5 --agent-steps 5000 --clean"
    told = [
        "kubectl",
        "--namespace",
        release.name,
        "exec",
        client.name,
        "--",
        *demo.split(),
        "--report",
        "/tmp/killed",
    ]
    with subprocess.Popen(told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as story:
        killed = []
        while story.poll() is None:
            time.sleep(5)
            pods = release.services(ready=True) + release.jobs("--field-selector", "status.phase=Running")
            pod = chosen.choice(pods)["metadata"]["name"]
            # As a machine would that loses its power: nobody is told.
            release.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--ignore-not-found")
            killed.append(pod)
        assert story.stdout is not None, "it is a pipe"
        printed = story.stdout.read()
    assert story.returncode == 0, f"{killed}: {printed[-3000:]}"
    assert len(killed) > 3
    logger.info("killed: %s", killed)
    release.settle()


def labels_of(release: Release, pod: dict[str, Any]) -> dict[str, str]:
    """The labels of a pod's node."""
    (node,) = release.objects("nodes", "--field-selector", f"metadata.name={pod['spec']['nodeName']}")
    labels: dict[str, str] = node["metadata"]["labels"]
    return labels
