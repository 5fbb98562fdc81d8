"""The `lepton` command with real services: JSON for scripts, exit codes that mean something."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lepton_sdk.addresses import Addresses
from lepton_sdk.local import MODULES, LocalCloud

LEPTON = [sys.executable, "-c", "from lepton_sdk.cli import main; main()"]


def lepton(*words: str, endpoints: Path) -> "subprocess.CompletedProcess[str]":
    line = [*LEPTON, "--endpoints", str(endpoints), *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_without_services_the_exit_code_is_5_and_the_text_says_what_to_do(tmp_path: Path) -> None:
    done = lepton("model", "list", endpoints=tmp_path / "endpoints.json")
    assert done.returncode == 5
    assert "lepton up" in done.stderr


def test_status_of_services_that_do_not_answer_is_5(tmp_path: Path) -> None:
    Addresses(**dict.fromkeys(MODULES, "127.0.0.1:1")).write(tmp_path / "endpoints.json")
    done = lepton("-o", "json", "status", endpoints=tmp_path / "endpoints.json")
    assert done.returncode == 5
    assert json.loads(done.stdout)["registry"]["health"] == "NO ANSWER (UNAVAILABLE)"
    assert done.stderr == ""


@pytest.mark.timeout(120)
async def test_exit_codes_and_json_with_real_services(cloud: LocalCloud, tmp_path: Path) -> None:
    endpoints = cloud.endpoints_file
    status = lepton("-o", "json", "status", endpoints=endpoints)
    assert status.returncode == 0, status.stderr
    told = json.loads(status.stdout)
    deadline = time.monotonic() + 60
    # The inference server may not have reported yet.
    while not (pools := told.pop("pools")):
        assert time.monotonic() < deadline, "no pool has a server"
        told = json.loads(lepton("-o", "json", "status", endpoints=endpoints).stdout)
    [pool] = pools
    assert (pool["name"], pool["ready"], pool["wanted"]) == ("default", 1, 1)
    assert {service["health"] for service in told.values()} == {"SERVING"}

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

    flowers = tmp_path / "flowers.csv"
    flowers.write_text(
        "petals,kind\n" + "".join(f"{n % 7},{'rose' if n % 7 > 3 else 'iris'}\n" for n in range(200))
    )
    words = ("dataset", "push", "flowers", str(flowers))
    unlabelled = lepton(*words, endpoints=endpoints)
    assert unlabelled.returncode == 4
    assert "schema.label" in unlabelled.stderr
    pushed = lepton("-o", "json", *words, "--label", "kind", endpoints=endpoints)
    assert pushed.returncode == 0, pushed.stderr
    version = json.loads(pushed.stdout)
    assert version["name"] == "datasets/flowers/versions/2"
    assert version["status"]["state"] == "JOB_STATE_SUCCEEDED"
    assert all(json.loads(line) for line in pushed.stderr.splitlines())
    shown = lepton("dataset", "show", "flowers", endpoints=endpoints)
    assert shown.stdout.startswith("datasets/flowers/versions/2: ")
    assert "petals" in shown.stdout

    agent = lepton(
        "agent",
        "create",
        "walker",
        "--environment",
        "FrozenLake-v1",
        "--algorithm",
        "q_learning",
        endpoints=endpoints,
    )
    assert agent.returncode == 0, agent.stderr
    acted = json.loads(
        lepton("-o", "json", "agent", "act", "walker", "0", "--episode", "e", endpoints=endpoints).stdout
    )
    told = lepton("agent", "feedback", "walker", acted["id"], "-1", endpoints=endpoints)
    assert told.stdout == f"recorded reward -1 of decision {acted['id']}\n"
    assert lepton("agent", "act", "walker", "99", endpoints=endpoints).returncode == 4
    assert lepton("agent", "delete", "walker", endpoints=endpoints).returncode == 0
