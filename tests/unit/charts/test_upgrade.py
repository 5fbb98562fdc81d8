"""An upgrade keeps the tokens and certificates that are there; helm asks the cluster for them."""

import copy
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
import yaml

from .manifests import CHART, PROFILES, Document, Helm, of_kind

Upgrade: TypeAlias = Callable[..., dict[str, Document]]

_RESOURCES = {
    "kind": "APIResourceList",
    "groupVersion": "v1",
    "resources": [
        {"name": "secrets", "singularName": "secret", "namespaced": True, "kind": "Secret", "verbs": ["get"]}
    ],
}
_ANSWERS: dict[str, Document] = {
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": _RESOURCES,
}


@pytest.fixture
def upgrade(helm3: Helm) -> Iterator[Upgrade]:
    """A function that renders an upgrade where these Secrets are there already, and gives those of after it.

    Helm 4 looks up in the same way, but asks for more of the API than is given here.
    """
    there: dict[str, Document] = {}

    class Api(http.server.BaseHTTPRequestHandler):
        """As much of the Kubernetes API as `lookup` uses."""

        def do_GET(self) -> None:
            path, _, _ = self.path.partition("?")
            answer = _ANSWERS.get(path) or there.get(path.removeprefix("/api/v1/namespaces/lepton/secrets/"))
            missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound"}
            body = json.dumps(answer or missing).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"

        def render(secrets: dict[str, Document], *settings: str) -> dict[str, Document]:
            there.clear()
            there.update(secrets)
            done = helm3.attempt(
                "template",
                "lepton",
                CHART,
                "--namespace=lepton",
                "--dry-run=server",
                f"--kube-apiserver={address}",
                f"--values={PROFILES['embedded']}",
                *(f"--set={setting}" for setting in settings),
            )
            assert done.returncode == 0, done.stderr
            documents = [document for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document]
            return of_kind(documents, "Secret")

        yield render
        server.shutdown()


def test_what_is_there_is_kept(upgrade: Upgrade) -> None:
    before = upgrade({})
    assert len(before) == 12
    assert upgrade(before) == before


def test_a_secret_that_was_deleted_is_made_anew_and_the_others_kept(upgrade: Upgrade) -> None:
    before = upgrade({})
    after = upgrade({name: each for name, each in before.items() if name != "lepton-user-token"})
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"lepton-user-token", "lepton-credentials"}
    after = upgrade({name: each for name, each in before.items() if name != "lepton-trainer-tls"})
    assert {name for name in before if before[name] != after[name]} == {"lepton-trainer-tls"}


def test_a_new_pool_gets_into_the_certificate_of_inference(upgrade: Upgrade) -> None:
    before = upgrade({})
    after = upgrade(before, "inference.pools.more.replicas=1")
    assert {name for name in before if before[name] != after[name]} == {"lepton-inference-tls"}
    assert after["lepton-inference-tls"]["data"]["ca.crt"] == before["lepton-ca"]["data"]["tls.crt"]


def test_certificates_are_renewed_in_time(upgrade: Upgrade) -> None:
    before = upgrade({})
    due = copy.deepcopy(before["lepton-registry-tls"])
    due["metadata"]["annotations"]["lepton.dev/renew-after"] = "1"
    after = upgrade(before | {"lepton-registry-tls": due})
    changed = {name for name in before if before[name]["data"] != after[name]["data"]}
    assert changed == {"lepton-registry-tls"}


def test_a_new_authority_signs_everything_anew(upgrade: Upgrade) -> None:
    before = upgrade({})
    after = upgrade({name: each for name, each in before.items() if name != "lepton-ca"})
    assert {name for name in before if before[name] != after[name]} == {
        name for name in before if name == "lepton-ca" or name.endswith("-tls")
    }
