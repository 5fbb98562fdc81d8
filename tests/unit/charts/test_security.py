"""Pods may do little, few may use the Kubernetes API, and tokens and certificates are what services take."""

import base64
import json
from pathlib import Path

import pytest
from cryptography import x509

from lepton_common.auth import ROLES, Credentials

from .manifests import Document, Helm, beside_the_chart, environment, of_kind, pods
from .test_agreement import addresses

PARTS = ["compressor", "data-ingest", "inference", "registry", "rl-agent", "trainer"]


def secret(documents: list[Document], name: str, key: str) -> bytes:
    return base64.b64decode(of_kind(documents, "Secret")[name]["data"][key])


def test_every_pod_is_restricted(manifests: list[Document]) -> None:
    found = pods([*manifests, *beside_the_chart()])
    assert len(found) > 15
    for name, pod in found.items():
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys(), name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["resources"]["limits"]["memory"], name
        assert container["resources"]["requests"]["cpu"], name
        assert not any("hostPort" in port for port in container.get("ports", [])), name
        allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
        assert all(volume.keys() - {"name"} <= allowed for volume in spec["volumes"]), name


def test_pods_of_the_chart_are_of_the_user_of_their_images(manifests: list[Document]) -> None:
    for name, pod in pods(manifests).items():
        assert pod["spec"]["securityContext"]["runAsUser"] == 65532, name
        assert pod["spec"]["enableServiceLinks"] is False, name


def test_only_who_uses_the_kubernetes_api_has_a_token_for_it(manifests: list[Document]) -> None:
    roles = of_kind(manifests, "Role")
    assert roles.keys() == {f"lepton-{part}" for part in PARTS if part != "inference"}
    for name, pod in pods(manifests).items():
        account = pod["spec"].get("serviceAccountName", "default")
        assert pod["spec"]["automountServiceAccountToken"] is (account in roles), name


def test_rights_are_few(manifests: list[Document]) -> None:
    for role in of_kind(manifests, "Role").values():
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"pods/exec", "secrets"} & {*rule["resources"]}
            # The part's Lease is the chart's: nobody makes one. Of ConfigMaps it may read its template.
            assert (rule["resources"] in (["leases"], ["configmaps"])) == ("resourceNames" in rule)
            assert rule["resources"] != ["configmaps"] or rule["verbs"] == ["get"]
    (nodes,) = of_kind(manifests, "ClusterRole").values()
    assert nodes["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]}]


def test_the_lease_and_the_template_that_a_role_names_are_there(manifests: list[Document]) -> None:
    named = {
        (rule["resources"][0], name)
        for role in of_kind(manifests, "Role").values()
        for rule in role["rules"]
        for name in rule.get("resourceNames", [])
    }
    assert {name for kind, name in named if kind == "leases"} == of_kind(manifests, "Lease").keys()
    templates = {name for name, map in of_kind(manifests, "ConfigMap").items() if "job.yaml" in map["data"]}
    assert {name for kind, name in named if kind == "configmaps"} == templates
    assert len(named) == 8


def test_a_certificate_names_every_address_of_its_service(helm3: Helm) -> None:
    documents = helm3.render("embedded")
    authority = x509.load_pem_x509_certificate(secret(documents, "lepton-ca", "tls.crt"))
    named: set[str] = set()
    for part in [*PARTS, "client"]:
        certificate = x509.load_pem_x509_certificate(secret(documents, f"lepton-{part}-tls", "tls.crt"))
        certificate.verify_directly_issued_by(authority)
        trusted = secret(documents, f"lepton-{part}-tls", "ca.crt")
        assert x509.load_pem_x509_certificate(trusted) == authority
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
        if part != "client":
            assert {"localhost", f"lepton-{part}.lepton.svc.cluster.local"} <= {*names}
        named |= {*names}
    assert {address.partition(":")[0] for address in addresses(documents)} <= named
    assert {"lepton-inference-default", "lepton-inference-default-headless"} <= named


def test_services_admit_the_tokens_that_the_chart_makes(helm3: Helm, tmp_path: Path) -> None:
    documents = helm3.render("embedded")
    file = tmp_path / "tokens.json"
    file.write_bytes(secret(documents, "lepton-credentials", "tokens.json"))
    credentials = Credentials(file)
    for name, role in (("services", "admin"), ("user", "writer"), ("metrics", "reader")):
        token = secret(documents, f"lepton-{name}-token", "token").decode()
        assert len(token) > 40
        caller = credentials.authenticate(f"Bearer {token}", ())
        assert (caller.name, caller.permissions) == (name, ROLES[role])
        assert token not in json.dumps(file.read_text())


@pytest.mark.parametrize(
    ("setting", "missing"),
    [("global.auth.enabled=false", "TOKEN"), ("global.tls.mode=off", "TLS")],
    ids=["without tokens", "without certificates"],
)
def test_what_is_switched_off_is_told_to_be_meant(helm3: Helm, setting: str, missing: str) -> None:
    documents = helm3.render("embedded", setting)
    assert not [name for name in of_kind(documents, "Secret") if name.endswith(missing.lower())]
    for name, pod in pods(documents).items():
        variables = environment(pod)
        assert not [variable for variable in variables if missing in variable], name
        if name.startswith("Deployment/"):
            assert variables["LEPTON_ALLOW_INSECURE"] == "true", name
