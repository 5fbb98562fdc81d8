"""What must be refused is refused."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from ..cluster import Namespace, run
from .release import Pod, Release, sleeper, start

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

KNOCK = """
import concurrent.futures, socket, sys

def knock(target):
    host, port = target.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return f"{target} closed"
    return f"{target} open"

with concurrent.futures.ThreadPoolExecutor(32) as pool:
    print("\\n".join(pool.map(knock, sys.argv[1:])))
"""
"""Which of some ports can be connected to."""

CALL = """
import sys
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from inference import grpc_service_pb2, grpc_service_pb2_grpc

server, way = sys.argv[1:]
read = lambda name: open(f"/etc/lepton/tls/{name}", "rb").read()
if way == "plain":
    channel = grpc.insecure_channel(server)
elif way == "no certificate":
    channel = grpc.secure_channel(server, grpc.ssl_channel_credentials(read("ca.crt")))
else:
    channel = grpc.secure_channel(
        server, grpc.ssl_channel_credentials(read("ca.crt"), read("tls.key"), read("tls.crt"))
    )
metadata = {"wrong token": [("authorization", "Bearer wrong")]}.get(way)
for ask in (
    lambda: health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10),
    lambda: grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel).ServerMetadata(
        grpc_service_pb2.ServerMetadataRequest(), timeout=10, metadata=metadata
    ),
):
    try:
        ask()
    except grpc.RpcError as error:
        print(error.code().name)
    else:
        print("OK")
"""
"""What a server answers to a question about its health and to another one."""


@pytest.fixture(scope="module")
def strangers(release: Release) -> Iterator[list[Pod]]:
    """Pods that nobody knows: beside the services, and in a namespace of their own."""
    elsewhere = Namespace("lepton-test-strangers")
    run("kubectl", "delete", "namespace", elsewhere.name, "--ignore-not-found", "--wait")
    run("kubectl", "create", "namespace", elsewhere.name)
    pod = sleeper(release.test_pod(), "stranger", {"app": "stranger"}, wired=False)
    labelled = sleeper(release.test_pod(), "labelled", {"lepton.dev/client": "true"}, wired=False)
    started = [start(release, pod), start(elsewhere, pod), start(elsewhere, labelled)]
    yield started
    for each in started:
        each.namespace.kubectl("delete", "pod", each.name, "--now")
    run("kubectl", "delete", "namespace", elsewhere.name, "--wait=false")


def test_strangers_reach_no_port_but_health(release: Release, client: Pod, strangers: list[Pod]) -> None:
    pods = release.services() + release.objects("pods", "--selector", "lepton.dev/trial=server")
    doors = [f"{pod['status']['podIP']}:{port}" for pod in pods for port in (5000, 5432, 7000, 7002)]
    health = [f"{pod['status']['podIP']}:7001" for pod in release.services()]
    for stranger in strangers:
        found = stranger.python(KNOCK, *doors, *health).splitlines()
        assert [line for line in found if line.endswith("open")] == [f"{door} open" for door in health]
    # That they could reach them, were they not refused, is seen from a client.
    found = client.python(KNOCK, *doors).splitlines()
    services = {f"{pod['status']['podIP']}:7000 open" for pod in release.services()}
    assert {line for line in found if line.endswith(":7000 open")} == services


@pytest.mark.parametrize(
    ("way", "health", "answer"),
    [
        ("plain", "UNAVAILABLE", "UNAVAILABLE"),
        ("no certificate", "UNAVAILABLE", "UNAVAILABLE"),
        ("no token", "OK", "UNAUTHENTICATED"),
        ("wrong token", "OK", "UNAUTHENTICATED"),
    ],
)
def test_without_certificate_or_token_nothing_is_answered_but_health(
    client: Pod, way: str, health: str, answer: str
) -> None:
    told = client.python(CALL, "lepton-inference-headless:7000", way).split()
    assert told == [health, answer]


@pytest.mark.parametrize(
    ("account", "may", "may_not"),
    [
        (
            "trainer",
            ["create jobs", "get pods"],
            ["get secrets", "create pods", "create deployments"],
        ),
        ("registry", ["list pods"], ["get secrets", "create jobs", "delete pods"]),
        ("inference", [], ["get pods", "get secrets", "create jobs"]),
    ],
)
def test_services_may_do_what_they_need_and_no_more(
    release: Release, account: str, may: list[str], may_not: list[str]
) -> None:
    who = f"--as=system:serviceaccount:{release.name}:lepton-{account}"
    assert all(_may(release, who, deed) for deed in may)
    assert not any(_may(release, who, deed) for deed in may_not)


def test_pods_of_workers_have_no_rights(release: Release) -> None:
    for pod in release.jobs():
        assert pod["spec"]["automountServiceAccountToken"] is False


def test_the_namespace_takes_restricted_pods_alone(release: Release) -> None:
    pod = sleeper(release.test_pod(), "privileged", {}, wired=False)
    pod["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        release.kubectl("apply", "--filename", "-", given=json.dumps(pod))


def _may(release: Release, who: str, deed: str) -> bool:
    command = ["kubectl", "auth", "can-i", *deed.split(), who, "--namespace", release.name]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "yes"
