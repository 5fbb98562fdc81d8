"""What one manifest says of another is so: ports, addresses, numbers of pods, GPUs."""

import json
from collections.abc import Iterator, Sequence

from inference import grpc_service_pb2

from .manifests import Document, Helm, beside_the_chart, environment, of_kind, pods

INFERENCE = grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]


def addresses(documents: Sequence[Document]) -> Iterator[str]:
    """Every address of a service that somebody is given."""
    for pod in pods(documents).values():
        yield from (value for name, value in environment(pod).items() if name.endswith("_ADDRESS"))
    endpoints = of_kind(documents, "ConfigMap")["lepton-endpoints"]["data"]["endpoints.json"]
    yield from json.loads(endpoints).values()


def test_a_pod_listens_where_it_says(manifests: list[Document]) -> None:
    for name, pod in pods(manifests).items():
        (container,) = pod["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        assert all(port["protocol"] == "TCP" for port in container.get("ports", [])), name
        if name.startswith("Deployment/"):
            assert ports == {"grpc": 7000, "health": 7001, "metrics": 7002}
            variables = environment(pod)
            assert variables["LEPTON_LISTEN"] == f"0.0.0.0:{ports['grpc']}"
            assert variables["LEPTON_HEALTH_LISTEN"] == f"0.0.0.0:{ports['health']}"
            assert variables["LEPTON_METRICS_LISTEN"] == f"0.0.0.0:{ports['metrics']}"
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert container[probe]["grpc"]["port"] == ports["health"], name
            service = container["readinessProbe"]["grpc"].get("service")
            assert service == (INFERENCE.full_name if "-inference-" in name else None)
            assert "service" not in container["livenessProbe"]["grpc"], name


def test_a_service_stands_for_ports_of_pods_that_are_there(manifests: list[Document]) -> None:
    everything = [*manifests, *beside_the_chart()]
    for name, service in of_kind(everything, "Service").items():
        selector = service["spec"]["selector"]
        if "batch.kubernetes.io/job-name" in selector:
            continue
        chosen = [
            pod for pod in pods(everything).values() if selector.items() <= pod["metadata"]["labels"].items()
        ]
        assert chosen, f"{name} selects no pod"
        for pod in chosen:
            ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
            for port in service["spec"]["ports"]:
                assert port["protocol"] == "TCP", name
                assert port["targetPort"] in ports, name


def test_an_address_is_that_of_a_service_with_a_name_for_each_pod(manifests: list[Document]) -> None:
    services = of_kind(manifests, "Service")
    given = {*addresses(manifests)}
    assert len(given) >= 6
    for address in given:
        host, _, port = address.partition(":")
        spec = services[host.removesuffix(".lepton")]["spec"]
        assert spec["clusterIP"] == "None", address
        assert [each["port"] for each in spec["ports"]] == [int(port)], address


def test_volumes_are_of_things_that_are_there(helm3: Helm) -> None:
    documents = helm3.render("embedded")
    for name, pod in pods(documents).items():
        for volume in pod["spec"]["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["secretName"] in of_kind(documents, "Secret"), name
            if "configMap" in volume:
                assert volume["configMap"]["name"] in of_kind(documents, "ConfigMap"), name
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert claim in of_kind(documents, "PersistentVolumeClaim"), name


def test_what_changes_in_a_template_or_the_object_store_restarts_who_reads_it(helm3: Helm) -> None:
    def restarted(setting: str) -> set[str]:
        before, after = (
            of_kind(helm3.render("trial", *settings), "Deployment") for settings in ([], [setting])
        )
        return {name for name in before if before[name] != after[name]}

    assert restarted("trainer.worker.backoffLimit=7") == {"lepton-trainer"}
    assert len(restarted("global.objectStore.region=eu-west-1")) == 6
    assert restarted("trainer.enabled=true") == set()


def test_pods_that_can_be_spared_have_a_budget(manifests: list[Document]) -> None:
    budgets = of_kind(manifests, "PodDisruptionBudget")
    scalers = of_kind(manifests, "HorizontalPodAutoscaler") | of_kind(manifests, "ScaledObject")
    for name, deployment in of_kind(manifests, "Deployment").items():
        spec = deployment["spec"]
        assert ("replicas" in spec) == (name not in scalers), name
        assert (name in budgets) == (name in scalers or spec["replicas"] > 1), name
        if name in budgets:
            assert budgets[name]["spec"]["selector"] == spec["selector"], name
        if name in scalers:
            assert scalers[name]["spec"]["scaleTargetRef"]["name"] == name


def test_a_pod_that_ends_has_time_for_its_calls(manifests: list[Document]) -> None:
    for name, deployment in of_kind(manifests, "Deployment").items():
        pod = deployment["spec"]["template"]
        drain = float(environment(pod)["LEPTON_DRAIN_SECONDS"])
        asleep = pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["spec"]["terminationGracePeriodSeconds"] > asleep + drain, name


def test_a_database_in_a_file_has_one_writer(helm3: Helm) -> None:
    for name, deployment in of_kind(helm3.render("embedded"), "Deployment").items():
        variables = environment(deployment["spec"]["template"])
        if "LEPTON_DATABASE_URL" in variables:
            part = name.removeprefix("lepton-")
            assert variables["LEPTON_DATABASE_URL"] == f"sqlite:////data/{part}.db"
            assert deployment["spec"]["replicas"] == 1
            assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_pods_ask_for_the_gpus_and_nodes_of_their_values(helm3: Helm) -> None:
    found = {
        name.partition("/lepton-")[2]: pod["spec"] for name, pod in pods(helm3.render("everything")).items()
    }

    def gpus(name: str) -> dict[str, int]:
        limits = found[name]["containers"][0]["resources"]["limits"]
        return {resource: amount for resource, amount in limits.items() if "/" in resource}

    def image(name: str) -> str:
        return str(found[name]["containers"][0]["image"].rpartition("/")[2])

    h100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    bears = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    for name, built in (("inference-h100", "inference-gpu"), ("trainer-job", "trainer-worker-gpu")):
        assert gpus(name) == {"nvidia.com/gpu": 1}
        assert image(name) == f"{built}:1.2.3"
        assert found[name]["nodeSelector"] == h100
        assert found[name]["runtimeClassName"] == "nvidia"
        assert bears in found[name]["tolerations"]
    for name in ("inference-mig", "compressor-job"):
        assert gpus(name) == {"nvidia.com/mig-1g.10gb": 1}
    assert found["inference-dra"]["resourceClaims"] == [
        {"name": "gpu", "resourceClaimTemplateName": "one-gpu"}
    ]
    assert found["inference-dra"]["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    assert gpus("inference-default") == {}
    assert image("inference-default") == "inference:1.2.3"
    assert not {"nodeSelector", "tolerations", "runtimeClassName"} & found["inference-default"].keys()


def test_a_pool_says_who_it_is(manifests: list[Document]) -> None:
    found = [name for name in of_kind(manifests, "Deployment") if name.startswith("lepton-inference-")]
    assert found
    for name in found:
        pod = of_kind(manifests, "Deployment")[name]["spec"]["template"]
        pool = name.removeprefix("lepton-inference-")
        assert pod["metadata"]["labels"]["lepton.dev/pool"] == pool
        assert environment(pod)["LEPTON_POOL"] == pool


def test_the_trial_finds_its_database_and_its_object_store(helm3: Helm) -> None:
    services, secrets = (of_kind(beside_the_chart(), kind) for kind in ("Service", "Secret"))
    documents = helm3.render("trial")
    endpoint = of_kind(documents, "ConfigMap")["lepton-object-store"]["data"]["AWS_ENDPOINT_URL"]
    host, _, port = endpoint.removeprefix("http://").partition(":")
    assert services[host]["spec"]["ports"][0]["port"] == int(port)
    databases = 0
    for name, pod in pods(documents).items():
        for entry in pod["spec"]["containers"][0].get("env", []):
            reference = entry.get("valueFrom", {}).get("secretKeyRef")
            if reference is None:
                continue
            value = secrets[reference["name"]]["stringData"][reference["key"]]
            if entry["name"] == "LEPTON_DATABASE_URL":
                host, _, database = value.rpartition("@")[2].partition("/")
                assert (host, f"Deployment/lepton-{database}") == ("trial-postgres:5432", name)
                databases += 1
    assert databases == 5
