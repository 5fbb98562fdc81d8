"""Who may talk to whom, as the network policies of the chart add up."""

from collections.abc import Iterator
from typing import Any

from .manifests import Document, Helm, of_kind, pods

PARTS = ["compressor", "data-ingest", "inference", "registry", "rl-agent", "trainer"]
CALLS = {
    ("compressor", "data-ingest"),
    ("compressor", "registry"),
    ("inference", "registry"),
    ("rl-agent", "registry"),
    ("trainer", "data-ingest"),
    ("trainer", "registry"),
}
WORKERS = {
    "data-ingest-worker": "lepton.dev/dataset-version",
    "trainer-worker": "lepton.dev/training-job",
    "compressor-worker": "lepton.dev/compression-job",
    "rl-agent-worker": "lepton.dev/learning-run",
}


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a label selector chooses what has these labels."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "Exists"
        if expression["key"] not in labels:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def rules(documents: list[Document], labels: dict[str, str], direction: str) -> Iterator[Document] | None:
    """All rules for a pod; None if no policy closes it."""
    policies = [
        policy["spec"]
        for policy in of_kind(documents, "NetworkPolicy").values()
        if selects(policy["spec"]["podSelector"], labels)
    ]
    assert all(policy["policyTypes"] == ["Ingress", "Egress"] for policy in policies)
    if not policies:
        return None
    return (rule for policy in policies for rule in policy.get(direction, []))


def admits(rule: Document, side: str, peer: dict[str, str], port: int) -> bool:
    """Whether a rule lets through what comes from, or goes to, a pod of the same namespace."""
    if not any(each["port"] == port and each["protocol"] == "TCP" for each in rule["ports"]):
        return False
    peers = rule.get(side)
    return peers is None or any(
        "podSelector" in each and selects(each["podSelector"], peer) for each in peers
    )


def reaches(documents: list[Document], source: dict[str, str], target: dict[str, str], port: int) -> bool:
    """Whether a pod reaches a port of another one: the one may send and the other may receive."""
    out, into = rules(documents, source, "egress"), rules(documents, target, "ingress")
    return (out is None or any(admits(rule, "to", target, port) for rule in out)) and (
        into is None or any(admits(rule, "from", source, port) for rule in into)
    )


def everybody(documents: list[Document]) -> dict[str, dict[str, str]]:
    """The labels of a pod of every sort, strangers and a client among them."""
    found: dict[str, dict[str, str]] = {
        "stranger": {"app": "stranger"},
        "client": {"lepton.dev/client": "true"},
    }
    for pod in pods(documents).values():
        labels: dict[str, str] = pod["metadata"]["labels"]
        component = labels["app.kubernetes.io/component"]
        # The label that the service gives to the pods of its Jobs.
        found[component] = labels | ({WORKERS[component]: "some-id"} if component in WORKERS else {})
    return found


def test_services_are_called_by_those_who_have_their_address_and_by_clients(
    manifests: list[Document],
) -> None:
    people = everybody(manifests)
    assert people.keys() == {"stranger", "client", "test", *PARTS, *WORKERS}
    for source, labels in people.items():
        for part in PARTS:
            may = (source, part) in CALLS or source in ("client", "test")
            assert reaches(manifests, labels, people[part], 7000) == may, f"{source} to {part}"


def test_workers_reach_nobody_but_those_who_train_with_them(manifests: list[Document]) -> None:
    people = everybody(manifests)
    for source in people:
        for worker in WORKERS:
            for port in (7000, 7001, 7002, 7100):
                may = port == 7100 and (source, worker) == ("trainer-worker", "trainer-worker")
                assert reaches(manifests, people[source], people[worker], port) == may, (
                    f"{source} to {worker}"
                )


def test_a_job_that_was_started_with_kubectl_is_closed_as_well(manifests: list[Document]) -> None:
    people = everybody(manifests)
    by_hand = {"lepton.dev/training-job": "digits-by-hand"}
    assert reaches(manifests, by_hand, by_hand, 7100)
    assert not reaches(manifests, people["stranger"], by_hand, 7100)
    assert not reaches(manifests, by_hand, people["registry"], 7000)


def test_health_is_open_and_metrics_are_not(manifests: list[Document]) -> None:
    people = everybody(manifests)
    for part in PARTS:
        assert reaches(manifests, people["stranger"], people[part], 7001)
        assert not reaches(manifests, people["stranger"], people[part], 7002)
        assert not reaches(manifests, people["client"], people[part], 7002)


def outside(documents: list[Document], labels: dict[str, str]) -> set[int]:
    """The TCP ports at which a pod reaches what is no pod of Lepton."""
    found = rules(documents, labels, "egress")
    assert found is not None
    ours = {"app.kubernetes.io/name": "lepton"}

    def is_ours(peer: dict[str, Any]) -> bool:
        selector = peer.get("podSelector", {})
        named = selector.get("matchLabels", {}).items()
        return bool(ours.items() <= named) or "matchExpressions" in selector

    return {
        port["port"]
        for rule in found
        for port in rule["ports"]
        if port["protocol"] == "TCP" and not any(is_ours(peer) for peer in rule.get("to", []))
    }


def test_what_a_pod_reaches_outside_is_what_it_needs(helm3: Helm) -> None:
    dns, api = {53}, {443, 6443}
    embedded, trial = helm3.render("embedded"), helm3.render("trial")
    for name, labels in everybody(embedded).items():
        if name in ("stranger", "client"):
            continue
        uses_api = name in PARTS and name != "inference"
        assert outside(embedded, labels) == dns | (api if uses_api else set()), name
        needs = {5000} if name != "test" else set()
        needs |= {5432, *api} if uses_api else set()
        assert outside(trial, labels) == dns | needs, name


def test_policies_can_be_switched_off(helm3: Helm) -> None:
    assert not of_kind(helm3.render("embedded", "global.networkPolicy.enabled=false"), "NetworkPolicy")
