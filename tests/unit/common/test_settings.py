import socket
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr, ValidationError

from lepton_common.settings import (
    ClientSettings,
    DatabaseSettings,
    ObjectStoreSettings,
    ServerSettings,
    WorkerSettings,
)


class ServiceSettings(ServerSettings, ClientSettings, DatabaseSettings, ObjectStoreSettings):
    pass


def test_a_service_composes_its_settings_and_reads_them_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LEPTON_LISTEN", "127.0.0.1:7001")
    monkeypatch.setenv("LEPTON_DATABASE_URL", "sqlite:////data/records.db")
    monkeypatch.setenv("LEPTON_OBJECT_STORE_URL", "file:///data/objects")
    monkeypatch.setenv("LEPTON_TOKEN", "secret")

    settings = ServiceSettings()

    assert settings.listen == "127.0.0.1:7001"
    assert settings.database_url == "sqlite:////data/records.db"
    assert settings.object_store_url == "file:///data/objects"
    assert settings.token == SecretStr("secret")
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.8.9.10:7001", "localhost:7001", "[::1]:7001"])
def test_on_loopback_nothing_else_is_needed(listen: str) -> None:
    assert ServerSettings(listen=listen, metrics_listen=listen).listen == listen


@pytest.mark.parametrize("listen", ["0.0.0.0:7001", "[::]:7001", "10.0.0.7:7001", "lepton.example:7001"])
@pytest.mark.parametrize("name", ["listen", "metrics_listen"])
def test_beyond_loopback_callers_must_be_known(name: str, listen: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} is .*give a token_file"):
        ServerSettings.model_validate({name: listen})


def test_health_alone_may_be_asked_by_anyone() -> None:
    assert ServerSettings(health_listen="0.0.0.0:7001").health_listen == "0.0.0.0:7001"


@pytest.mark.parametrize("way_out", [{"token_file": Path("tokens.json")}, {"allow_insecure": True}])
def test_credentials_or_an_explicit_wish_open_the_server_to_others(way_out: dict[str, object]) -> None:
    settings = ServerSettings.model_validate({"listen": "0.0.0.0:7001", **way_out})

    assert settings.listen == "0.0.0.0:7001"


@pytest.mark.parametrize(
    "files",
    [
        {"tls_certificate": "c.pem"},
        {"tls_key": "k.pem"},
        {"tls_client_ca": "ca.pem"},
    ],
    ids=lambda files: "only " + ", ".join(files),
)
def test_half_of_the_tls_files_is_an_error(files: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="tls_"):
        ServerSettings.model_validate(files)


class BuilderSettings(ServerSettings, WorkerSettings):
    jobs_on_a_machine: ClassVar[int] = 2


MACHINE = {"object_store_url": "file:///data/objects", "run_directory": "/run/lepton"}
CLUSTER = {"object_store_url": "file:///data/objects", "job_template": "/etc/lepton/job/job.yaml"}


@pytest.mark.parametrize(
    "places",
    [{}, {"run_directory": "/run/lepton", "job_template": "/etc/lepton/job/job.yaml"}],
    ids=["nowhere", "both"],
)
def test_workers_have_one_place(places: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"give LEPTON_RUN_DIRECTORY, .* or LEPTON_JOB_TEMPLATE"):
        WorkerSettings.model_validate({"object_store_url": "file:///data/objects", **places})


@pytest.mark.parametrize(
    ("given", "most"),
    [(MACHINE, 2), (MACHINE | {"max_running_jobs": 7}, 7), (CLUSTER | {"max_running_jobs": 7}, 7)],
    ids=["a machine's own", "asked for on a machine", "asked for in a cluster"],
)
def test_so_many_jobs_run_at_once(given: dict[str, Any], most: int) -> None:
    assert BuilderSettings.model_validate(given).most_running == most


def test_a_cluster_has_queues_of_its_own() -> None:
    assert BuilderSettings.model_validate(CLUSTER).most_running > 10_000


def test_workers_may_reach_the_object_store_another_way() -> None:
    elsewhere = MACHINE | {"worker_object_store_url": "s3://bucket/prefix"}
    assert WorkerSettings.model_validate(MACHINE).object_store_of_workers == "file:///data/objects"
    assert WorkerSettings.model_validate(elsewhere).object_store_of_workers == "s3://bucket/prefix"


def test_a_replica_is_called_after_its_host() -> None:
    assert WorkerSettings.model_validate(CLUSTER).replica == socket.gethostname()
