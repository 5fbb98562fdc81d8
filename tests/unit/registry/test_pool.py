import pytest

from lepton_registry.pool import Count, Place, count, count_reports

READY = Place(pool="large", ready=True)
STARTING = Place(pool="large")
HOMELESS = Place(pool="large", trouble="has no place: there is no such GPU")


@pytest.mark.parametrize(
    ("places", "found"),
    [
        pytest.param([READY, READY], Count(wanted=2, ready=2), id="all there"),
        pytest.param(
            [READY, STARTING], Count(wanted=2, ready=1, message="1 server is starting"), id="one starts"
        ),
        pytest.param(
            [STARTING, HOMELESS, HOMELESS],
            Count(
                wanted=3,
                ready=0,
                message="2 servers, each has no place: there is no such GPU; 1 server is starting",
            ),
            id="what does not end by itself first",
        ),
        pytest.param([], Count(wanted=0, ready=0, message="the cluster runs no server for it"), id="none"),
    ],
)
def test_servers_are_counted_and_missing_ones_explained(places: list[Place], found: Count) -> None:
    assert count(places) == found


def test_a_pool_whose_servers_may_not_be_made_says_so() -> None:
    refused = count([], refused="exceeded quota: gpus")
    assert refused.message == "the cluster refuses its servers: exceeded quota: gpus"
    # What was refused once counts no more when there are servers.
    assert count([READY], refused="exceeded quota: gpus").message == ""


def test_without_a_cluster_those_that_report_count() -> None:
    assert count_reports(2) == Count(wanted=2, ready=2)
    assert count_reports(0) == Count(wanted=0, ready=0, message="no server reports for it")
