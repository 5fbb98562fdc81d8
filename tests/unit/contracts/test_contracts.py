"""What holds for all contracts of Lepton, and no linter of protobuf knows."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import protovalidate
import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

import lepton
from inference import grpc_service_pb2
from lepton.access.v1 import access_pb2
from lepton.error.v1 import error_reason_pb2
from lepton_common import errors
from lepton_common.rpc import STREAMS_OF_REQUESTS

REASONS = [name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()[1:]]


def contracts() -> Iterator[FileDescriptor]:
    (root,) = map(Path, lepton.__path__)
    for path in sorted(root.rglob("*_pb2.py")):
        module = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        yield importlib.import_module(module).DESCRIPTOR


def methods() -> Iterator[MethodDescriptor]:
    for contract in contracts():
        for service in contract.services_by_name.values():
            yield from service.methods


def messages() -> Iterator[Descriptor]:
    for contract in contracts():
        yield from contract.message_types_by_name.values()


def enums() -> Iterator[EnumDescriptor]:
    for contract in contracts():
        yield from contract.enum_types_by_name.values()
    for message in messages():
        yield from message.enum_types


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: method.full_name)
def test_a_method_says_what_its_callers_must_be_allowed_to_do(method: MethodDescriptor) -> None:
    permission = method.GetOptions().Extensions[access_pb2.permission]
    assert permission != access_pb2.PERMISSION_UNSPECIFIED


def test_grpc_makes_no_stream_of_requests_again() -> None:
    served = grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    streams = [method for method in (*methods(), *served) if method.client_streaming]
    assert {(method.containing_service.full_name, method.name) for method in streams} == {
        *STREAMS_OF_REQUESTS
    }


@pytest.mark.parametrize("message", list(messages()), ids=lambda message: message.full_name)
def test_the_rules_of_a_message_can_be_checked(message: Descriptor) -> None:
    # Raises where a rule is not one, or does not fit the type of its field.
    protovalidate.collect_violations(GetMessageClass(message)())


@pytest.mark.parametrize("enum", list(enums()), ids=lambda enum: enum.full_name)
def test_an_enum_starts_with_not_being_said(enum: EnumDescriptor) -> None:
    first = enum.values[0]
    assert first.number == 0
    assert first.name.endswith("_UNSPECIFIED")


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_has_an_error_that_is_raised_for_it(reason: str) -> None:
    assert errors.by_reason(reason).reason == reason


def test_every_error_has_a_reason_that_clients_can_look_up() -> None:
    assert sorted(error.reason for error in errors.LeptonError.__subclasses__()) == sorted(REASONS)
