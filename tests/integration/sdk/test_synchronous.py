"""The client without `await`."""

import asyncio
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import lepton_sdk
from lepton_common import errors
from lepton_sdk.addresses import Addresses

JOB = "trainingJobs/digits"


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_calls_return_their_results(endpoints: Path) -> None:
    with lepton_sdk.connect(endpoints) as lepton:
        assert lepton.training.get(JOB).name == JOB
        assert len(lepton.training.list()) == 3000
    assert "lepton-sdk" not in threads()


def test_a_failure_is_raised_where_the_call_was_made(endpoints: Path) -> None:
    with lepton_sdk.connect(endpoints) as lepton, pytest.raises(errors.NotFound, match="there is no"):
        lepton.training.get("trainingJobs/other")


def test_a_watch_is_an_iterator(endpoints: Path, training: Any) -> None:
    with lepton_sdk.connect(endpoints) as lepton:
        jobs = [*lepton.training.watch(JOB)]
    assert [job.status.state for job in jobs] == [job.status.state for job in training.life]


def test_a_failure_is_raised_out_of_a_watch(endpoints: Path) -> None:
    with lepton_sdk.connect(endpoints) as lepton, pytest.raises(errors.NotFound):
        next(lepton.training.watch("trainingJobs/other"))


def test_leaving_the_loop_ends_the_stream_on_the_server(endpoints: Path, training: Any) -> None:
    async def pause(step: int) -> None:
        await asyncio.sleep(60 * step)

    training.pause = pause
    with lepton_sdk.connect(endpoints) as lepton:
        for job in lepton.training.watch(JOB):
            assert job.name == JOB
            break
        assert training.broken_off.wait(5)


def test_closing_the_client_ends_what_is_open(endpoints: Path, training: Any) -> None:
    async def pause(step: int) -> None:
        await asyncio.sleep(60 * step)

    training.pause = pause
    with lepton_sdk.connect(endpoints) as lepton:
        open_watch = lepton.training.watch(JOB)
        next(open_watch)
    assert training.broken_off.wait(5)
    open_watch.close()


async def test_it_works_where_a_loop_runs_already_as_in_a_notebook(endpoints: Path) -> None:
    with lepton_sdk.connect(endpoints) as lepton:
        assert lepton.training.get(JOB).name == JOB


def test_it_can_be_closed_twice(endpoints: Path) -> None:
    lepton = lepton_sdk.connect(endpoints)
    lepton.close()
    lepton.close()


def test_calls_can_be_looked_up(endpoints: Path) -> None:
    with lepton_sdk.connect(endpoints) as lepton:
        assert "lineage" in dir(lepton.models)
        assert lepton.models.lineage.__doc__.startswith("The version first")
        assert isinstance(lepton.addresses, Addresses)
        with pytest.raises(AttributeError):
            _ = lepton.no_such_group
        with pytest.raises(AttributeError):
            _ = lepton.models.no_such_call


def test_credentials_that_cannot_be_used_leave_nothing_behind(
    endpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEPTON_TLS_CA", "/no/such/file.pem")
    with pytest.raises(errors.InvalidField, match="LEPTON_"):
        lepton_sdk.connect(endpoints)
    assert "lepton-sdk" not in threads()


def test_every_group_of_the_client_is_there(endpoints: Path) -> None:
    with lepton_sdk.connect(endpoints) as lepton:
        for group in ("datasets", "training", "compression", "models", "endpoints", "inference", "agents"):
            assert dir(getattr(lepton, group))
    assert len(fields(Addresses)) == 6
