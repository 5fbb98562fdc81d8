"""What the chart tells a service is a setting of it, and one that the service takes."""

from importlib import import_module

import pytest

from lepton_common.settings import ServerSettings

from .manifests import Helm, environment, of_kind, pods

# What the chart takes from Secrets and from the pod itself.
GIVEN = {
    "LEPTON_DATABASE_URL": "postgresql://db/lepton",
    "LEPTON_NAMESPACE": "lepton",
    "LEPTON_REPLICA": "one",
}


@pytest.mark.parametrize(
    "part", ["compressor", "data-ingest", "inference", "registry", "rl-agent", "trainer"]
)
def test_a_service_takes_what_it_is_told(
    helm3: Helm, profile: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = helm3.render(profile)
    told = of_kind(documents, "ConfigMap")["lepton-object-store"]["data"]
    settings_of = import_module(f"lepton_{part.replace('-', '_')}.settings").Settings
    for name, pod in pods(documents).items():
        if not name.startswith(f"Deployment/lepton-{part}"):
            continue
        names = {entry["name"] for entry in pod["spec"]["containers"][0]["env"]} | told.keys()
        ours = {name for name in names if name.startswith("LEPTON_")}
        assert ours <= {f"LEPTON_{field.upper()}" for field in settings_of.model_fields}, name
        for variable in ours:
            monkeypatch.setenv(variable, {**GIVEN, **told, **environment(pod)}[variable])
        settings = settings_of()
        assert settings.listen == "0.0.0.0:7000"
        for variable in ours:
            monkeypatch.delenv(variable)


@pytest.mark.parametrize("name", ["drain_seconds", "max_connection_age_seconds", "log_level"])
def test_what_the_chart_sets_by_default_is_what_a_service_does_by_default(helm3: Helm, name: str) -> None:
    deployments = of_kind(helm3.render("embedded"), "Deployment")
    assert len(deployments) == 6
    for deployment in deployments.values():
        told = environment(deployment["spec"]["template"])[f"LEPTON_{name.upper()}"]
        default = ServerSettings.model_fields[name].default
        assert type(default)(told) == default
