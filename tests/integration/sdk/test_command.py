"""The `lepton` command as its user meets it: what it prints where, and how it ends."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lepton_sdk.cli import command

from .conftest import JOB, addresses, training_job

LEPTON = [sys.executable, "-c", "from lepton_sdk.cli import main; main()"]

Lepton = Callable[..., Result]


@pytest.fixture
def lepton(endpoints: Path) -> Lepton:
    """Runs the command in this process."""

    def run(*words: str) -> Result:
        return CliRunner().invoke(command, ["--endpoints", str(endpoints), *words])

    return run


def started(endpoints: Path, *words: str, **options: Any) -> "subprocess.Popen[str]":
    """The command as a process of its own."""
    line = [*LEPTON, "--endpoints", str(endpoints), *words]
    return subprocess.Popen(line, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_a_job_is_followed_and_its_result_printed(lepton: Lepton) -> None:
    done = lepton("train", "watch", "digits")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == ["job: trainingJobs/digits", "job: running", "job: succeeded"]
    assert done.stdout == "trainingJobs/digits: succeeded\nmodel version: models/digits/versions/1\n"


def test_logs_are_printed_worker_by_worker(lepton: Lepton) -> None:
    assert lepton("train", "logs", "digits").stdout.splitlines() == [
        "--- attempt 1, worker 0",
        "trainingJobs/digits is trained",
        "--- attempt 1, worker 1",
        "trainingJobs/digits is trained",
    ]
    document = json.loads(lepton("-o", "json", "train", "logs", "digits").stdout)
    assert [log["worker"] for log in document] == ["attempt 1, worker 0", "attempt 1, worker 1"]


def test_a_place_in_a_cluster_is_asked_for_by_flags(lepton: Lepton, training: Any) -> None:
    words = ("train", "start", "digits", "--family", "mlp", "--detach", "--gpus", "2")
    assert lepton(*words, "--gpu-product", "NVIDIA-H200", "--queue", "research").exit_code == 0
    (job,) = training.made.values()
    assert job.spec.placement.gpus == 2
    assert job.spec.placement.gpu_product == "NVIDIA-H200"
    assert job.spec.placement.queue == "research"


def test_for_scripts_the_result_is_one_document_and_the_way_is_lines(lepton: Lepton) -> None:
    done = lepton("-o", "json", "train", "start", "digits", "--family", "mlp", "--id", "mine")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["name"] == "trainingJobs/mine"
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert told[0] == {"stage": "train", "name": "trainingJobs/mine"}
    assert [line["status"]["state"] for line in told[1:]] == ["JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"]


def test_who_does_not_wait_gets_the_name(lepton: Lepton, training: Any) -> None:
    words = ("train", "start", "digits", "--family", "cnn", "--id", "mine", "--detach")
    assert lepton(*words).stdout == "trainingJobs/mine\n"
    assert json.loads(lepton("-o", "json", *words).stdout) == {"name": "trainingJobs/mine"}
    assert training.watches == 0


def test_a_private_training_is_asked_for_by_its_epsilon(lepton: Lepton, training: Any) -> None:
    words = ("train", "start", "digits", "--family", "mlp", "--id", "mine", "--detach")
    assert lepton(*words, "--private-epsilon", "3", "--clip-norm", "0.5").exit_code == 0
    (job,) = training.made.values()
    assert (job.spec.privacy.epsilon, job.spec.privacy.clip_norm) == (3, 0.5)
    refused = lepton(*words, "--clip-norm", "0.5")
    assert refused.exit_code == USAGE
    assert "--clip-norm goes with --private-epsilon or --noise-multiplier" in refused.stderr


def test_a_base_model_is_asked_for_by_its_short_name(lepton: Lepton, training: Any) -> None:
    words = ("train", "start", "digits", "--family", "resnet", "--id", "mine", "--detach")
    assert lepton(*words, "--base-model", "digits@3", "--freeze").exit_code == 0
    (job,) = training.made.values()
    assert job.spec.WhichOneof("architecture") == "resnet"
    assert (job.spec.base_model.model_version, job.spec.base_model.freeze) == (
        "models/digits/versions/3",
        True,
    )


def test_a_failed_job_is_a_failed_command(lepton: Lepton, training: Any) -> None:
    from lepton_common import errors
    from lepton_common.status import to_status

    training.life = [training_job("FAILED", error=to_status(errors.WorkerLost("lost five times")))]
    done = lepton("train", "watch", "digits")
    assert done.exit_code == 1
    assert done.stderr.endswith("error: lost five times\n")


def test_a_missing_resource_is_3(lepton: Lepton) -> None:
    done = lepton("-o", "json", "train", "show", "other")
    assert done.exit_code == 3
    assert done.stdout == ""
    assert json.loads(done.stderr)["error"]["reason"] == "NOT_FOUND"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that is wrong, to be in."""
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "empty.csv").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


