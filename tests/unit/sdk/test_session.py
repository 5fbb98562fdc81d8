"""How a command ends: its exit code, and what it says on the way out."""

import json

import click
import pytest
from click.testing import CliRunner, Result
from grpc import RpcError

from lepton_common import errors
from lepton_common.errors import FieldViolation, LeptonError
from lepton_sdk.cli.session import exit_code, guarded

FAILED, MISSING, REFUSED, NO_ANSWER, NOT_ALLOWED = 1, 3, 4, 5, 6

CODES: dict[type[LeptonError], int] = {
    errors.InvalidField: REFUSED,
    errors.TooLarge: REFUSED,
    errors.MalformedFile: REFUSED,
    errors.SchemaViolation: REFUSED,
    errors.UnsafeModel: REFUSED,
    errors.InvalidModel: REFUSED,
    errors.TensorMismatch: REFUSED,
    errors.NotFound: MISSING,
    errors.AlreadyExists: REFUSED,
    errors.WrongState: REFUSED,
    errors.InUse: REFUSED,
    errors.TooManyRejected: REFUSED,
    errors.NoCandidate: REFUSED,
    errors.PrivacyBudgetExceeded: REFUSED,
    errors.EtagMismatch: REFUSED,
    errors.WorkerLost: FAILED,
    errors.WrongOffset: REFUSED,
    errors.ChecksumMismatch: FAILED,
    errors.Unauthenticated: NOT_ALLOWED,
    errors.PermissionDenied: NOT_ALLOWED,
    errors.Overloaded: NO_ANSWER,
    errors.ShuttingDown: NO_ANSWER,
    errors.DependencyUnavailable: NO_ANSWER,
    errors.DeadlineExceeded: NO_ANSWER,
    errors.Cancelled: FAILED,
    errors.Unimplemented: REFUSED,
    errors.Internal: FAILED,
}


@pytest.mark.parametrize(
    ("kind", "code"), CODES.items(), ids=lambda each: getattr(each, "__name__", str(each))
)
def test_every_error_has_an_exit_code(kind: type[LeptonError], code: int) -> None:
    assert exit_code(kind("no")) == code


def test_no_error_is_forgotten() -> None:
    assert set(CODES) == set(LeptonError.__subclasses__())


def run(failure: BaseException | None, output: str = "table") -> Result:
    """What a command does that ends like this."""

    @click.command()
    @click.pass_context
    def command(context: click.Context) -> None:
        context.obj = {"output": output}

        async def action() -> None:
            if failure is not None:
                raise failure

        guarded(action)

    return CliRunner().invoke(command)


def test_a_command_that_succeeds_ends_with_0() -> None:
    assert run(None).exit_code == 0


def test_a_failure_is_told_with_its_fields_on_stderr() -> None:
    done = run(
        errors.InvalidField("bad request", violations=[FieldViolation("spec.model", "must be a name")])
    )
    assert done.exit_code == REFUSED
    assert done.stdout == ""
    assert done.stderr == "error: bad request\n  spec.model: must be a name\n"


def test_a_failure_is_one_line_of_json_for_scripts() -> None:
    error = errors.TooLarge(
        "too many bytes", metadata={"limit_bytes": "5"}, violations=[FieldViolation("data", "at most 5")]
    )
    done = run(error, "json")
    assert done.stdout == ""
    assert json.loads(done.stderr) == {
        "error": {
            "reason": "TOO_LARGE",
            "message": "too many bytes",
            "metadata": {"limit_bytes": "5"},
            "violations": [{"field": "data", "description": "at most 5"}],
        }
    }


def test_who_gets_no_answer_is_told_where_to_look() -> None:
    failure = errors.DependencyUnavailable("no answer from the service")
    failure.__cause__ = RpcError()
    done = run(failure)
    assert done.exit_code == NO_ANSWER
    assert "lepton status" in done.stderr


def test_the_system_saying_no_is_a_failure_without_traceback() -> None:
    done = run(PermissionError(13, "Permission denied", "/etc/shadow"))
    assert done.exit_code == FAILED
    assert done.stderr == "error: [Errno 13] Permission denied: '/etc/shadow'\n"


def test_a_fault_of_ours_is_not_hidden() -> None:
    assert isinstance(run(KeyError("oops")).exception, KeyError)
