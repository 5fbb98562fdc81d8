import pytest

from lepton.error.v1.error_reason_pb2 import ErrorReason
from lepton_common import errors
from lepton_common.errors import FieldViolation, InvalidField, LeptonError

REASONS = [name.removeprefix("ERROR_REASON_") for name, number in ErrorReason.items() if number != 0]


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_the_contract_has_an_error(reason: str) -> None:
    assert errors.by_reason(reason).reason == reason


def test_every_error_has_a_reason_of_the_contract() -> None:
    assert {error.reason for error in LeptonError.__subclasses__()} == set(REASONS)


def test_a_reason_that_nobody_gave_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        errors.by_reason("BAD_WEATHER")


def test_an_error_reads_as_its_message() -> None:
    error = InvalidField("epochs must be positive", violations=[FieldViolation("epochs", "be positive")])

    assert str(error) == "epochs must be positive"
    assert error.violations == (FieldViolation("epochs", "be positive"),)
    assert error.metadata == {}
    assert error.retry_after_seconds is None
