"""`lepton predict`: ask an endpoint."""

from collections.abc import Iterable, Sequence

import click

from lepton_common.errors import InvalidField, PermissionDenied
from lepton_sdk.cli.arguments import NEGATIVE_NUMBERS
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.session import connected
from lepton_sdk.cli.tensors import read_tensor
from lepton_sdk.client import Client
from lepton_sdk.inference import Prediction

PROBABILITIES = "probabilities"
"""Name of the output of a model that classifies."""
FORECAST = "forecast"
"""Name of the output of a model that forecasts, [batch, rows, quantiles]."""


@click.command(context_settings=NEGATIVE_NUMBERS)
@click.argument("endpoint")
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "--version",
    default="",
    help="Version to ask.  [default: by the endpoint's weights]",
)
@click.option("--sequence-key", default="", help="Who asks: those of one key are answered by one version.")
@connected
async def command(
    client: Client, output: Output, endpoint: str, inputs: tuple[str, ...], version: str, sequence_key: str
) -> None:
    """Ask an endpoint.

    Every input is NAME=VALUE, or VALUE alone where there is one input. A value is JSON (one record, or a
    list of records), a .npy file, an image file, or the text itself for an input of texts. Models of time
    series take the newest values, oldest first, as many as a window has.

    \b
      lepton predict digits three.png
      lepton predict iris sepal_length=5.1 sepal_width=3.5 petal_length=1.4 petal_width=0.2
      lepton predict demand '[310.2, 305.9, 322.4, 318.0]'
    """
    endpoint = endpoint.removeprefix("endpoints/")
    metadata = await client.inference.metadata(endpoint, version=version)
    signature = {each.name: each for each in metadata.inputs}
    arrays = {}
    for text in inputs:
        name, value = _split(text, signature)
        arrays[name] = read_tensor(value, signature[name].datatype, [*signature[name].shape])
    # People want the likeliest class by its name, scripts the numbers.
    wanted = {} if output.json else {each.name: int(each.name == PROBABILITIES) for each in metadata.outputs}
    prediction = await client.inference.predict(
        endpoint, arrays, outputs=wanted, version=version, sequence_key=sequence_key
    )
    if output.json:
        output.document(
            {
                "model_version": prediction.model_version,
                "outputs": {name: array.tolist() for name, array in prediction.outputs.items()},
                "parameters": dict(prediction.parameters),
            }
        )
    else:
        quantiles = await _quantiles(client, prediction) if FORECAST in prediction.outputs else []
        _describe(output, endpoint, prediction, quantiles)


async def _quantiles(client: Client, prediction: Prediction) -> list[float]:
    """What the last axis of a forecast stands for; empty for those who may ask models alone."""
    try:
        version = await client.models.get_version(prediction.parameters["lepton_model_version"])
    except PermissionDenied:
        return []
    return [*version.signature.quantiles]


def _describe(output: Output, endpoint: str, prediction: Prediction, quantiles: Sequence[float]) -> None:
    click.echo(f"{endpoint} version {prediction.model_version}")
    for name, array in prediction.outputs.items():
        if name == FORECAST and len(quantiles) == array.shape[-1]:
            heads = [f"QUANTILE {quantile:g}" for quantile in quantiles]
            steps = [
                [str(record), str(step + 1), *(f"{value:.6g}" for value in values)]
                for record, forecast in enumerate(array)
                for step, values in enumerate(forecast)
            ]
            output.table(["RECORD", "STEP", *heads], steps)
            continue
        if name != PROBABILITIES:
            click.echo(f"{name}: {array.tolist()}")
            continue
        rows = []
        for record, [best] in enumerate(array):
            score, index, *label = best.split(":", 2)
            rows.append([str(record), label[0] if label else index, float(score)])
        output.table(["RECORD", "CLASS", "PROBABILITY"], rows)


def _split(text: str, names: Iterable[str]) -> tuple[str, str]:
    names = [*names]
    # A name may hold an = itself.
    for name in sorted(names, key=len, reverse=True):
        if text.startswith(f"{name}="):
            return name, text.removeprefix(f"{name}=")
    if len(names) == 1:
        return names[0], text
    raise InvalidField(f"{text!r:.80}: name the input as NAME=VALUE; there are {', '.join(names)}")
