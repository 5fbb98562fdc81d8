"""What the registry says, as an inference server understands it."""

import pytest

from lepton.endpoint.v1 import endpoint_pb2 as pb
from lepton_inference.adapters.registry import decode_catalogue
from lepton_inference.catalogue import Endpoint, Execution
from lepton_inference.routing import Route

DIGITS = "models/digits/versions/1"
TARGETS = [pb.TrafficTarget(model_version=DIGITS, weight=3)]


def decode(endpoint: pb.Endpoint) -> Endpoint:
    """What a server makes of an endpoint."""
    (decoded,) = decode_catalogue(pb.WatchEndpointsResponse(endpoints=[endpoint])).endpoints
    return decoded


def test_what_an_endpoint_leaves_out_is_by_default() -> None:
    expected = Endpoint("digits", (Route(DIGITS, 3),))
    assert decode(pb.Endpoint(name="endpoints/digits", targets=TARGETS)) == expected
    said = pb.Endpoint(
        name="endpoints/digits", targets=TARGETS, batching=pb.Batching(), execution=pb.Execution()
    )
    assert decode(said) == expected


def test_all_that_an_endpoint_says_is_understood() -> None:
    said = pb.Endpoint(
        name="endpoints/digits",
        targets=TARGETS,
        batching=pb.Batching(
            max_batch_size=64, max_queue_delay_microseconds=2500, preferred_batch_sizes=[64, 8]
        ),
        execution=pb.Execution(instances=2, threads=4, provider=pb.PROVIDER_CUDA, warm_up_runs=5),
        response_cache_bytes=1 << 20,
        follow=pb.Follow(model="models/digits", latest=pb.LatestVersions()),
    )
    assert decode(said) == Endpoint(
        "digits",
        (Route(DIGITS, 3),),
        max_batch_size=64,
        max_delay_seconds=0.0025,
        preferred_batch_sizes=(8, 64),
        execution=Execution(instances=2, threads=4, provider="cuda", warm_up_runs=5),
        response_cache_bytes=1 << 20,
        follows=True,
    )


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (pb.PROVIDER_UNSPECIFIED, ""),
        (pb.PROVIDER_CPU, "cpu"),
        (pb.PROVIDER_CUDA, "cuda"),
        (pb.PROVIDER_TENSORRT, "tensorrt"),
    ],
)
def test_every_provider_has_its_word(provider: "pb.Provider.ValueType", expected: str) -> None:
    execution = pb.Execution(provider=provider)
    assert decode(pb.Endpoint(name="endpoints/e", execution=execution)).execution.provider == expected
