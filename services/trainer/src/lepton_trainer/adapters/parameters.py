"""The settings that a study searches, as fields of `TrainingSpec` by their paths."""

from collections.abc import Mapping

from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from lepton.training.v1 import study_pb2, training_pb2
from lepton_common.errors import FieldViolation, InvalidField
from lepton_trainer.space import Choice, Domain, Integer, Real, Space, Value, check_domain

_FIXED = ("dataset_version", "model", "slice_columns")
"""What trials are of one study by, and how all of them are measured."""

_REALS = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})
_INTEGERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)


def decode_space(spec: study_pb2.StudySpec) -> Space:
    """Return what a study searches.

    Raises:
        InvalidField: A path leads nowhere, a domain does not fit its field, or is none.
    """
    space: dict[str, Domain] = {}
    for place, parameter in enumerate(spec.parameters):
        field = _field(parameter.path, spec.training, place=place)
        if parameter.path in space:
            raise violation(place, f"{parameter.path} is there twice")
        domain = _domain(parameter, field, place=place)
        wrong = check_domain(domain)
        if wrong:
            raise violation(place, f"{parameter.path} {wrong}")
        space[parameter.path] = domain
    return space


def apply(training: training_pb2.TrainingSpec, parameters: Mapping[str, Value]) -> training_pb2.TrainingSpec:
    """Return a copy of a spec in which fields have other values.

    Args:
        training: The spec.
        parameters: Values by path, of paths and kinds that `decode_space` found good.

    Raises:
        InvalidField: A value is none of its field; the text says what is wrong.
    """
    changed = training_pb2.TrainingSpec()
    changed.CopyFrom(training)
    for path, value in parameters.items():
        document = value
        for name in reversed(path.split(".")):
            document = {name: document}
        try:
            ParseDict(document, changed)
        except ParseError as wrong:
            raise InvalidField(f"{path} cannot be {value!r}: {wrong}") from wrong
    return changed


def encode_value(value: Value) -> struct_pb2.Value:
    """Return a value as messages hold it."""
    return ParseDict(value, struct_pb2.Value())


def decode_value(value: struct_pb2.Value) -> Value:
    """Return a value as JSON has it; a whole number is one, whatever held it."""
    return _whole(MessageToDict(value))


def violation(place: int, description: str) -> InvalidField:
    """Return the error for a parameter of a study."""
    path = f"study.spec.parameters[{place}]"
    return InvalidField(f"{path}: {description}", violations=[FieldViolation(path, description)])


def _whole(value: Value) -> Value:
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _field(path: str, training: training_pb2.TrainingSpec, *, place: int) -> FieldDescriptor:
    """Return the field that a path names.

    Raises:
        InvalidField: It names none, or none that can be searched.
    """
    *before, last = path.split(".")
    descriptor: Descriptor = training.DESCRIPTOR
    for depth, name in enumerate(before):
        field = descriptor.fields_by_name.get(name)
        if field is None or field.message_type is None or field.is_repeated:
            raise _unknown(".".join(before[: depth + 1]), descriptor, place=place, messages=True)
        chosen = training.WhichOneof("architecture")
        if depth == 0 and field.containing_oneof is not None and name != chosen:
            raise violation(place, f"{path} is of {name!r}, and what is trained is {chosen!r}")
        descriptor = field.message_type
    field = descriptor.fields_by_name.get(last)
    if field is None or field.message_type is not None:
        raise _unknown(path, descriptor, place=place, messages=False)
    if path in _FIXED:
        raise violation(place, f"{path} is the same for all trials")
    return field


def _unknown(path: str, descriptor: Descriptor, *, place: int, messages: bool) -> InvalidField:
    names = ", ".join(
        field.name
        for field in descriptor.fields
        if (field.message_type is not None and not field.is_repeated)
        or (field.message_type is None and not messages and field.name not in _FIXED)
    )
    return violation(place, f"there is no {path!r} to be searched; there is {names}")


def _domain(parameter: study_pb2.Parameter, field: FieldDescriptor, *, place: int) -> Domain:
    path = parameter.path
    match parameter.WhichOneof("domain"):
        case "real":
            if field.is_repeated or field.cpp_type not in _REALS:
                raise violation(place, f"{path} takes {_kind(field)}, and not any number of a range")
            return Real(least=parameter.real.min, greatest=parameter.real.max, log=parameter.real.log)
        case "integer":
            if field.is_repeated or field.cpp_type not in _INTEGERS | _REALS:
                raise violation(place, f"{path} takes {_kind(field)}, and not whole numbers of a range")
            bounds, step = parameter.integer, parameter.integer.step or 1
            steps = max(0, bounds.max - bounds.min) // step
            greatest = bounds.min + steps * step if bounds.max >= bounds.min else bounds.max
            return Integer(least=bounds.min, greatest=greatest, step=step, log=bounds.log)
        case _:
            values = [decode_value(value) for value in parameter.choice.values]
            return Choice(tuple(_named(value, field) for value in values))


def _named(value: Value, field: FieldDescriptor) -> Value:
    """The full name of an enum value, where a short one was given."""
    if field.enum_type is None or not isinstance(value, str):
        return value
    first: str = field.enum_type.values[0].name
    full = f"{first.removesuffix('UNSPECIFIED')}{value.upper()}"
    return full if full in field.enum_type.values_by_name else value


def _kind(field: FieldDescriptor) -> str:
    """What a field takes, for a person."""
    if field.enum_type is not None:
        kind = "one of " + ", ".join(value.name for value in field.enum_type.values[1:])
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        kind = "true or false"
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        kind = "a text"
    else:
        kind = "a whole number" if field.cpp_type in _INTEGERS else "a number"
    return f"a list, each {kind}" if field.is_repeated else kind
