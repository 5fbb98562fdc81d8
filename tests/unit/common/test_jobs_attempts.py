"""Attempts that workers begin by themselves, and what they are told."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lepton_common.errors import InvalidField, NotFound
from lepton_common.jobs import files
from lepton_common.objects import ObjectStore

JOB = "trainingJobs/digits/8d3f"


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    """An empty store."""
    return ObjectStore(f"file://{tmp_path}/objects")


def test_each_owner_begins_the_next_attempt(objects: ObjectStore) -> None:
    assert files.latest_claim(objects, JOB) == (0, "")
    assert files.claim_attempt(objects, JOB, "pod-a") == 1
    assert files.claim_attempt(objects, JOB, "pod-b") == 2
    assert files.latest_claim(objects, JOB) == (2, "pod-b")


def test_an_owner_that_asks_again_gets_its_own_attempt(objects: ObjectStore) -> None:
    assert [files.claim_attempt(objects, JOB, "pod-a") for _ in range(3)] == [1, 1, 1]


def test_attempts_count_by_value_and_not_by_name(objects: ObjectStore) -> None:
    numbers = [files.claim_attempt(objects, JOB, f"pod-{number}") for number in range(12)]
    assert numbers == list(range(1, 13))
    assert files.latest_claim(objects, JOB) == (12, "pod-11")


def test_owners_at_the_same_time_get_different_attempts(objects: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda n: files.claim_attempt(objects, JOB, f"pod-{n}"), range(24)))
    assert sorted(claimed) == list(range(1, 25))


def test_a_report_begins_no_attempt(objects: ObjectStore) -> None:
    files.write_outcome(objects, JOB, 7, outcome=files.Outcome(output={}))
    assert files.latest_claim(objects, JOB) == (0, "")


def test_a_launch_is_known_once_it_is_marked(objects: ObjectStore) -> None:
    assert not files.was_launched(objects, JOB)
    files.mark_launched(objects, JOB)
    files.mark_launched(objects, JOB)
    assert files.was_launched(objects, JOB)


def test_a_refusal_is_raised_by_whoever_reads_the_spec(objects: ObjectStore) -> None:
    with pytest.raises(NotFound):
        files.read_spec(objects, JOB)
    files.write_refusal(objects, JOB, InvalidField("the annotation is missing"))
    with pytest.raises(InvalidField, match="the annotation is missing"):
        files.read_spec(objects, JOB)
