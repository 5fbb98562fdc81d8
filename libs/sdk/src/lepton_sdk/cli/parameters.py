"""Parameters of a search as they are typed: `optimizer.learning_rate=log(1e-4,1e-1)`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.json_format import ParseDict, ParseError

from lepton.training.v1 import study_pb2
from lepton_common.errors import InvalidField

FORMS = "log(MIN,MAX), uniform(MIN,MAX), int(MIN,MAX[,step=N][,log]) or choice(A,B,...)"

_PARAMETER = re.compile(r"\s*([A-Za-z0-9_.]+)\s*=\s*([a-z]+)\((.*)\)\s*", re.DOTALL)


def read_parameter(text: str) -> study_pb2.Parameter:
    """A parameter from its text.

    Raises:
        InvalidField: it is none; the text says what would be.
    """
    found = _PARAMETER.fullmatch(text)
    if found is None:
        raise InvalidField(f"--param {text!r} must be PATH=DOMAIN, DOMAIN being {FORMS}")
    path, form, inside = found.groups()
    try:
        return _read(path, form, _values(inside))
    except (ValueError, TypeError, OverflowError, ParseError) as wrong:
        raise InvalidField(f"--param {text!r}: {path} must be {FORMS}") from wrong


def _read(path: str, form: str, values: Sequence[Any]) -> study_pb2.Parameter:
    match form:
        case "log" | "uniform":
            least, greatest = map(float, values)
            bounds = study_pb2.RealRange(min=least, max=greatest, log=form == "log")
            return study_pb2.Parameter(path=path, real=bounds)
        case "int":
            least, greatest, *words = values
            options = dict(str(word).replace(" ", "").partition("=")[::2] for word in words)
            if options.keys() - {"step", "log"}:
                raise ValueError("there is no such option")
            whole = study_pb2.IntegerRange(
                min=_exact(least),
                max=_exact(greatest),
                step=int(options.get("step", 0)),
                log="log" in options,
            )
            return study_pb2.Parameter(path=path, integer=whole)
        case "choice" if values:
            choices = [ParseDict(value, struct_pb2.Value()) for value in values]
            return study_pb2.Parameter(path=path, choice=study_pb2.Choice(values=choices))
        case _:
            raise ValueError("there is no such form")


def _exact(value: Any) -> int:
    if int(value) != value:
        raise ValueError("not a whole number")
    return int(value)


def _values(inside: str) -> list[Any]:
    import yaml

    try:
        values = yaml.safe_load(f"[{inside}]")
    except (yaml.YAMLError, RecursionError) as wrong:
        raise ValueError("not a list") from wrong
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """The same with `1e-3` as a number, which YAML takes for a text."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping) or value is None:
        raise ValueError("neither a number, a text nor a list")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
