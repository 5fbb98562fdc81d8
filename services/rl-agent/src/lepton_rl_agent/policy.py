"""A learned policy as an agent acts by it: an ONNX graph that gives action values."""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from lepton_common.errors import InvalidModel
from lepton_rl_agent.spaces import Box, Observation, Spaces

_RUNTIME_ERRORS = tuple(
    error for error in vars(runtime).values() if isinstance(error, type) and issubclass(error, Exception)
)
"""The runtime's errors have no base of their own."""

_INPUT, _OUTPUT = "observation", "action_values"


class OnnxPolicy:
    """Gives the values of all actions for an observation.

    Args:
        model: the bytes of the ONNX model.
        spaces: of the agent that acts by it.

    Raises:
        InvalidModel: it is no policy for an agent with these spaces.
    """

    def __init__(self, model: bytes, spaces: Spaces) -> None:
        self._session = _open(model)
        self._spaces = spaces
        seen = spaces.observation
        takes = ("tensor(float)", [*seen.shape]) if isinstance(seen, Box) else ("tensor(int64)", [1])
        self._shape = (1, *takes[1])
        _check(self._session.get_inputs(), _INPUT, takes)
        _check(self._session.get_outputs(), _OUTPUT, ("tensor(float)", [spaces.actions]))

    def values(self, observation: Observation) -> NDArray[np.float32]:
        """Return the action values, `[actions]`.

        Args:
            observation: an element of the agent's space.

        Raises:
            InvalidModel: they are not finite.
        """
        dtype = np.float32 if isinstance(self._spaces.observation, Box) else np.int64
        batch = np.asarray(observation, dtype=dtype).reshape(self._shape)
        values: NDArray[np.float32] = self._session.run([_OUTPUT], {_INPUT: batch})[0][0]
        if not np.isfinite(values).all():
            raise InvalidModel("the policy's action values are not finite; choose another version")
        return values


def _open(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    # One observation at a time: waking other threads would cost more than they do.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except _RUNTIME_ERRORS as exc:
        raise InvalidModel("the policy cannot be read") from exc


def _check(tensors: list[Any], name: str, wanted: tuple[str, list[int]]) -> None:
    datatype, shape = wanted
    for tensor in tensors:
        if tensor.name == name and tensor.type == datatype and tensor.shape[1:] == shape:
            return
    raise InvalidModel(
        f"the policy does not fit the agent: {name!r} must be {datatype} of shape {[-1, *shape]}"
    )
