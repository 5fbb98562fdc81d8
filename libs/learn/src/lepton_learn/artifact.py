"""A trained model as the files of a model version: `model.keras`, `transform.json`, `history.json`."""

import io
import json
import math
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras

from lepton_common.errors import InvalidModel
from lepton_learn.families import build_from_config
from lepton_learn.recipe import KerasConfig
from lepton_learn.transform import FittedTransform

MODEL = "model.keras"
"""The model in Keras's own format; takes transformed features."""
TRANSFORM = "transform.json"
"""Schema and fitted transform, as `FittedTransform.to_json` writes them."""
HISTORY = "history.json"
"""The figures of each epoch, as a list; null where one is no number."""

_METADATA = "metadata.json"
_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"


def artifact_files(
    model: keras.Model, transform: FittedTransform, *, history: Sequence[dict[str, float]]
) -> dict[str, bytes]:
    """The files of a trained model by path."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        model.save(path)
        saved = _reproducible(path)
    # JSON has no NaN, which the last figures of a training that diverged are.
    figures = [
        {name: value if math.isfinite(value) else None for name, value in epoch.items()} for epoch in history
    ]
    return {MODEL: saved, TRANSFORM: transform.to_json(), HISTORY: json.dumps(figures).encode()}


def _reproducible(path: Path) -> bytes:
    """A Keras file without the time it was saved at and where in memory: equal models have equal digests."""
    sink = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(sink, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == _METADATA:
                facts = json.loads(data)
                data = json.dumps({key: facts[key] for key in facts if key != "date_saved"}).encode()
            elif name == _CONFIG:
                data = json.dumps(_number_shared(json.loads(data), {})).encode()
            # Without a time of its own an entry has the format's first.
            target.writestr(zipfile.ZipInfo(name), data)
    return sink.getvalue()


def _number_shared(part: Any, numbers: dict[int, int]) -> Any:
    """A part of a config whose shared objects are told by number, in the order in which they come."""
    if isinstance(part, list):
        return [_number_shared(one, numbers) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        key: numbers.setdefault(value, len(numbers))
        if key == "shared_object_id"
        else _number_shared(value, numbers)
        for key, value in part.items()
    }


def load_artifact(folder: Path) -> tuple[keras.Model, FittedTransform]:
    """Load a model and its transform from the folder that holds the files.

    Whoever may register a version may bring any bytes. So the model is built from its config as one from
    outside is, and only the weights are taken from the file besides.

    Raises:
        UnsafeModel, TooLarge: the config holds what it may not.
        InvalidModel: the files are not a trained model.
    """
    try:
        transform = FittedTransform.from_json((folder / TRANSFORM).read_bytes())
        with zipfile.ZipFile(folder / MODEL) as archive, TemporaryDirectory() as scratch:
            config = KerasConfig(archive.read(_CONFIG).decode())
            model = build_from_config(config, transform)
            weights = archive.extract(_WEIGHTS, scratch)
            with warnings.catch_warnings():
                # Keras warns of weights that are not in the file, and leaves them as they were drawn.
                warnings.filterwarnings("error", "Skipping", UserWarning)
                model.load_weights(weights)
    except (UserWarning, zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidModel("the files are not a trained model and its transform") from error
    return model, transform
