"""An installation of the chart, and a pod that calls it as its users do."""

import contextlib
import json
import logging
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..cluster import Namespace, run

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "lepton"
LOAD = Path(__file__).with_name("load.py")
PYTHON = "/venv/bin/python"
ENDPOINT = "demo-digits"
"""What the story calls its endpoint."""
KINDS = (
    "deployments,jobs,pods,services,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,"
    "persistentvolumeclaims,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers"
)
"""All that a release may have in its namespace."""


@dataclass(frozen=True)
class Release(Namespace):
    """A release of the chart in a namespace of its own."""

    helm: str
    """The program, of either major version."""
    values: tuple[Path, ...]
    """Values files, the last of which wins."""
    release: str = "lepton"
    settings: tuple[str, ...] = ()
    """Further arguments of every installation and upgrade."""

    def install(self, *arguments: str) -> None:
        """Install, and wait until everything is ready."""
        began = time.monotonic()
        self.run(
            "install", self.release, str(CHART), *self._values(), "--wait", "--timeout", "5m", *arguments
        )
        logger.info("%s: installed and ready in %.0f s", self.name, time.monotonic() - began)

    def upgrade(self, *arguments: str, wait: bool = True) -> None:
        """Upgrade, and wait until everything is ready."""
        waiting = ["--wait", "--timeout", "5m"] if wait else []
        self.run("upgrade", self.release, str(CHART), *self._values(), *waiting, *arguments)
        if wait:
            self.settle()

    def rollback(self) -> None:
        """Go back to the revision before, and wait until everything is ready."""
        self.run("rollback", self.release, "--wait", "--timeout", "3m")
        self.settle()

    def settle(self) -> None:
        """Wait until the pods that were replaced are gone."""
        ours = f"app.kubernetes.io/instance={self.release}"
        for deployment in self.objects("deployments", "--selector", ours):
            name = deployment["metadata"]["name"]
            self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=300s")
        deadline = time.monotonic() + 120
        while any("deletionTimestamp" in pod["metadata"] for pod in self.services()):
            assert time.monotonic() < deadline, "pods do not end"
            time.sleep(0.5)

    def story(self) -> None:
        """Let the client of `helm test` tell the whole story."""
        began = time.monotonic()
        try:
            self.run("test", self.release, "--timeout", "15m")
        except AssertionError:
            logger.error("%s", self.kubectl("logs", f"{self.release}-test", "--tail", "50"))
            raise
        logger.info("%s: the story took %.0f s", self.name, time.monotonic() - began)

    def run(self, verb: str, *arguments: str) -> str:
        """What helm prints."""
        return run(self.helm, verb, *arguments, "--namespace", self.name)

    def services(self, component: str = "", *, ready: bool = False) -> list[dict[str, Any]]:
        """The pods of the services; those of one, and those that are ready, if that is asked."""
        selector = f"app.kubernetes.io/instance={self.release},pod-template-hash"
        if component:
            selector += f",app.kubernetes.io/component={component}"
        return [pod for pod in self.objects("pods", "--selector", selector) if not ready or is_ready(pod)]

    def servers(self, pool: str) -> list[dict[str, Any]]:
        """The pods of an inference pool."""
        pods = self.services("inference")
        return [pod for pod in pods if pod["metadata"]["labels"]["lepton.dev/pool"] == pool]

    def jobs(self, *arguments: str) -> list[dict[str, Any]]:
        """The pods of Jobs."""
        return self.objects("pods", "--selector", "batch.kubernetes.io/job-name", *arguments)

    def test_pod(self) -> dict[str, Any]:
        """The pod of `helm test`, as the chart wires a client."""
        pods = yaml.safe_load_all(self.run("get", "hooks", self.release))
        found: dict[str, Any] = next(each for each in pods if each["kind"] == "Pod")
        return found

    def _values(self) -> list[str]:
        files = [argument for path in self.values for argument in ("--values", str(path))]
        return [*files, *self.settings]


@dataclass
class Load:
    """A load that ran in a pod: what its callers have seen, by what they called."""

    outcome: dict[str, Any] = field(default_factory=dict)

    def assert_unharmed(self) -> None:
        """No call failed, and no answer was another than before."""
        logger.info(
            "%s", {kind: {**seen, "failures": seen["failures"][:5]} for kind, seen in self.outcome.items()}
        )
        for kind, seen in self.outcome.items():
            assert seen["calls"] > 20, f"{kind}: hardly any load"
            assert not seen["wrong"], f"{kind}: wrong answers"
            assert not seen["failures"], f"{kind}: {seen['failures'][:5]}"


@dataclass(frozen=True)
class Pod:
    """A pod with the client's image, which sleeps until something is run in it."""

    namespace: Namespace
    name: str

    def run(self, *command: str) -> str:
        """What a command in the pod prints."""
        return self.namespace.kubectl("exec", self.name, "--", *command)

    def python(self, code: str, *arguments: str) -> str:
        """What Python prints."""
        return self.run(PYTHON, "-c", code, *arguments)

    def lepton(self, *arguments: str) -> Any:
        """What the `lepton` command answers, in JSON."""
        return json.loads(self.run("/venv/bin/lepton", "-o", "json", *arguments))

    @contextlib.contextmanager
    def load(self, endpoint: str, *, callers: int = 4, pause: float = 0.05) -> Iterator[Load]:
        """A load while the block runs; how it went is known after."""
        command = ["kubectl", "--namespace", self.namespace.name, "exec", "--stdin", self.name, "--"]
        command += [PYTHON, "-c", LOAD.read_text(), endpoint, str(callers), str(pause)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        load = Load()
        assert process.stdout is not None, "it is a pipe"
        try:
            assert process.stdout.readline() == "loading\n", "the load does not start"
            yield load
            told, _ = process.communicate(timeout=60)
            load.outcome = json.loads(told)
        finally:
            process.kill()
            process.wait()


def sleeper(like: dict[str, Any], name: str, labels: dict[str, str], *, wired: bool = True) -> dict[str, Any]:
    """A pod that sleeps, wired as the chart's client is or not at all, beside the servers of the trial."""
    spec = json.loads(json.dumps(like["spec"]))
    (container,) = spec["containers"]
    container |= {"command": [PYTHON, "-c", "import time; time.sleep(100000)"], "args": []}
    if not wired:
        container |= {
            "env": [{"name": "HOME", "value": "/tmp"}],
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
        spec["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    spec["terminationGracePeriodSeconds"] = 0
    near = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"lepton.dev/trial": "server"}},
    }
    spec["affinity"] = {
        "podAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": near}]
        }
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def start(namespace: Namespace, pod: dict[str, Any]) -> Pod:
    """Start a pod and wait for it."""
    name = pod["metadata"]["name"]
    namespace.kubectl("apply", "--filename", "-", given=json.dumps(pod))
    namespace.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=120s")
    return Pod(namespace, name)


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod is ready and not about to end."""
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
