import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from lepton_common import errors
from lepton_common.errors import Code, FieldViolation, LeptonError
from lepton_common.status import DETAILS_KEY, DOMAIN, from_rpc_error, from_status, named_errors, to_status


def rpc_error(code: grpc.StatusCode, details: str, *, trailing: bytes | None = None) -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata() if trailing is None else grpc.aio.Metadata((DETAILS_KEY, trailing))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details)


@pytest.mark.parametrize("kind", LeptonError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_error_survives_the_way_through_a_status(kind: type[LeptonError]) -> None:
    error = from_status(to_status(kind("what is wrong", metadata={"limit": "7"})))

    assert type(error) is kind
    assert error.message == "what is wrong"
    assert error.metadata == {"limit": "7"}


def test_a_status_carries_the_fields_at_fault() -> None:
    violations = (FieldViolation("spec.epochs", "be positive"), FieldViolation("name", "be short"))

    error = from_status(to_status(errors.InvalidField("two faults", violations=violations)))

    assert error.violations == violations


@pytest.mark.parametrize("seconds", [0.0, 0.25, 90.5])
def test_a_status_carries_when_to_retry(seconds: float) -> None:
    error = from_status(to_status(errors.Overloaded("busy", retry_after_seconds=seconds)))

    assert error.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (Code.UNAVAILABLE, errors.DependencyUnavailable),
        (Code.NOT_FOUND, errors.NotFound),
        (Code.RESOURCE_EXHAUSTED, errors.Overloaded),
        (Code.UNKNOWN, errors.Internal),
    ],
)
def test_a_status_of_another_server_becomes_the_error_closest_to_its_code(
    code: Code, expected: type[LeptonError]
) -> None:
    assert type(from_status(Status(code=code, message="no details"))) is expected


@pytest.mark.parametrize(
    "info",
    [
        pytest.param(ErrorInfo(domain=DOMAIN, reason="NEWER_THAN_THIS"), id="a reason of a newer server"),
        pytest.param(ErrorInfo(domain="example.com", reason="IN_USE"), id="a reason of another domain"),
    ],
)
def test_a_reason_that_is_not_ours_falls_back_to_the_code(info: ErrorInfo) -> None:
    status = Status(code=Code.NOT_FOUND, message="gone")
    status.details.add().Pack(info)

    assert type(from_status(status)) is errors.NotFound


def test_details_of_an_unknown_type_are_passed_over() -> None:
    status = to_status(errors.InUse("an endpoint serves it"))
    status.details.add().Pack(StringValue(value="from the future"))

    assert type(from_status(status)) is errors.InUse


def test_what_a_stub_raises_becomes_the_named_error_in_its_details() -> None:
    sent = to_status(errors.WrongState("still building"))

    error = from_rpc_error(
        rpc_error(grpc.StatusCode.FAILED_PRECONDITION, "…", trailing=sent.SerializeToString())
    )

    assert type(error) is errors.WrongState
    assert error.message == "still building"


def test_details_that_are_no_status_fall_back_to_the_code() -> None:
    error = from_rpc_error(rpc_error(grpc.StatusCode.NOT_FOUND, "gone", trailing=b"\xff\xff"))

    assert type(error) is errors.NotFound
    assert error.message == "gone"


def test_inside_named_errors_a_stub_raises_named_errors_and_the_cause_is_kept() -> None:
    refused = rpc_error(grpc.StatusCode.UNAVAILABLE, "connection refused")

    with pytest.raises(errors.DependencyUnavailable, match="connection refused") as raised, named_errors():
        raise refused

    assert raised.value.__cause__ is refused
