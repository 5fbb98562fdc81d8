"""What a model takes and gives, and whether a request is that.

The signature that counts is the one of the graph. A model version also carries a
registered one, made by who registered it: if the two differ, the version is not what it
is said to be and is not served.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lepton_common.errors import InvalidModel, TensorMismatch
from lepton_inference.tensors import Array


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's name, datatype and shape; -1 stands for a dimension of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} {list(self.shape)}"


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model; `classes` are the labels along the last axis of a classifier."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tensor:
    """A tensor as a request brings it: what it claims to be, and its elements."""

    name: str
    datatype: str
    array: Array


def check_inputs(signature: Signature, tensors: Sequence[Tensor], *, batched: bool) -> int:
    """The number of records in `tensors`, 1 where the model has no batch dimension.

    Raises:
        TensorMismatch: an input of the signature is missing, is not of its datatype or shape, or has
            another number of records than the others. The text names expected and got.
    """
    given = {tensor.name: tensor for tensor in tensors}
    wanted = {spec.name: spec for spec in signature.inputs}
    if len(given) != len(tensors):
        raise TensorMismatch("a tensor is given twice")
    if given.keys() != wanted.keys():
        raise TensorMismatch(f"inputs must be {_names(wanted)}, got {_names(given)}")
    for name, spec in wanted.items():
        tensor = given[name]
        if tensor.datatype != spec.datatype or not _fits(tensor.array.shape, spec.shape):
            raise TensorMismatch(
                f"input {name!r} must be {spec.datatype} of shape {list(spec.shape)}, "
                f"got {tensor.datatype} of shape {list(tensor.array.shape)}"
            )
    if not batched:
        return 1
    counts: dict[str, int] = {name: tensor.array.shape[0] for name, tensor in given.items()}
    if len(set(counts.values())) > 1:
        raise TensorMismatch(f"inputs have different numbers of records: {counts}")
    return next(iter(counts.values()))


def check_outputs(signature: Signature, names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """The outputs asked for, all when none is named.

    Raises:
        TensorMismatch: the model does not have one of them.
    """
    known = {spec.name: spec for spec in signature.outputs}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise TensorMismatch(f"outputs are {_names(known)}, asked for {_names(unknown)}")
    return tuple(known[name] for name in names) or signature.outputs


def check_registered(signature: Signature, registered: Signature) -> None:
    """Holds the registered signature against the graph's; none registered is fine.

    Raises:
        InvalidModel: they contradict each other.
    """
    for role, graph, told in (
        ("inputs", signature.inputs, registered.inputs),
        ("outputs", signature.outputs, registered.outputs),
    ):
        if told and not _agree(graph, told):
            raise InvalidModel(
                f"the {role} of the graph are {_specs(graph)}; the version is registered with {_specs(told)}"
            )


def may_batch(
    inputs: Iterable[Sequence[str | int | None]], outputs: Iterable[Sequence[str | int | None]]
) -> bool:
    """Whether records may be put together along the first dimension.

    Takes the dimensions of each tensor as the graph names them: a number where the size is
    fixed, a name or None where it is not. The inputs must lead with one and the same dynamic
    dimension, the outputs with a dynamic one: exporters often lose its name on the way.
    """
    given = [dimensions[0] if dimensions else 0 for dimensions in inputs]
    made = [dimensions[0] if dimensions else 0 for dimensions in outputs]
    return len(set(given)) == 1 and not any(isinstance(leading, int) for leading in given + made)


def _agree(graph: Sequence[TensorSpec], told: Sequence[TensorSpec]) -> bool:
    known = {spec.name: spec for spec in graph}
    return known.keys() == {spec.name for spec in told} and all(
        known[spec.name].datatype == spec.datatype
        and len(known[spec.name].shape) == len(spec.shape)
        and all(a == b or -1 in (a, b) for a, b in zip(known[spec.name].shape, spec.shape, strict=True))
        for spec in told
    )


def _fits(shape: Sequence[int], pattern: Sequence[int]) -> bool:
    return len(shape) == len(pattern) and all(
        want in (-1, got) for got, want in zip(shape, pattern, strict=True)
    )


def _names(names: Iterable[str]) -> str:
    # Names come from callers, so a message shows a bounded part of them.
    listed = [repr(name[:64]) for name in names]
    more = f" and {len(listed) - 16} more" if len(listed) > 16 else ""
    return (", ".join(listed[:16]) or "none") + more


def _specs(specs: Sequence[TensorSpec]) -> str:
    return "; ".join(map(str, specs)) or "none"