USAGE, REFUSED = 2, 4


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        pytest.param(["no-such"], USAGE, "No such command", id="no such command"),
        pytest.param(["train", "start"], USAGE, "Missing argument", id="argument missing"),
        pytest.param(["train", "start", "digits"], USAGE, "--family", id="no architecture"),
        pytest.param(
            ["train", "start", "d", "--family", "mlp", "--freeze"], USAGE, "--base-model", id="no base model"
        ),
        pytest.param(
            ["train", "start", "d", "--epochs", "many"], USAGE, "not a valid integer", id="no number"
        ),
        pytest.param(
            ["train", "start", "d", "--keras-config", "folder"], USAGE, "directory", id="folder as config"
        ),
        pytest.param(["train", "start", "d", "--keras-config", "none"], USAGE, "not exist", id="no config"),
        pytest.param(
            ["train", "start", "d", "--keras-config", "binary.yaml"],
            REFUSED,
            "cannot be read",
            id="binary config",
        ),
        pytest.param(["train", "start", "d", "--spec", "{"], REFUSED, "--spec", id="spec cut off"),
        pytest.param(["train", "start", "d", "--spec", "@none"], REFUSED, "No such file", id="no spec"),
        pytest.param(["train", "start", "d", "--spec", "@binary.yaml"], REFUSED, "--spec", id="binary spec"),
        pytest.param(["train", "start", "d", "--spec", '{"x": 1}'], REFUSED, '"x"', id="unknown field"),
        pytest.param(["train", "start", "D!", "--family", "mlp"], REFUSED, "dataset_version", id="bad name"),
        pytest.param(
            ["train", "start", "d", "--family", "mlp", "--epochs", "-1"],
            REFUSED,
            "max_epochs",
            id="below zero",
        ),
        pytest.param(["compress", "start", "d", "--spec", "[]"], REFUSED, "JSON object", id="spec is a list"),
        pytest.param(["dataset", "push", "d"], USAGE, "Missing argument", id="no source"),
        pytest.param(
            ["dataset", "push", "d", "none.csv"], REFUSED, "no file or folder none.csv", id="no file"
        ),
        pytest.param(
            ["dataset", "push", "d", "test:none"], REFUSED, "no file or folder none", id="no test file"
        ),
        pytest.param(["run", "none.yaml"], REFUSED, "No such file", id="no pipeline"),
        pytest.param(["run", "folder"], REFUSED, "Is a directory", id="folder as pipeline"),
        pytest.param(["run", "binary.yaml"], REFUSED, "is not YAML", id="binary pipeline"),
        pytest.param(
            ["agent", "act", "a", "left"], REFUSED, "observation is not JSON", id="word as observation"
        ),
        pytest.param(["agent", "act", "a", '"left"'], REFUSED, "flat list", id="text as observation"),
        pytest.param(
            ["agent", "feedback", "a", "1", "0", "--next-observation", "{"],
            REFUSED,
            "is not JSON",
            id="bad next",
        ),
        pytest.param(["agent", "feedback", "a", "1", "good"], USAGE, "valid float", id="word as reward"),
        pytest.param(["agent", "create", "a"], USAGE, "how it learns", id="no algorithm"),
        pytest.param(["agent", "learn", "a"], USAGE, "what to learn from", id="nothing to learn from"),
        pytest.param(["endpoint", "put", "e", "m=½"], USAGE, "whole number", id="half a weight"),
        pytest.param(["endpoint", "put", "e"], USAGE, "say what to serve", id="nothing to serve"),
        pytest.param(
            ["endpoint", "put", "e", "m", "--follow", "m"], USAGE, "and not both", id="target and model"
        ),
        pytest.param(["endpoint", "put", "e", "m", "--latest", "2"], USAGE, "--follow", id="latest of none"),
        pytest.param(
            ["endpoint", "put", "e", "--follow", "m", "--latest", "2", "--all-versions"],
            USAGE,
            "and not both",
            id="latest and all",
        ),
        pytest.param(
            ["endpoint", "put", "e", "m", "--preferred-batch-sizes", "8;x"],
            USAGE,
            "comma",
            id="sizes that are none",
        ),
        pytest.param(
            ["train", "plot", "digits", "--png", "none/a.png"], 1, "No such file", id="no folder for png"
        ),
        pytest.param(["up", "--first-port", "70000"], USAGE, "not in the range", id="no such port"),
        pytest.param(["up", "--directory", "empty.csv"], 1, "exists", id="file as home"),
        pytest.param(["-o", "xml", "status"], USAGE, "table", id="no such output"),
    ],
)
@pytest.mark.usefixtures("files")
def test_what_is_wrong_is_told_in_a_line(lepton: Lepton, words: list[str], code: int, told: str) -> None:
    done = lepton(*words)
    assert done.exit_code == code, done.output
    assert told in done.stderr
    assert done.stdout == ""
    assert isinstance(done.exception, SystemExit)


