"""The file that says where the services are."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from lepton_common.errors import DependencyUnavailable, InvalidField
from lepton_sdk.addresses import Addresses, default_path

EVERYWHERE = Addresses(
    data_ingest="127.0.0.1:7101",
    trainer="127.0.0.1:7102",
    compressor="trainer.lepton.svc:7103",
    registry="[::1]:7104",
    inference="ipv4:10.0.0.7:7105,10.0.0.8:7105",
    rl_agent="localhost:7106",
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    EVERYWHERE.write(path)
    assert Addresses.read(path) == EVERYWHERE
    assert [*tmp_path.iterdir()] == [path], "no draft stays behind"


def test_services_of_a_newer_lepton_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    path.write_text(json.dumps(asdict(EVERYWHERE) | {"scheduler": "127.0.0.1:7107"}))
    assert Addresses.read(path) == EVERYWHERE


def test_without_a_file_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DependencyUnavailable, match="lepton up"):
        Addresses.read(tmp_path / "endpoints.json")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"{", "not JSON", id="cut off"),
        pytest.param(b"\xff\xfe\x00\x01", "not JSON", id="binary"),
        pytest.param(b"[" * 100_000, "not JSON", id="nested without end"),
        pytest.param(b"[]", "data_ingest", id="a list"),
        pytest.param(b"null", "data_ingest", id="null"),
        pytest.param(b"{}", "data_ingest", id="no service"),
        pytest.param(json.dumps(asdict(EVERYWHERE) | {"trainer": 7102}).encode(), "host:port", id="a number"),
        pytest.param(
            json.dumps(asdict(EVERYWHERE) | {"trainer": "here"}).encode(), "host:port", id="no port"
        ),
        pytest.param(
            json.dumps(asdict(EVERYWHERE) | {"trainer": "http://here"}).encode(), "host:port", id="a URL"
        ),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "endpoints.json"
    path.write_bytes(content)
    with pytest.raises(InvalidField, match=told) as refused:
        Addresses.read(path)
    assert str(path) in str(refused.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="cannot be read: Is a directory"):
        Addresses.read(tmp_path)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, "~/.lepton/endpoints.json", id="of the user"),
        pytest.param({"LEPTON_HOME": "/srv/lepton"}, "/srv/lepton/endpoints.json", id="of a home folder"),
        pytest.param(
            {"LEPTON_HOME": "/srv/lepton", "LEPTON_ENDPOINTS": "~/cluster.json"}, "~/cluster.json", id="named"
        ),
    ],
)
def test_the_file_is_found_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in ("LEPTON_HOME", "LEPTON_ENDPOINTS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_path() == Path(expected).expanduser()
