"""The work of a compression job: export, check against Keras, build candidates, measure, choose."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import Cancelled, InvalidModel
from lepton_common.jobs.worker import Worker
from lepton_common.manifests import Blob, fetch_blob, put_blob
from lepton_compressor.selection import Candidate, select, selected, unbuilt
from lepton_compressor.worker import variants
from lepton_compressor.worker.held_out import HeldOut, calibration_records, read_held_out
from lepton_compressor.worker.measurement import first_line, load, measure
from lepton_learn.manifest import Split, load_manifest
from lepton_learn.signature import signature
from lepton_learn.transform import FittedTransform

logger = logging.getLogger(__name__)

PROVIDER = "CPUExecutionProvider"
MOST_DIFFERENCE = 1e-4
"""Between the answers of the fp32 export and Keras's, relative to the largest answer where that is over 1."""


def compress(worker: Worker) -> dict[str, Any]:
    """Do the whole job.

    Returns:
        `{"files": [...], "signature": {...}, "metrics": {...}, "candidates": [...]}`.

    Raises:
        InvalidModel: the source is no trained model, cannot be exported, or its export differs from it.
        SchemaViolation: the dataset version has no held-out records.
        Cancelled: the worker was asked to stop.
    """
    spec, reference = worker.spec["spec"], worker.spec["manifest"]
    asked = [precision.removeprefix("PRECISION_").lower() for precision in spec["precisions"]]
    names = [name for name in asked if name != "fp32"]
    steps = _Steps(worker, total=len(names) + 4)
    steps.begin("reading")
    manifest = load_manifest(worker.objects, reference["key"], sha256=reference["sha256"])
    held_out = read_held_out(worker.objects, manifest)
    calibration = calibration_records(
        worker.objects,
        manifest,
        spec["calibration_records"],
        # What is fitted to training records tells of them, which a private model has promised not to do.
        splits=(Split.VALIDATION, Split.TEST) if worker.spec.get("private") else (Split.TRAIN,),
    )
    steps.begin("exporting")
    plain, expected, transform = _export(worker, held_out)
    models = {"fp32": load("fp32", plain, held_out, provider=PROVIDER)}
    _check_parity(models["fp32"].answers, expected)
    faults = {}
    for name in names:
        steps.begin(f"building {name}")
        try:
            model = variants.to_fp16(plain) if name == "fp16" else variants.to_int8(plain, calibration)
            models[name] = load(name, model, held_out, provider=PROVIDER)
        except Exception as error:
            # The tools fail in many ways on graphs they do not know. That is a finding about the
            # candidate, not a failure of the job.
            logger.exception("%s could not be built", name)
            faults[name] = f"could not be built: {first_line(error)}"
    steps.begin("measuring")
    exported, *others = measure(models, held_out, expected)
    others += [unbuilt(exported, name, fault) for name, fault in faults.items()]
    judged = select(exported, others, max_drop=spec.get("max_accuracy_drop", 0.0))
    best = selected(judged)
    steps.begin("saving")
    return {
        "files": _store(worker, models[best.name].model, judged),
        "signature": signature(transform),
        "metrics": {best.metric: best.score, "latency_ms": best.latency_ms},
        "candidates": [candidate.to_dict() for candidate in judged],
    }


class _Steps:
    """Counts the steps of the job, and stops between two when asked to."""

    def __init__(self, worker: Worker, *, total: int) -> None:
        self._worker = worker
        self._total = total
        self._begun = 0

    def begin(self, phase: str) -> None:
        if self._worker.stop_requested:
            raise Cancelled("the compression was asked to stop")
        self._worker.progress(phase, self._begun, total=self._total, unit="step")
        self._begun += 1


def _export(worker: Worker, held_out: HeldOut) -> tuple[bytes, NDArray[np.float32], FittedTransform]:
    """The plain ONNX model, what Keras itself answers for the held-out records, and the transform."""
    # TensorFlow takes ten seconds: what can go wrong without it has by now.
    from lepton_learn.artifact import load_artifact
    from lepton_learn.exporting import export_onnx
    from lepton_learn.task import task_of

    for file in worker.spec["source"]["files"]:
        blob = Blob(key=file["key"], sha256=file["sha256"], size_bytes=file["size_bytes"])
        target = worker.directory / "source" / file["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch_blob(worker.objects, blob, target)
    model, transform = load_artifact(worker.directory / "source")
    task = task_of(model, transform, label_scale=None)
    answers = task.answers(model.predict(transform.inputs(held_out.batch), batch_size=256, verbose=0))
    return export_onnx(model, transform), np.asarray(answers), transform


def _check_parity(answers: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    difference = float(np.abs(answers - expected).max())
    allowed = MOST_DIFFERENCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= allowed:
        raise InvalidModel(
            f"the export's answers differ from the model's by {difference:.2g}; {allowed:.2g} is allowed"
        )


def _store(worker: Worker, model: bytes, judged: list[Candidate]) -> list[Mapping[str, Any]]:
    """Write the version's files; `transform.json` is the source's own, by reference."""
    report = json.dumps([candidate.to_dict() for candidate in judged], indent=2).encode()
    blobs = {
        "model.onnx": put_blob(worker.objects, "models", model),
        "compression.json": put_blob(worker.objects, "models", report),
    }
    files: list[Mapping[str, Any]] = [
        {"path": path, "sha256": blob.sha256, "size_bytes": blob.size_bytes, "key": blob.key}
        for path, blob in blobs.items()
    ]
    return files + [file for file in worker.spec["source"]["files"] if file["path"] == "transform.json"]
