"""What of a contract counts on the wire, in lines that can be compared.

As a program it describes the protocol as the published client has it compiled in; it then
runs with that client's interpreter, because two copies of one protocol do not fit into one
process.
"""

import importlib
import json
import sys
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor


def describe(*files: FileDescriptor) -> list[str]:
    """Every rpc, message, field and enum value of these files, in a fixed order."""
    return sorted(line for file in files for line in _file(file))


def _file(file: FileDescriptor) -> Iterator[str]:
    for enum in file.enum_types_by_name.values():
        yield from _enum(enum)
    for message in file.message_types_by_name.values():
        yield from _message(message)
    for service in file.services_by_name.values():
        for method in service.methods:
            streams = f"{method.client_streaming} {method.server_streaming}"
            names = f"{method.input_type.full_name} {method.output_type.full_name}"
            yield f"rpc {method.full_name}: {names} {streams}"


def _message(message: Descriptor) -> Iterator[str]:
    yield f"message {message.full_name}"
    for field in message.fields:
        yield f"field {field.full_name} = {field.number}: {_type(field)}"
    for nested in message.nested_types:
        yield from _message(nested)
    for enum in message.enum_types:
        yield from _enum(enum)


def _type(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    of = kind.full_name if kind else ""
    oneof = field.containing_oneof.name if field.containing_oneof else ""
    return f"type {field.type} {of} repeated {field.is_repeated} oneof {oneof} json {field.json_name}"


def _enum(enum: EnumDescriptor) -> Iterator[str]:
    for value in enum.values:
        yield f"enum {enum.full_name}.{value.name} = {value.number}"


if __name__ == "__main__":
    service = importlib.import_module("tritonclient.grpc.service_pb2")
    config = importlib.import_module("tritonclient.grpc.model_config_pb2")
    descriptors = {module.DESCRIPTOR.name: module.DESCRIPTOR for module in (service, config)}
    json.dump(describe(*descriptors.values()), sys.stdout)
