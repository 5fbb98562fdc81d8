"""A training job from its spec to its outcome.

What can go wrong without TensorFlow goes wrong before it is imported, which takes ten seconds.
"""

import math
from pathlib import Path
from typing import Any

from lepton_common.errors import Cancelled, SchemaViolation
from lepton_common.jobs.worker import Worker
from lepton_common.manifests import Blob, fetch_blob, put_blob
from lepton_learn.examples import Examples
from lepton_learn.keras_config import check_config
from lepton_learn.manifest import Manifest, Split, load_manifest
from lepton_learn.reading import read_columns, read_split
from lepton_learn.recipe import KerasConfig, Recipe
from lepton_learn.signature import signature

_MODELS = "models"


def run_job(worker: Worker) -> dict[str, Any]:
    """Train what the worker's spec asks for.

    Returns:
        `{"files": [{path, sha256, size_bytes, key}], "signature": {...}, "metrics": {name: figure}}`.

    Raises:
        UnsafeModel, TooLarge, InvalidModel: the architecture cannot be trained on the dataset, or the base is
            no model that it could take weights from.
        NotFound, ChecksumMismatch: the base's files are not what they were.
        SchemaViolation: the dataset version has nothing to learn from.
        Cancelled: the worker was asked to stop; the last step is kept for the next attempt.
        DependencyUnavailable: the other workers did not come.
    """
    recipe = Recipe.from_dict(worker.spec["recipe"])
    if isinstance(recipe.architecture, KerasConfig):
        check_config(recipe.architecture.json)
    worker.progress("reading", 0)
    reference = worker.spec["manifest"]
    manifest = load_manifest(worker.objects, reference["key"], sha256=reference["sha256"])
    _check(manifest, recipe)
    examples = {
        split: Examples(manifest.transform, read_split(worker.objects, manifest, split)) for split in Split
    }
    base = _fetch_base(worker)
    if worker.stop_requested:
        raise Cancelled("the training was asked to stop")

    worker.progress("building", 0)
    from lepton_trainer.worker.training import train_and_evaluate

    trained = train_and_evaluate(
        worker,
        recipe,
        transform=manifest.transform,
        examples=examples,
        base=base,
        slices=lambda split: read_columns(worker.objects, manifest, split, recipe.slice_columns),
    )
    if worker.index > 0:
        return {}
    worker.progress("saving", 0)
    artifacts = worker.spec.get("artifacts", _MODELS)
    blobs = {path: put_blob(worker.objects, artifacts, data) for path, data in trained.files.items()}
    return {
        "files": [
            {"path": path, "sha256": blob.sha256, "size_bytes": blob.size_bytes, "key": blob.key}
            for path, blob in blobs.items()
        ],
        "signature": signature(manifest.transform),
        "metrics": {name: value for name, value in trained.metrics.items() if math.isfinite(value)},
    }


def _fetch_base(worker: Worker) -> Path | None:
    """The folder with the files of the model version to begin with; None without one."""
    if "base" not in worker.spec:
        return None
    folder = worker.directory / "base"
    for file in worker.spec["base"]["files"]:
        blob = Blob(key=file["key"], sha256=file["sha256"], size_bytes=file["size_bytes"])
        target = folder / file["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch_blob(worker.objects, blob, target)
    return folder


def _check(manifest: Manifest, recipe: Recipe) -> None:
    if manifest.records(Split.TRAIN) == 0:
        raise SchemaViolation("the dataset version has no training records")
    label = manifest.schema.label
    if manifest.schema.is_classification and len(manifest.transform.classes) < 2:
        raise SchemaViolation(f"all records have the same {label!r}: there is nothing to learn")
    unknown = sorted(recipe.class_weights.keys() - set(manifest.transform.classes))
    if unknown:
        raise SchemaViolation(f"class_weights names {unknown[0]!r}, which is no value of {label!r}")
