"""The `lepton` command: help everywhere, JSON for scripts, exit codes that mean something."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from lepton_sdk.addresses import Addresses
from lepton_sdk.cli import command
from lepton_sdk.local import LocalCloud

LEPTON = [sys.executable, "-c", "from lepton_sdk.cli import main; main()"]
NOWHERE = Addresses(
    data_ingest="127.0.0.1:1",
    trainer="127.0.0.1:1",
    compressor="127.0.0.1:1",
    registry="127.0.0.1:1",
    inference="127.0.0.1:1",
    rl_agent="127.0.0.1:1",
)


def lepton(*words: str, endpoints: Path | None = None) -> subprocess.CompletedProcess[str]:
    named = ["--endpoints", str(endpoints)] if endpoints else []
    return subprocess.run([*LEPTON, *named, *words], capture_output=True, text=True, check=False)


def paths(group: click.Command, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command that can be typed."""
    found = [words]
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            child = group.get_command(context, name)
            assert child is not None
            found += paths(child, (*words, name))
    return found


def test_every_command_has_help() -> None:
    from click.testing import CliRunner

    every = paths(command)
    assert len(every) > 40
    for words in every:
        result = CliRunner().invoke(command, [*words, "--help"])
        assert result.exit_code == 0, words
        assert len(result.output.splitlines()) > 3, words


def test_without_services_the_exit_code_is_5_and_the_text_says_what_to_do(
    tmp_path: Path,
) -> None:
    done = lepton("model", "list", endpoints=tmp_path / "endpoints.json")
    assert done.returncode == 5
    assert "lepton up" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_2() -> None:
    assert lepton("train", "start").returncode == 2
    assert lepton("no-such-command").returncode == 2


def test_status_of_services_that_do_not_answer_is_5(tmp_path: Path) -> None:
    NOWHERE.write(tmp_path / "endpoints.json")
    done = lepton("-o", "json", "status", endpoints=tmp_path / "endpoints.json")
    assert done.returncode == 5
    assert json.loads(done.stdout)["registry"]["health"].startswith("NO ANSWER")


@pytest.mark.timeout(120)
async def test_exit_codes_and_json_with_real_services(cloud: LocalCloud, tmp_path: Path) -> None:
    endpoints = cloud.endpoints_file
    status = lepton("-o", "json", "status", endpoints=endpoints)
    assert status.returncode == 0, status.stderr
    assert {service["health"] for service in json.loads(status.stdout).values()} == {"SERVING"}

    missing = lepton("-o", "json", "model", "show", "nope@1", endpoints=endpoints)
    assert missing.returncode == 3
    assert json.loads(missing.stderr)["error"]["reason"] == "NOT_FOUND"

    refused = lepton("train", "start", "nope", "--family", "mlp", endpoints=endpoints)
    assert refused.returncode == 3
    assert "datasets/nope" in refused.stderr

    bad_name = lepton("dataset", "push", "../etc", __file__, endpoints=endpoints)
    assert bad_name.returncode == 4

    empty = tmp_path / "empty.csv"
    empty.touch()
    assert lepton("dataset", "push", "empty", str(empty), endpoints=endpoints).returncode == 4