def test_a_job_without_metrics_has_no_picture(lepton: Lepton) -> None:
    assert lepton("train", "plot", "digits").stdout == "trainingJobs/digits has no metrics yet\n"
    assert json.loads(lepton("-o", "json", "train", "plot", "digits").stdout) == []


def test_an_interrupt_is_130_and_ends_the_watch(endpoints: Path, training: Any) -> None:
    done = ended_by(signal.SIGINT, endpoints, training)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "interrupted"


def test_an_end_from_outside_is_143_and_ends_the_watch(endpoints: Path, training: Any) -> None:
    assert ended_by(signal.SIGTERM, endpoints, training).returncode == 143


def ended_by(number: signal.Signals, endpoints: Path, training: Any) -> "subprocess.CompletedProcess[str]":
    """What a watch prints that is sent a signal; it must not go on at the server."""

    async def pause(step: int) -> None:
        if step == 1:
            await asyncio.sleep(60)

    training.pause = pause
    with started(endpoints, "train", "watch", "digits") as process:
        assert process.stderr is not None
        while process.stderr.readline() != "job: running\n":
            assert process.poll() is None
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
    assert training.broken_off.wait(5)
    assert stdout == ""
    assert "Traceback" not in stderr
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_reader_that_has_seen_enough_is_no_trouble(endpoints: Path, output: str) -> None:
    with started(endpoints, "-o", output, "train", "list") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(("NAME  ", "["))
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_service_that_is_waited_for_is_named(dead_address: str, tmp_path: Path) -> None:
    addresses(dead_address).write(tmp_path / "endpoints.json")
    with started(tmp_path / "endpoints.json", "train", "show", "digits") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"waiting for trainer at {dead_address}\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_on_a_terminal_there_is_a_bar(endpoints: Path, training: Any) -> None:
    training.life = [
        training_job("RUNNING", progress={"phase": "training", "done": 50, "total": 100, "unit": "step"}),
        training_job("RUNNING", message="[/dim] is no markup"),
        training_job("SUCCEEDED", message="converged"),
    ]
    ours, theirs = pty.openpty()
    line = [*LEPTON, "--endpoints", str(endpoints), "train", "watch", "digits"]
    done = subprocess.run(
        line,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"COLUMNS": "100", "TERM": "xterm"},
        text=True,
        check=True,
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "━" in shown
    assert "converged" in shown
    assert done.stdout.startswith(f"{JOB}: succeeded converged\n")
