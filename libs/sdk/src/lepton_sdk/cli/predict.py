"""`lepton predict`: ask an endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_common.errors import InvalidField
from lepton_sdk.cli.session import Output, connected
from lepton_sdk.client import Client
from lepton_sdk.inference import DATATYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray


@click.command()
@click.argument("endpoint")
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "--version",
    default="",
    help="Version to ask.  [default: by the endpoint's weights]",
)
@connected
async def command(
    client: Client, output: Output, endpoint: str, inputs: tuple[str, ...], version: str
) -> None:
    """Ask ENDPOINT. Every input is NAME=VALUE, or VALUE alone where there is one input.

    A value is JSON (one record, or a list of records), a .npy file, or an image file.

    \b
      lepton predict digits three.png
      lepton predict iris sepal_length=5.1 sepal_width=3.5 petal_length=1.4 petal_width=0.2
    """
    endpoint = endpoint.removeprefix("endpoints/")
    metadata = await client.inference.metadata(endpoint, version=version)
    signature = {each.name: each for each in metadata.inputs}
    arrays = {}
    for text in inputs:
        name, value = _split(text, signature)
        arrays[name] = _array(value, signature[name].datatype, [*signature[name].shape])
    prediction = await client.inference.predict(endpoint, arrays, version=version)
    outputs = {name: array.tolist() for name, array in prediction.outputs.items()}
    if output.json:
        output.document(
            {
                "model_version": prediction.model_version,
                "outputs": outputs,
                "parameters": dict(prediction.parameters),
            }
        )
        return
    click.echo(f"{endpoint} version {prediction.model_version}")
    for name, array in prediction.outputs.items():
        if name == "probabilities":
            best = array.argmax(axis=1)
            classes = json.loads(prediction.parameters.get("classes", "[]"))
            rows = [
                [
                    record,
                    classes[place] if classes else int(place),
                    float(array[record, place]),
                ]
                for record, place in enumerate(best)
            ]
            output.table(["RECORD", "CLASS", "PROBABILITY"], rows)
        else:
            click.echo(f"{name}: {array.tolist()}")


def _split(text: str, signature: dict[str, Any]) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if equals and name in signature:
        return name, value
    if len(signature) == 1:
        return next(iter(signature)), text
    raise InvalidField(f"{text!r}: name the input as NAME=VALUE; there are {', '.join(signature)}")


def _array(value: str, datatype: str, shape: list[int]) -> NDArray[Any]:
    """The value as an array of the input's datatype, the batch axis added to a single record."""
    import numpy as np

    array: NDArray[Any] = _read(value, datatype, shape).astype(DATATYPES.get(datatype, "object"))
    if shape[1:] == [1] and array.ndim < 2:
        return array.reshape(-1, 1)
    return array[np.newaxis] if array.ndim == len(shape) - 1 else array


def _read(value: str, datatype: str, shape: list[int]) -> NDArray[Any]:
    import numpy as np

    path = Path(value)
    if path.suffix == ".npy" and path.exists():
        stored: NDArray[Any] = np.load(path, allow_pickle=False)
        return stored
    if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".bmp"} and path.exists():
        return _image(path, shape[1:])
    try:
        return np.array(_text(value) if datatype == "BYTES" else json.loads(value))
    except ValueError as wrong:
        raise InvalidField(f"{value!r} is neither a file nor JSON of one shape: {wrong}") from wrong


def _text(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _image(path: Path, shape: list[int]) -> NDArray[Any]:
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L" if shape[-1] == 1 else "RGB"), dtype=np.uint8)
    return pixels.reshape(*pixels.shape[:2], -1)
